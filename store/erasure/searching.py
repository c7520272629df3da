"""Looking for erased patients in every byte of a store, and in what bytes stand for.

Parquet and DuckDB compress text, so that their files are searched as they are and as
the values that they hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from ..catalog import Catalog
from ..errors import StoreCorruptError
from ..schema import quoted
from .journal import STAGING, is_interrupted
from .keys import KEY_NAME, read_key
from .needles import Searcher
from .receipts import RECEIPTS_FOLDER, Receipt, check_chain
from .tombstones import patient_digest

__all__ = ["SearchReport", "search_store"]

_BATCH_ROWS = 1 << 16


@dataclass
class SearchReport:
    """What was searched and found.

    Attributes:
        n_files: Files that were read.
        n_bytes: Bytes of these.
        n_values: Distinct values of Parquet files and of the catalog.
        matches: Location -> form of a name -> how often.
        problems: What is wrong with the receipt, the chain or the store.
        values_only: Form of a name -> how many names are too short to be recognised
            in bytes, and were compared as whole values.
    """

    n_files: int = 0
    n_bytes: int = 0
    n_values: int = 0
    matches: dict[str, dict[str, int]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    values_only: dict[str, int] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.matches or self.problems)


def search_store(
    root: Path,
    catalog: Catalog,
    receipt: Receipt,
    populations: str,
    folders: Sequence[Path] = (),
) -> SearchReport:
    """Search a whole store for those whom a receipt says to be erased.

    Args:
        root: The store's folder.
        catalog: Its catalog.
        receipt: Receipt of the erasure.
        populations: A query that gives the columns `dataset` and `population`.
        folders: Others to search, into which the store's predictions were written.

    Raises:
        StoreCorruptError: The store has no key, so that nobody can tell.
        StoreBusyError: Another process holds the catalog.
    """
    key = read_key(root)
    if key is None:
        raise StoreCorruptError(
            f"the store {root} has no {KEY_NAME}: nothing was erased from it, or the "
            "key is lost",
            "Name the store that the receipt is of.",
        )
    report = SearchReport(values_only=dict(receipt.values_only))
    if is_interrupted(root):
        report.problems.append("an erasure was interrupted and is not finished")
    searcher = Searcher(key, receipt.needles)
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink() and not _is_own(root, path):
            _search_file(root, path, searcher, report)
    for folder in folders:
        for path in sorted(one for one in folder.rglob("*") if one.is_file()):
            _search_file(folder.parent, path, searcher, report)
    _search_catalog(root, catalog, searcher, receipt, key, populations, report)
    return report


def _is_own(root: Path, path: Path) -> bool:
    """Whether a file is part of the proof: it holds keyed digests only."""
    parts = path.relative_to(root).parts
    return parts[0] in (KEY_NAME, RECEIPTS_FOLDER)


def _note(report: SearchReport, location: str, counts: dict[str, int]) -> None:
    for form, count in counts.items():
        known = report.matches.setdefault(location, {})
        known[form] = known.get(form, 0) + count


def _search_file(
    root: Path, path: Path, searcher: Searcher, report: SearchReport
) -> None:
    name = path.relative_to(root).as_posix()
    try:
        size = path.stat().st_size
        _note(report, name, searcher.search(name.encode()))
        report.n_files += 1
        report.n_bytes += size
        if size:
            _note(report, name, searcher.search(np.memmap(path, np.uint8, "r")))
        if path.suffix == ".parquet":
            for value in _parquet_values(path):
                report.n_values += 1
                _note(report, name, searcher.search(value))
    except (OSError, ValueError, pa.ArrowException) as error:
        report.problems.append(f"{name} cannot be searched: {error}")


def _parquet_values(path: Path) -> Iterator[bytes]:
    """The text of each column of a Parquet file, batch by batch, ends marked."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            for column in batch.columns:
                yield from _texts(column)


def _texts(column: pa.Array) -> Iterator[bytes]:
    """All distinct values of a column of text, joined; nothing of other columns."""
    column_type = column.type
    if pa.types.is_dictionary(column_type):
        column, column_type = column.dictionary, column_type.value_type
    while pa.types.is_list(column_type):
        column, column_type = column.flatten(), column_type.value_type
    if pa.types.is_string(column_type) or pa.types.is_large_string(column_type):
        values = pc.drop_null(pc.unique(column)).to_pylist()
        yield "\0".join(values).encode()


def _search_catalog(
    root: Path,
    catalog: Catalog,
    searcher: Searcher,
    receipt: Receipt,
    key: bytes,
    populations: str,
    report: SearchReport,
) -> None:
    with catalog.read() as connection:
        report.problems += check_chain(connection, key, receipt)
        columns = connection.execute(
            """SELECT table_name, column_name FROM duckdb_columns()
            WHERE schema_name = 'main' AND NOT internal
            AND data_type IN ('VARCHAR', 'VARCHAR[]', 'BLOB')
            AND table_oid IN (SELECT table_oid FROM duckdb_tables())"""
        ).fetchall()
        for table, column in columns:
            reader = connection.sql(
                f"SELECT DISTINCT {quoted(column)}::VARCHAR AS v FROM {quoted(table)}"
            ).to_arrow_reader(_BATCH_ROWS)
            for batch in reader:
                report.n_values += batch.num_rows
                for text in _texts(batch.column(0)):
                    _note(report, f"catalog {table}.{column}", searcher.search(text))
        patients = connection.execute(
            f"""SELECT DISTINCT population, patient_id FROM images
            JOIN ({populations}) USING (dataset)"""
        ).fetchall()
    # Ids of any length, as whole values.
    erased = set(receipt.patients)
    back = sum(patient_digest(key, *one) in erased for one in patients)
    _note(report, "catalog images", {"patient": back} if back else {})
    for path in sorted((root / "runs").glob("*/images.parquet")):
        if STAGING in path.parts:
            continue
        try:
            listed = pq.read_table(path, columns=["population", "patient_id"])
        except (OSError, pa.ArrowException, KeyError, ValueError) as error:
            report.problems.append(f"{path} cannot be searched: {error}")
            continue
        owners = (listed[name].to_pylist() for name in ("population", "patient_id"))
        who = set(zip(*owners, strict=True))
        count = sum(patient_digest(key, *one) in erased for one in who)
        location = path.relative_to(root).as_posix()
        _note(report, location, {"patient": count} if count else {})
