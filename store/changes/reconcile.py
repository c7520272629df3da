"""Bringing shards and catalog together again after a crash.

The shards are the truth for vectors. A crash between publishing a shard and committing
its rows leaves a shard without rows; a lost file leaves rows without a shard; a killed
writer leaves a temporary file. `plan_reconcile` decides, the rest acts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb

from ..catalog import scalar
from ..errors import StoreCorruptError
from ..vectors.shards import TEMPORARY_PREFIX, ShardHeader, verify_shard
from .rows import insert_shards

__all__ = [
    "ReconcilePlan",
    "ReconcileReport",
    "apply_reconcile",
    "inspect",
    "plan_reconcile",
]

DAMAGED_FOLDER = "damaged"


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
    """

    adopted_shards: int = 0
    adopted_rows: int = 0
    dropped_shards: int = 0
    dropped_rows: int = 0
    temporary_files: int = 0
    damaged: dict[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(vars(self).values())


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


def _shard_files(root: Path) -> dict[str, Path]:
    files = (root / "features").glob("*/*-*.h5")
    return {
        path.stem.partition("-")[2]: path
        for path in files
        if not path.name.startswith(TEMPORARY_PREFIX)
    }


def _catalog_shards(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    return dict(connection.execute("SELECT shard_id, path FROM shards").fetchall())


def inspect(
    root: Path, connection: duckdb.DuckDBPyConnection
) -> tuple[ReconcilePlan, Mapping[str, Path]]:
    """Compare the disk with the catalog; changes nothing."""
    files = _shard_files(root)
    temporary = [str(path) for path in root.rglob(f"{TEMPORARY_PREFIX}*")]
    shards = _catalog_shards(connection)
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
        Path(name).unlink(missing_ok=True)
    for shard_id in plan.drop:
        report.dropped_shards += 1
        report.dropped_rows += _drop_shard(connection, shard_id)
    adopted: list[ShardHeader] = []
    for shard_id, path in sorted(files.items()):
        new = shard_id in plan.adopt
        if not (new or every_checksum):
            continue
        try:
            header = verify_shard(path)
        except StoreCorruptError as error:
            report.damaged[str(path)] = error.message
            if every_checksum:
                _set_aside(root, path)
                report.dropped_rows += _drop_shard(connection, shard_id)
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


def _drop_shard(connection: duckdb.DuckDBPyConnection, shard_id: str) -> int:
    n_rows = scalar(
        connection, "SELECT count(*) FROM features WHERE shard_id = ?", [shard_id]
    )
    connection.execute("DELETE FROM features WHERE shard_id = ?", [shard_id])
    connection.execute("DELETE FROM shards WHERE shard_id = ?", [shard_id])
    return n_rows
