"""Bringing shards and catalog together again after a crash.

The shards are the truth for vectors. A crash between publishing a shard and committing
its rows leaves a shard without rows; a lost file leaves rows without a shard; a killed
writer leaves a temporary file. `plan_reconcile` decides, the rest acts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from .catalog import scalar
from .errors import StoreCorruptError
from .fingerprint import EncoderSpec
from .shards import TEMPORARY_PREFIX, ShardHeader, read_keys, verify_shard

__all__ = [
    "ReconcilePlan",
    "ReconcileReport",
    "apply_reconcile",
    "insert_encoder",
    "insert_shards",
    "inspect",
    "plan_reconcile",
    "utc_now",
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


def utc_now() -> datetime:
    """The time as the catalog keeps it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


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


def _as_strings(keys: npt.NDArray[np.bytes_]) -> pa.Array:
    """Keys of 32 bytes as an Arrow column of strings, without copying them."""
    width = keys.dtype.itemsize
    ends = np.arange(0, width * (len(keys) + 1), width, dtype=np.int32)
    buffers = [None, pa.py_buffer(ends), pa.py_buffer(np.ascontiguousarray(keys))]
    return pa.Array.from_buffers(pa.string(), len(keys), buffers)


def insert_encoder(
    connection: duckdb.DuckDBPyConnection, spec: EncoderSpec, device: str = ""
) -> None:
    """Enter an encoder unless the catalog knows its fingerprint."""
    connection.execute(
        """INSERT INTO encoders SELECT ?, ?, ?, ?, ?, ?, ?, ?
        WHERE NOT EXISTS (FROM encoders WHERE fingerprint = ?)""",
        [
            spec.fingerprint, spec.backbone, spec.precision, spec.dim,
            spec.output_dtype, spec.to_json(), device, utc_now(), spec.fingerprint,
        ],
    )  # fmt: skip


def insert_shards(
    connection: duckdb.DuckDBPyConnection, root: Path, headers: Sequence[ShardHeader]
) -> int:
    """Enter shards and the rows that no other shard of their encoder holds yet.

    A shard that the catalog has is left out: an interruption may hide from a writer
    that its transaction went through, and it tries again. Finding what is there already
    reads all rows of the catalog, so that many shards are entered at once.

    Returns:
        The number of feature rows entered.
    """
    rows = connection.execute("SELECT shard_id FROM shards").fetchall()
    known = {shard_id for (shard_id,) in rows}
    kinds: dict[tuple[str, str], list[ShardHeader]] = {}
    for header in headers:
        if header.shard_id not in known:
            insert_encoder(connection, header.encoder)
            _insert_shard_row(connection, root, header)
            kind = (header.fingerprint, header.modality)
            kinds.setdefault(kind, []).append(header)
    return sum(_insert_features(connection, kind, new) for kind, new in kinds.items())


def _insert_shard_row(
    connection: duckdb.DuckDBPyConnection, root: Path, header: ShardHeader
) -> None:
    connection.execute(
        "INSERT INTO shards VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            header.shard_id, header.fingerprint, header.modality,
            header.path.relative_to(root).as_posix(), header.n_rows, header.dim,
            header.dtype, header.path.stat().st_size, header.offset_bytes,
            header.key_offset_bytes, header.key_crc32,
            utc_now(),
        ],
    )  # fmt: skip


def _insert_features(
    connection: duckdb.DuckDBPyConnection,
    kind: tuple[str, str],
    headers: Sequence[ShardHeader],
) -> int:
    """Enter the rows of shards of one fingerprint and modality."""
    keys = [read_keys(header.path) for header in headers]
    rows = np.concatenate([np.arange(len(part), dtype=np.int32) for part in keys])
    owner = np.repeat(
        np.arange(len(headers), dtype=np.int32), [len(part) for part in keys]
    )
    # Of a key in two of these shards the first counts.
    every = np.concatenate(keys)
    _, first = np.unique(every, return_index=True)
    first.sort()
    names = pa.array([header.shard_id for header in headers])
    incoming = pa.table(
        {
            "item_id": _as_strings(every[first]),
            "shard_id": pa.DictionaryArray.from_arrays(owner[first], names),
            "row": rows[first],
        }
    )
    connection.register("incoming_features", incoming)
    n_rows = scalar(
        connection,
        """INSERT INTO features
        SELECT $fingerprint, $modality, item_id, shard_id, "row"
        FROM incoming_features WHERE NOT EXISTS (
            FROM features WHERE features.item_id = incoming_features.item_id
            AND fingerprint = $fingerprint AND modality = $modality)""",
        {"fingerprint": kind[0], "modality": kind[1]},
    )
    connection.unregister("incoming_features")
    return n_rows
