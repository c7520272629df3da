"""Erasing patients from a store: everything prepared aside, then exchanged at once."""

import secrets
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from ..atomic_files import make_private, write_atomically
from ..catalog import CATALOG_NAME, Catalog, utc_now
from ..changes.reconcile import DAMAGED_FOLDER
from ..errors import StoreBusyError
from . import journal as journals
from .journal import STAGING, Journal, carry_out, put_in_place, write_journal
from .keys import keyed_digest, make_key
from .needles import make_needles
from .new_catalog import NewRows, copy_catalog, count_rows, fill_rows
from .new_shards import RewrittenShard, rewrite_shards
from .people import Erased, blot_out
from .receipts import RECEIPTS_FOLDER, Receipt, last_link, receipt_rows
from .tombstones import patient_digest, tombstone_rows

__all__ = ["ErasureRequest", "LearnedAnew", "erase", "open_staging"]


@dataclass(frozen=True)
class LearnedAnew:
    """What becomes of the runs of a store.

    Attributes:
        looked_at: Ids of all runs that were considered.
        files: Prepared file -> where it goes; relative to the store.
        removed: Files that go, relative to the store.
        rows: Table -> new rows of runs that were learned anew.
        replaced: Ids of these runs.
        configs: Run id -> its record, where only the record changes.
        outcomes: Run id -> what became of it, for the receipt.
        marks: Run id -> what is marked of it.
        superseded: Digest of a contribution -> of the one that replaces it.
        notes: What a reader must know.
    """

    looked_at: frozenset[str] = frozenset()
    files: Mapping[str, str] = field(default_factory=dict)
    removed: tuple[str, ...] = ()
    rows: Mapping[str, pa.Table] = field(default_factory=dict)
    replaced: tuple[str, ...] = ()
    configs: Mapping[str, str] = field(default_factory=dict)
    outcomes: Mapping[str, str] = field(default_factory=dict)
    marks: Mapping[str, str] = field(default_factory=dict)
    superseded: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ErasureRequest:
    """Whom to erase, and on whose behalf.

    Attributes:
        erased: Who goes, with all that is theirs.
        populations: A query that gives the columns `dataset` and `population`.
        requested_by: Who asked.
        learned: What becomes of the runs.
        notes: What a reader of the receipt must know.
    """

    erased: Erased
    populations: str
    requested_by: str
    learned: LearnedAnew = LearnedAnew()
    notes: tuple[str, ...] = ()


def open_staging(root: Path) -> Path:
    """The folder in which an erasure is prepared, empty."""
    folder = root / STAGING
    make_private(folder)
    return folder


def erase(root: Path, catalog: Catalog, request: ErasureRequest) -> Receipt:
    """Erase patients; the caller holds the writer lock and has opened the staging.

    Args:
        root: The store's folder.
        catalog: Its catalog.
        request: Whom to erase.

    Returns:
        The receipt, which the store keeps, too.

    Raises:
        StoreBusyError: A run was entered meanwhile, or somebody holds the catalog;
            nothing was erased.
        StoreWriteError: The disk refused. Before the journal was written nothing was
            erased; after it whoever writes next finishes.
        StoreCorruptError: A shard is damaged; nothing was erased.
    """
    key = make_key(root)
    with catalog.hold() as connection:
        _check_runs(connection, request.learned)
        journals.before_step("shards")
        shards = tuple(
            rewrite_shards(connection, root, root / STAGING, request.erased.digests)
        )
        shreds, folders = _left_behind(root)
        receipt = _receipt(connection, key, request, shards, len(shreds)).signed(key)
        journals.before_step("catalog")
        journal = _prepare(
            connection, root, key, request, shards, receipt, (shreds, folders)
        )
        write_journal(root, journal)
        put_in_place(root, journal)
    carry_out(root, catalog, journal)
    return receipt


def _prepare(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    key: bytes,
    request: ErasureRequest,
    shards: Sequence[RewrittenShard],
    receipt: Receipt,
    left_behind: tuple[list[str], list[str]],
) -> Journal:
    """Write the new catalog and the receipt, and say what there is to do."""
    learned = request.learned
    rows = NewRows(
        shards=tuple(one.new for one in shards if one.new is not None),
        old_shards=tuple(one.shard_id for one in shards),
        runs=learned.rows,
        replaced_runs=learned.replaced,
        tables=_new_tables(key, request, receipt),
        configs=learned.configs,
    )
    target = root / STAGING / CATALOG_NAME
    copy_catalog(connection, target, request.erased, request.populations, rows)
    commits = fill_rows(target, root / STAGING, rows)
    name = f"{RECEIPTS_FOLDER}/{receipt.erasure_id}.json"
    write_atomically(root / STAGING / name, receipt.to_json().encode())
    new = [one.new.path.relative_to(root).as_posix() for one in shards if one.new]
    places = {path: path.removeprefix(f"{STAGING}/") for path in new}
    # Shards first: whoever reads the new catalog finds them.
    places |= {f"{STAGING}/{CATALOG_NAME}": CATALOG_NAME}
    places |= dict(learned.files) | {f"{STAGING}/{name}": name}
    shreds, folders = left_behind
    return Journal(
        receipt.erasure_id,
        commits,
        tuple(places.items()),
        (*(one.path for one in shards), *learned.removed, *shreds),
        tuple(folders),
    )


def _new_tables(
    key: bytes, request: ErasureRequest, receipt: Receipt
) -> dict[str, pa.Table]:
    learned = request.learned
    marks = list(learned.marks.items())
    superseded = list(learned.superseded.items())
    return {
        "erasures": receipt_rows(receipt),
        "tombstones": tombstone_rows(key, request.erased.patients),
        "run_marks": pa.table(
            {
                "run_id": pa.array([run for run, _ in marks], pa.string()),
                "mark": pa.array([mark for _, mark in marks], pa.string()),
                "erasure_id": pa.array([receipt.erasure_id] * len(marks), pa.string()),
            }
        ),
        "superseded_contributions": pa.table(
            {
                "old_digest": pa.array(
                    [keyed_digest(key, "contribution", old) for old, _ in superseded],
                    pa.string(),
                ),
                "new_digest": pa.array([new for _, new in superseded], pa.string()),
            }
        ),
    }


def _check_runs(connection: duckdb.DuckDBPyConnection, learned: LearnedAnew) -> None:
    rows = connection.execute("SELECT run_id FROM runs").fetchall()
    new = {run_id for (run_id,) in rows} - learned.looked_at
    if new:
        raise StoreBusyError(
            f"run {min(new)} was entered while the erasure was prepared",
            "Nothing was erased: run the same command again.",
        )


def _receipt(
    connection: duckdb.DuckDBPyConnection,
    key: bytes,
    request: ErasureRequest,
    shards: Sequence[RewrittenShard],
    n_left_behind: int,
) -> Receipt:
    erased, learned = request.erased, request.learned
    namesakes = _namesakes(connection, erased, request.populations)
    needles, short = make_needles(key, _contents(erased, shards, namesakes))
    notes = [*request.notes, *learned.notes]
    if namesakes:
        notes.append(
            f"some erased ids ({len(namesakes)}) also belong to patients elsewhere, "
            "who stay: they are looked for together with whose patients they are"
        )
    if erased.shared_digests:
        notes.append(
            f"vectors of {len(erased.shared_digests)} pictures stay: an image of "
            "another patient has the same content"
        )
    rows = count_rows(connection, erased, request.populations)
    # What went wrong with a run may name an image.
    notes = [blot_out(note, erased.names) for note in notes]
    return Receipt(
        erasure_id=secrets.token_hex(8),
        at=utc_now().isoformat(timespec="seconds") + "Z",
        requested_by=request.requested_by,
        patients=tuple(patient_digest(key, *one) for one in erased.patients),
        rows=rows,
        files={
            "shards_rewritten": len(shards),
            "vectors_removed": sum(len(one.vectors) for one in shards),
            "run_files_rewritten": len(learned.files),
            "files_destroyed": n_left_behind + len(learned.removed),
        },
        runs=dict(learned.outcomes),
        notes=tuple(notes),
        needles=needles,
        values_only=short,
        previous=last_link(connection),
    )


def _namesakes(
    connection: duckdb.DuckDBPyConnection, erased: Erased, populations: str
) -> frozenset[str]:
    """Ids of erased patients that patients of other populations have, too.

    They stay where those stand: among the images, and among the patients that a
    backbone was trained on. To find them in bytes would say nothing.
    """
    ids = {patient for _, patient in erased.patients}
    rows = connection.execute(
        f"""SELECT DISTINCT population, patient_id FROM images
        JOIN ({populations}) USING (dataset)"""
    ).fetchall()
    tables = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
    if ("trained_on",) in tables:
        rows += connection.execute(
            "SELECT DISTINCT population, name FROM trained_on WHERE kind = 'patient'"
        ).fetchall()
    known = {(population, one) for population, one in rows if one in ids}
    return frozenset(one for _, one in known - set(erased.patients))


def _contents(
    erased: Erased, shards: Iterable[RewrittenShard], namesakes: frozenset[str]
) -> Iterator[tuple[str, bytes]]:
    """Kind and bytes of all that must not be found any more."""
    named = {
        "patient": [one for _, one in erased.patients if one not in namesakes],
        "image": erased.image_ids,
        "path": erased.paths,
        "study": erased.studies,
        "digest": erased.digests,
    }
    for form, names in named.items():
        for name in names:
            yield form, name.encode()
    for shard in shards:
        for vector in shard.vectors:
            yield "vector", vector.tobytes()
            if vector.dtype != np.float32:  # as rehearsal may keep them
                yield "vector", vector.astype("<f4").tobytes()


def _left_behind(root: Path) -> tuple[list[str], list[str]]:
    """Files that may hold anybody, and cannot be read or used.

    Damaged shards and catalogs that `repair` set aside, states of interrupted runs,
    rows of runs that wait and cannot be read, what DuckDB spilled, unfinished files.
    """
    folders = [root / DAMAGED_FOLDER, root / f"{CATALOG_NAME}.tmp"]
    folders += sorted((root / "runs").glob("unfinished-*"))
    files = [path for one in folders for path in one.rglob("*") if path.is_file()]
    files += sorted((root / "pending").glob("*"))
    inner = [
        path for one in folders for path in sorted(one.rglob("*")) if path.is_dir()
    ]
    gone = [*reversed(inner), *(one for one in folders if one.is_dir())]

    def relative(paths: Iterable[Path]) -> list[str]:
        return [path.relative_to(root).as_posix() for path in paths]

    return relative(files), relative(gone)
