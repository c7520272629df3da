"""Bringing shards and catalog together again after a crash.

The shards are the truth for vectors. A crash between publishing a shard and committing
its rows leaves a shard without rows; a lost file leaves rows without a shard; a killed
writer leaves a temporary file. `plan_reconcile` decides, the rest acts.
"""

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from ..atomic_files import find_leftovers
from ..catalog import has_table
from ..errors import StoreCorruptError, StoreNotFoundError
from ..plural import counted
from ..vectors.shard_verification import verify_shard
from ..vectors.shards import ShardHeader
from .rows import drop_shard, insert_shards

__all__ = [
    "DAMAGED_FOLDER",
    "ReconcilePlan",
    "ReconcileReport",
    "apply_reconcile",
    "inspect",
    "known_checksums",
    "missing_folders",
    "plan_reconcile",
    "refuse_missing_folders",
]

DAMAGED_FOLDER = "damaged"
#: Anything else under features/ was put there by somebody and is left alone.
_FOLDER = re.compile(r"[0-9a-f]{16}")
_FILE = re.compile(r"[a-z]+-[0-9a-f]{16}\.h5")


#: Told, but no reason to repair.
_BEHIND = "copies_behind"


@dataclass(frozen=True)
class ReconcilePlan:
    """What a crash left behind.

    Attributes:
        adopt: Shard ids that lie on the disk and have no rows.
        drop: Shard ids that have rows and no file.
        temporary: Files of a writer that died.
    """

    adopt: tuple[str, ...] = ()
    drop: tuple[str, ...] = ()
    temporary: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.adopt or self.drop or self.temporary)


@dataclass
class ReconcileReport:
    """What was found and, if it was acted on, done.

    Attributes:
        adopted_shards: Shards whose rows were entered.
        adopted_rows: Rows entered for them.
        dropped_shards: Shards whose rows were removed because the file is gone.
        dropped_rows: Rows removed; the next `embed` encodes these items again.
        temporary_files: Leftovers of dead writers.
        damaged: Path -> what is wrong with it.
        missing_folders: Folders of shards that are gone as a whole.
        catalog: What is wrong with the catalog or its copies.
        runs: Path -> what is wrong with a file of a run.
        copies_behind: Transactions that the copies of the catalog lack. Nothing is
            wrong then, but a rebuilt catalog would lack them.
    """

    adopted_shards: int = 0
    adopted_rows: int = 0
    dropped_shards: int = 0
    dropped_rows: int = 0
    temporary_files: int = 0
    damaged: dict[str, str] = field(default_factory=dict)
    missing_folders: list[str] = field(default_factory=list)
    catalog: list[str] = field(default_factory=list)
    runs: dict[str, str] = field(default_factory=dict)
    copies_behind: int = 0

    def __bool__(self) -> bool:
        return any(value for name, value in vars(self).items() if name != _BEHIND)


def plan_reconcile(
    on_disk: Sequence[str], in_catalog: Sequence[str], temporary: Sequence[str]
) -> ReconcilePlan:
    """Decide from three lists.

    >>> plan_reconcile(["a", "b"], ["b", "c"], [".tmp-1"])
    ReconcilePlan(adopt=('a',), drop=('c',), temporary=('.tmp-1',))
    """
    return ReconcilePlan(
        adopt=tuple(sorted(set(on_disk) - set(in_catalog))),
        drop=tuple(sorted(set(in_catalog) - set(on_disk))),
        temporary=tuple(sorted(temporary)),
    )


def _shard_files(root: Path, in_catalog: Mapping[str, str]) -> dict[str, Path]:
    """Shard id -> file; of two files of one id, the one that the catalog knows."""
    files: dict[str, Path] = {}
    for folder in sorted((root / "features").glob("*")):
        if not (_FOLDER.fullmatch(folder.name) and folder.is_dir()):
            continue
        for path in sorted(folder.glob("*.h5")):
            shard_id = path.stem.partition("-")[2]
            location = path.relative_to(root).as_posix()
            if _FILE.fullmatch(path.name) and (
                shard_id not in files or in_catalog.get(shard_id) == location
            ):
                files[shard_id] = path
    return files


def _catalog_shards(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute("SELECT shard_id, path FROM shards").fetchall())


def known_checksums(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Shard id -> CRC-32 of its file, as far as the catalog knows them."""
    if not has_table(connection, "shard_checksums"):
        return {}
    return dict(
        connection.execute(
            "SELECT shard_id, file_crc32 FROM shard_checksums"
        ).fetchall()
    )


def missing_folders(root: Path, connection: duckdb.DuckDBPyConnection) -> list[Path]:
    """Folders that hold shards of the catalog and are gone as a whole."""
    folders = {(root / path).parent for path in _catalog_shards(connection).values()}
    return sorted(folder for folder in folders if not folder.is_dir())


def refuse_missing_folders(root: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse to take a disk that is not mounted for shards that are lost.

    Raises:
        StoreNotFoundError: A folder of shards is gone as a whole.
    """
    gone = missing_folders(root, connection)
    if gone:
        raise StoreNotFoundError(
            f"the folder {gone[0]} is gone, and the catalog knows of shards in it"
            + (f" and in {counted(len(gone) - 1, 'other')}" if len(gone) > 1 else ""),
            "Is a disk or a share not mounted? If the vectors are lost for good, "
            "`retune-cli repair --drop-missing` removes their rows, and the next "
            "`embed` encodes the images again.",
        )


def inspect(
    root: Path, connection: duckdb.DuckDBPyConnection
) -> tuple[ReconcilePlan, Mapping[str, Path]]:
    """Compare the disk with the catalog; changes nothing."""
    shards = _catalog_shards(connection)
    files = _shard_files(root, shards)
    places = ("*", "features/*", "runs/*")
    folders = [root, *(path for pattern in places for path in root.glob(pattern))]
    temporary = [str(path) for path in find_leftovers(folders)]
    return plan_reconcile(list(files), list(shards), temporary), files


def apply_reconcile(
    root: Path, connection: duckdb.DuckDBPyConnection, *, every_checksum: bool = False
) -> ReconcileReport:
    """Act on what `inspect` finds, inside the caller's transaction.

    Args:
        root: The store's folder.
        connection: A writing connection; the caller holds the writer lock.
        every_checksum: Also read every vector and set damaged shards aside, as
            `repair` does; else only shards without rows are looked into.

    Returns:
        What was done. Shards that are damaged are moved to ``damaged/`` and lose their
        rows if `every_checksum`; otherwise they are only reported.
    """
    plan, files = inspect(root, connection)
    report = ReconcileReport(temporary_files=len(plan.temporary))
    for name in plan.temporary:
        with suppress(OSError):  # it stays, and the next writer tries again
            Path(name).unlink(missing_ok=True)
    checksums = known_checksums(connection)
    for shard_id in plan.drop:
        report.dropped_shards += 1
        report.dropped_rows += drop_shard(connection, shard_id)
    adopted: list[ShardHeader] = []
    for shard_id, path in sorted(files.items()):
        new = shard_id in plan.adopt
        if not (new or every_checksum):
            continue
        try:
            header = verify_shard(path, checksums.get(shard_id))
        except StoreCorruptError as error:
            report.damaged[str(path)] = error.message
            if every_checksum:
                _set_aside(root, path)
                report.dropped_rows += drop_shard(connection, shard_id)
            continue
        if new:
            report.adopted_shards += 1
            adopted.append(header)
    report.adopted_rows += insert_shards(connection, root, adopted)
    return report


def _set_aside(root: Path, path: Path) -> None:
    folder = root / DAMAGED_FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    path.replace(folder / f"{path.parent.name}-{path.name}")
