"""Rows of encoders and shards, entered within the caller's transaction."""

from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..catalog import scalar, utc_now
from ..fingerprint import EncoderSpec
from ..schema import create_table
from ..vectors.places import place_of, read_shard_keys
from ..vectors.shards import ShardHeader, file_checksum

__all__ = ["as_strings", "drop_shard", "insert_encoder", "insert_shards"]


def as_strings(keys: npt.NDArray[np.bytes_]) -> pa.Array:
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
    connection.execute(create_table("shard_checksums"))  # older stores lack it
    rows = connection.execute("SELECT shard_id FROM shards").fetchall()
    known = {shard_id for (shard_id,) in rows}
    kinds: dict[tuple[str, str], list[ShardHeader]] = {}
    for header in headers:
        if header.shard_id not in known:
            insert_encoder(connection, header.encoder)
            _insert_shard_row(connection, root, header)
            encoder_modality = (header.fingerprint, header.modality)
            kinds.setdefault(encoder_modality, []).append(header)
    return sum(
        _insert_features(connection, root, encoder_modality, new)
        for encoder_modality, new in kinds.items()
    )


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
    whole = header.file_crc32
    connection.execute(
        "INSERT INTO shard_checksums VALUES (?, ?, ?, ?)",
        [
            header.shard_id, file_checksum(header.path) if whole is None else whole,
            header.block_rows, list(header.block_crc32),
        ],
    )  # fmt: skip


def drop_shard(connection: duckdb.DuckDBPyConnection, shard_id: str) -> int:
    """Remove a shard and its rows; gives how many feature rows it had."""
    connection.execute(create_table("shard_checksums"))
    n_rows = scalar(
        connection, "SELECT count(*) FROM features WHERE shard_id = ?", [shard_id]
    )
    for table in ("features", "shard_checksums", "shards"):
        connection.execute(f"DELETE FROM {table} WHERE shard_id = ?", [shard_id])
    return n_rows


def _insert_features(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    encoder_modality: tuple[str, str],
    headers: Sequence[ShardHeader],
) -> int:
    """Enter the rows of shards of one fingerprint and modality."""
    keys = [read_shard_keys(header.path, place_of(header, root)) for header in headers]
    rows = np.concatenate([np.arange(len(part), dtype=np.int32) for part in keys])
    owner = np.repeat(
        np.arange(len(headers), dtype=np.int32), [len(part) for part in keys]
    )
    # Of a key in two of these shards the first counts.
    every = np.concatenate(keys)
    numbers = as_strings(every).dictionary_encode().indices.to_numpy()
    first = np.zeros(int(numbers.max(initial=-1)) + 1, dtype=np.int64)
    first[numbers[::-1]] = np.arange(len(every))[::-1]  # the last assigned stays
    names = pa.array([header.shard_id for header in headers])
    incoming = pa.table(
        {
            "item_id": as_strings(every[first]),
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
        {"fingerprint": encoder_modality[0], "modality": encoder_modality[1]},
    )
    connection.unregister("incoming_features")
    return n_rows
