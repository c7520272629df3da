"""Vectors out of the shards: some of them, or all of one encoder."""

import os
import tempfile
from collections.abc import Mapping

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import scalar
from ..errors import StoreWriteError
from ..feature_store import FeatureStore
from ..vectors.mapped_pages import release_pages
from ..vectors.places import ShardPlace, read_places
from ..vectors.reader import VectorReader
from ..vectors.shards import KEY_DTYPE, Vectors

__all__ = [
    "gather",
    "read_vectors",
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
    encoded = pc.dictionary_encode(table["shard_id"].combine_chunks())
    vectors = VectorReader(store.path, read_places(connection)).gather(
        encoded.dictionary.to_pylist(),
        encoded.indices.to_numpy(),
        table["row"].to_numpy(),
        out,
    )
    release_pages(vectors)
    return vectors


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
