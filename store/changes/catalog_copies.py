"""Parquet copies of what only the catalog holds, from which it can be rebuilt.

Shards bring back their own rows. Labels, runs, figures and description sets are in the
catalog alone, so each ingest and each run copies the tables that it changed. A copy is
a new file, and an index that is replaced at once says which files belong together: a
process may die at any moment.
"""

import fcntl
import hashlib
import json
import os
import uuid
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq

from ..atomic_files import (
    NO_LOCK_ERRORS,
    make_private,
    write_atomically,
    written_atomically,
)
from ..catalog import Catalog, fill_catalog
from ..commits import read_commits
from ..errors import StoreCorruptError, StoreWriteError
from ..plural import counted
from ..schema import TABLE_NAMES, label_matrix_sql, quoted
from .entering import add_image_columns
from .manifests import file_digest

__all__ = [
    "COPIES_FOLDER",
    "RUN_TABLES",
    "check_copies",
    "copied_commits",
    "rebuild_catalog",
    "refresh_copies",
    "shred_unused_copies",
]

COPIES_FOLDER = "copies"
#: Copied run by run: a run adds its part and leaves the others alone.
RUN_TABLES = ("metrics", "predictions", "runs")
_INDEX_NAME = "index.json"
#: What shards bring back themselves, or what is about the catalog file only.
_LEFT_OUT = ("catalog_state", "features", "shard_checksums", "shards")
_BATCH_ROWS = 1 << 17


@dataclass(frozen=True)
class _Part:
    """A file: a table, or one run's rows of a table."""

    table: str
    run_id: str
    signature: str
    file: str
    rows: int
    blake2b: str


@dataclass
class _Index:
    """Which files make up the copies, and how far they go.

    Attributes:
        commits: The catalog's number of transactions that they hold all of.
        columns: Table -> name and type of each column.
        parts: The files.
    """

    commits: int = 0
    columns: dict[str, list[list[str]]] = field(default_factory=dict)
    parts: list[_Part] = field(default_factory=list)


def refresh_copies(
    root: Path,
    catalog: Catalog,
    *,
    tables: Collection[str] | None = None,
    run_id: str | None = None,
    renew: bool = False,
    keep_unused: bool = False,
) -> None:
    """Copy the tables that differ from their copies.

    Args:
        root: The store's folder.
        catalog: Its catalog; read, never held for writing.
        tables: Look at these only; None for all.
        run_id: Look at the figures of this run only.
        renew: Read the copies, too, and write those anew that are damaged.
        keep_unused: Leave files that are no longer part of the copies, for
            `shred_unused_copies`.

    Raises:
        StoreWriteError: The disk refused; the copies are as they were.
        StoreBusyError: Another process holds the catalog.
    """
    folder = root / COPIES_FOLDER
    with _locked(folder):
        index = (_sound_index(folder) if renew else _read_index(folder)) or _Index()
        with catalog.read() as connection:
            commits = read_commits(connection)
            if index.parts and commits == index.commits and not renew:
                return
            whole = tables is None and run_id is None
            names = _tables(connection)
            looked_at = [
                name
                for name in names
                if (tables is None or name in tables)
                and (run_id is None or name in RUN_TABLES)
            ]
            for name in looked_at:
                _refresh_table(connection, folder, index, name, run_id)
        if whole:
            index.parts = [part for part in index.parts if part.table in names]
        # A transaction of somebody else in between is copied by whoever copies all.
        if whole or commits == index.commits + 1:
            index.commits = commits
        _write_index(folder, index, keep_unused=keep_unused)


def shred_unused_copies(root: Path, shred: Callable[[Path], object]) -> None:
    """Destroy files that are not part of the copies.

    Args:
        root: The store's folder.
        shred: How a file is destroyed.

    Raises:
        StoreCorruptError: The index is damaged.
    """
    folder = root / COPIES_FOLDER
    with _locked(folder):
        for path in _unused(folder, _read_index(folder) or _Index()):
            shred(path)


def check_copies(root: Path) -> list[str]:
    """Compare the copies with their checksums; a sentence per difference."""
    folder = root / COPIES_FOLDER
    try:
        index = _read_index(folder)
    except StoreCorruptError as error:
        return [error.message]
    problems = []
    for part in index.parts if index else ():
        problem = _problem(folder, part)
        problems += [problem] if problem else []
    return problems


def copied_commits(root: Path) -> int | None:
    """How many transactions the copies hold; None if there are no copies.

    Raises:
        StoreCorruptError: The index is damaged.
    """
    index = _read_index(root / COPIES_FOLDER)
    return None if index is None else index.commits


def rebuild_catalog(root: Path, path: Path) -> list[str]:
    """Make a catalog from the copies.

    Args:
        root: The store's folder.
        path: Where the catalog goes; nothing may be there.

    Returns:
        A sentence about each copy that is damaged: its rows are not in the catalog.

    Raises:
        StoreCorruptError: The index of the copies is damaged.
        StoreWriteError: The disk refused.
    """
    folder = root / COPIES_FOLDER
    index = _read_index(folder) or _Index()
    problems = [problem for part in index.parts if (problem := _problem(folder, part))]
    fill_catalog(path)
    catalog = Catalog(path)
    with catalog.write(checked=False) as connection:
        for table, columns in index.columns.items():
            if table == "images":  # which may have kept columns
                add_image_columns(connection, [name for name, _ in columns])
            if table not in TABLE_NAMES:
                listed = ", ".join(
                    f"{quoted(name)} {sql_type}" for name, sql_type in columns
                )
                connection.execute(f"CREATE TABLE {quoted(table)} ({listed})")
        for part in index.parts:
            if not _problem(folder, part):
                _insert_part(connection, folder, part)
        names = connection.execute(
            """SELECT finding FROM dataset_findings
            GROUP BY finding ORDER BY min(position), finding"""
        ).fetchall()
        connection.execute(label_matrix_sql(name for (name,) in names))
    return problems


def _insert_part(
    connection: duckdb.DuckDBPyConnection, folder: Path, part: _Part
) -> None:
    with pq.ParquetFile(folder / part.file) as file:
        for batch in file.iter_batches(_BATCH_ROWS):
            connection.register("incoming_copy", batch)
            connection.execute(
                f"INSERT INTO {quoted(part.table)} BY NAME FROM incoming_copy"
            )
            connection.unregister("incoming_copy")


def _tables(connection: duckdb.DuckDBPyConnection) -> list[str]:
    rows = connection.execute(
        """SELECT table_name FROM duckdb_tables()
        WHERE schema_name = 'main' AND NOT temporary ORDER BY table_name"""
    ).fetchall()
    return [name for (name,) in rows if name not in _LEFT_OUT]


def _refresh_table(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    index: _Index,
    table: str,
    run_id: str | None,
) -> None:
    """Copy the parts of a table that changed; forget those that are gone."""
    described = connection.execute(f"DESCRIBE {quoted(table)}").fetchall()
    index.columns[table] = [[str(row[0]), str(row[1])] for row in described]
    known = {part.run_id: part for part in index.parts if part.table == table}
    fresh = dict(known) if run_id is not None else {}
    for name, signature in _signatures(connection, table, run_id).items():
        part = known.get(name)
        if part is None or part.signature != signature:
            part = _copy_part(connection, folder, table, name, signature)
        fresh[name] = part
    others = [part for part in index.parts if part.table != table]
    index.parts = [*others, *fresh.values()]


def _signatures(
    connection: duckdb.DuckDBPyConnection, table: str, run_id: str | None
) -> dict[str, str]:
    """Part of a table -> what tells that its rows, in any order, are others."""
    told = f"concat(count(*), '-', sum(hash(t)), '-', '{duckdb.__version__}')"
    source = f"FROM {quoted(table)} AS t"
    if table not in RUN_TABLES:
        rows = connection.execute(
            f"SELECT '', {told} {source} HAVING count(*) > 0"
        ).fetchall()
    else:
        rows = connection.execute(
            f"""SELECT coalesce(run_id, ''), {told} {source}
            WHERE ?::VARCHAR IS NULL OR run_id = ? GROUP BY ALL""",
            [run_id, run_id],
        ).fetchall()
    return {str(name): str(signature) for name, signature in rows}


def _copy_part(
    connection: duckdb.DuckDBPyConnection,
    folder: Path,
    table: str,
    run_id: str,
    signature: str,
) -> _Part:
    name = f"{uuid.uuid4().hex}.parquet"
    condition = "WHERE coalesce(run_id, '') = ?" if table in RUN_TABLES else ""
    reader = connection.sql(
        f"SELECT * FROM {quoted(table)} {condition}",
        params=[run_id] if condition else None,
    ).to_arrow_reader(_BATCH_ROWS)
    rows = 0
    with (
        # The index is written next and flushes the folder for all.
        written_atomically(folder / name, flush_folder=False) as file,
        pq.ParquetWriter(file, reader.schema, compression="zstd") as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)
            rows += batch.num_rows
    return _Part(table, run_id, signature, name, rows, file_digest(folder / name))


def _problem(folder: Path, part: _Part) -> str:
    path = folder / part.file
    of_run = f" of run {part.run_id}" if part.run_id else ""
    try:
        if file_digest(path) == part.blake2b:
            return ""
        what = "does not match its checksum"
    except OSError as error:
        what = f"cannot be read: {error.strerror}"
    return (
        f"{path}, the copy of {part.table}{of_run} ({counted(part.rows, 'row')}), "
        f"{what}"
    )


def _read_index(folder: Path) -> _Index | None:
    path = folder / _INDEX_NAME
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        index = _Index(
            int(content["commits"]),
            {str(name): list(kinds) for name, kinds in content["columns"].items()},
            [_Part(**part) for part in content["parts"]],
        )
        if content["digest"] != _digest(index):
            raise ValueError("it does not match its own checksum")  # noqa: TRY301
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreCorruptError(
            f"{path} is damaged: {error}",
            "If the catalog is whole, `retune-cli repair` writes the copies anew.",
        ) from error
    return index


def _sound_index(folder: Path) -> _Index | None:
    """The index with those parts only that are not damaged."""
    try:
        index = _read_index(folder)
    except StoreCorruptError:
        return None
    if index is not None:
        index.parts = [part for part in index.parts if not _problem(folder, part)]
    return index


def _write_index(folder: Path, index: _Index, *, keep_unused: bool = False) -> None:
    content = asdict(index) | {"digest": _digest(index)}
    write_atomically(folder / _INDEX_NAME, json.dumps(content).encode())
    for path in () if keep_unused else _unused(folder, index):
        with suppress(OSError):  # it stays until the copies change again
            path.unlink()


def _unused(folder: Path, index: _Index) -> list[Path]:
    used = {part.file for part in index.parts}
    return [path for path in sorted(folder.glob("*.parquet")) if path.name not in used]


def _digest(index: _Index) -> str:
    text = json.dumps(asdict(index), sort_keys=True)
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """One process at a time; where files cannot be locked, no process waits."""
    try:
        make_private(folder)
        descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {folder}: {error.strerror or error}",
            "Free space or fix the rights on that folder.",
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCK_ERRORS:
                raise
        yield
    finally:
        os.close(descriptor)
