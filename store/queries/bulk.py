"""Vectors out of the shards: some of them, or all of one encoder."""

import mmap
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import has_table, scalar
from ..errors import StoreWriteError
from ..feature_store import FeatureStore
from ..vectors.reader import ShardPlace, VectorReader
from ..vectors.shards import KEY_DTYPE, Vectors

__all__ = [
    "gather",
    "read_places",
    "read_vectors",
    "release_pages",
    "room_in_file",
    "rows_of_partly_used",
]


def gather(
    store: FeatureStore,
    connection: duckdb.DuckDBPyConnection,
    table: pa.Table,
    out: Vectors | None = None,
) -> Vectors:
    """Vectors for a table with the columns `shard_id` and `row`."""
    paths = dict(connection.execute("SELECT shard_id, path FROM shards").fetchall())
    encoded = pc.dictionary_encode(table["shard_id"].combine_chunks())
    vectors = VectorReader(store.path, paths).gather(
        encoded.dictionary.to_pylist(),
        encoded.indices.to_numpy(),
        table["row"].to_numpy(),
        out,
    )
    release_pages(vectors)
    return vectors


def release_pages(vectors: Vectors) -> None:
    """Let the operating system take back what was read of vectors in a file.

    What a process has touched of a mapped file counts as its memory until it says that
    it is done with it. The pages stay in the system's cache while there is room.

    Args:
        vectors: Those of `room_in_file`; others are left alone.
    """
    mapped = getattr(vectors, "_mmap", None)
    if isinstance(vectors, np.memmap) and isinstance(mapped, mmap.mmap):
        with suppress(OSError, AttributeError):  # not every system can be told
            mapped.madvise(mmap.MADV_DONTNEED)


def room_in_file(
    store: FeatureStore,
    connection: duckdb.DuckDBPyConnection,
    fingerprint: str,
    n_rows: int,
) -> Vectors:
    """An array for N vectors whose pages the operating system may take back."""
    dim, dtype = connection.execute(
        "SELECT dim, dtype FROM encoders WHERE fingerprint = ?", [fingerprint]
    ).fetchall()[0]
    n_bytes = n_rows * dim * np.dtype(dtype).itemsize
    try:
        with tempfile.TemporaryFile(dir=store.path) as file:
            # Reserved now: running out of disk later would end the process.
            os.posix_fallocate(file.fileno(), 0, n_bytes)
            return np.memmap(file, dtype=dtype, mode="r+", shape=(n_rows, dim))
    except OSError as error:
        raise StoreWriteError(
            f"{store.path} has no room for {n_bytes:,} bytes of vectors: "
            f"{error.strerror}",
            "Free space there, or train without `stream`.",
        ) from error


def read_vectors(
    store: FeatureStore, fingerprint: str, modality: str = "image"
) -> tuple[npt.NDArray[np.bytes_], Vectors]:
    """All vectors of one encoder in the order of the shards, at disk speed.

    Shards of which every row counts, which is nearly all of them, are read whole and
    bring their own keys; the catalog is asked row by row only about the others.

    Returns:
        The items' content digests, shape (N,), 32 bytes each, and their vectors, shape
        (N, D).

    Raises:
        StoreCorruptError: A shard is missing or damaged.
    """
    with store.catalog.read() as connection:
        places = read_places(connection, fingerprint, modality)
        used_rows = rows_of_partly_used(connection, fingerprint, modality, places)
    if not places:
        return np.empty(0, dtype=KEY_DTYPE), np.empty((0, 0), dtype=np.float16)
    keys, vectors = VectorReader(store.path, {}).whole(list(places.values()))
    if used_rows:
        starts = np.cumsum([0, *(shard.n_rows for shard in places.values())])
        kept = np.concatenate(
            [
                start + used_rows.get(shard_id, np.arange(shard.n_rows))
                for start, (shard_id, shard) in zip(
                    starts[:-1], places.items(), strict=True
                )
            ]
        )
        keys, vectors = keys[kept], vectors[kept]
    return keys, vectors


def read_places(
    connection: duckdb.DuckDBPyConnection, fingerprint: str, modality: str
) -> dict[str, ShardPlace]:
    """Shard id -> where its blocks lie, of all shards of one encoder and modality."""
    known = has_table(connection, "shard_checksums")
    shards = connection.execute(
        f"""SELECT shard_id, path, n_rows, dim, dtype, offset_bytes,
            key_offset_bytes, key_crc32
            {", block_rows, block_crc32" if known else ""}
        FROM shards {"LEFT JOIN shard_checksums USING (shard_id)" if known else ""}
        WHERE fingerprint = ? AND modality = ? ORDER BY shard_id""",
        [fingerprint, modality],
    ).fetchall()
    return {shard_id: ShardPlace(*fields) for shard_id, *fields in shards}


def rows_of_partly_used(
    connection: duckdb.DuckDBPyConnection,
    fingerprint: str,
    modality: str,
    places: Mapping[str, ShardPlace],
) -> dict[str, npt.NDArray[np.integer]]:
    """The rows that count, in order, of each shard of which not all do.

    No shard gives more rows than it has and none twice, so one sum over all of them
    tells whether each must be counted on its own.
    """
    condition = "WHERE fingerprint = ? AND modality = ?"
    names = [fingerprint, modality]
    n_used = scalar(connection, f"SELECT count(*) FROM features {condition}", names)
    if n_used == sum(shard.n_rows for shard in places.values()):
        return {}
    counted = dict(
        connection.execute(
            f"SELECT shard_id, count(*) FROM features {condition} GROUP BY shard_id",
            names,
        ).fetchall()
    )
    return {
        shard_id: np.asarray(
            connection.execute(
                """SELECT "row" FROM features WHERE shard_id = ? ORDER BY "row" """,
                [shard_id],
            ).fetchnumpy()["row"]
        )
        for shard_id, shard in places.items()
        if counted.get(shard_id, 0) < shard.n_rows
    }
