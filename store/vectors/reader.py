"""Reading vectors out of shards: into one array, or row by row inside SQL."""

import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from duckdb.func import PythonUDFType
from duckdb.sqltypes import INTEGER, VARCHAR, DuckDBPyType

from ..errors import FingerprintMismatchError, StoreCorruptError
from ..plural import counted
from .mapped_pages import release_pages
from .places import (
    ShardPlace,
    block_sums,
    opened_shard,
    read_exactly,
    read_shard_keys,
)
from .read_plan import ShardRead, plan_reads
from .shards import KEY_DTYPE, Vectors, map_embedding

__all__ = [
    "VectorReader",
    "register_function",
    "register_vector_function",
    "vector_function_name",
]


#: Numbers that functions of connections are told apart by.
_numbers = count()
#: Threads that read shards; more than a few only wait for memory.
_READERS = min(4, os.cpu_count() or 1)


class VectorReader:
    """Reads rows of shards, keeping each shard mapped once it was touched.

    Args:
        root: The store's folder.
        places: shard_id -> where the shard's blocks lie.
    """

    def __init__(self, root: Path, places: Mapping[str, ShardPlace]) -> None:
        self._root = root
        self._places = places
        self._maps: dict[str, Vectors] = {}

    def shard(self, shard_id: str) -> ShardPlace:
        """Where a shard's blocks lie.

        Raises:
            StoreCorruptError: The catalog does not know this shard.
        """
        if shard_id not in self._places:
            raise StoreCorruptError(
                f"the catalog has no shard {shard_id}", "Run `retune-cli repair`."
            )
        return self._places[shard_id]

    def mapped(self, shard_id: str) -> Vectors:
        """The vectors of a shard as a read-only map, shape (n, D).

        Raises:
            StoreCorruptError: The shard is missing or cut short.
        """
        if shard_id not in self._maps:
            shard = self.shard(shard_id)
            self._maps[shard_id] = map_embedding(self._root / shard.path, shard)
        return self._maps[shard_id]

    def gather(
        self,
        shard_ids: Sequence[str],
        shards: npt.NDArray[np.integer],
        rows: npt.NDArray[np.integer],
        out: Vectors | None = None,
    ) -> Vectors:
        """Copy N vectors into one array, in the order asked for.

        Args:
            shard_ids: The distinct shards.
            shards: Index into `shard_ids` for each wanted vector, shape (N,).
            rows: Row in that shard, shape (N,).
            out: Array to fill, shape (N, D); made in the shards' own type if None.

        Returns:
            `out`, shape (N, D).

        Raises:
            StoreCorruptError: A shard is missing, damaged or shorter than asked.
            FingerprintMismatchError: The shards come from different encoders.
        """
        plan = list(plan_reads(shards, rows))
        places = [self.shard(shard_ids[read.shard]) for read in plan]
        if len({shard.fingerprint for shard in places}) > 1:
            raise FingerprintMismatchError(
                "vectors of different encoders cannot be put into one array: "
                + ", ".join(sorted({shard.fingerprint for shard in places})),
                "Choose one with `fingerprint` or `backbone`.",
            )
        if out is None:
            shape = (len(rows), places[0].dim if places else 0)
            out = np.empty(shape, dtype=places[0].dtype if places else np.float16)
        for read, shard in zip(plan, places, strict=True):
            self._gather_shard(shard_ids[read.shard], shard, read, out)
        return out

    def _gather_shard(
        self, shard_id: str, shard: ShardPlace, read: ShardRead, out: Vectors
    ) -> None:
        """Copy what is wanted of one shard, each block checked when first read."""
        path = self._root / shard.path
        if int(read.rows.max()) >= shard.n_rows:
            raise StoreCorruptError(
                f"shard {path} has {counted(shard.n_rows, 'row')}; the catalog "
                f"asks for row {int(read.rows.max())}",
                "Run `retune-cli repair`.",
            )
        sums = block_sums(shard, path)
        for block in sums.missing(read.rows).tolist():
            sums.check(block, self.mapped(shard_id)[sums.rows(block)].data)
        if read.contiguous and out.dtype == shard.dtype:
            block = out[int(read.positions[0]) : int(read.positions[-1]) + 1]
            # A plain block of the file: without Python's lock and page faults.
            first_byte = int(read.rows[0]) * shard.dim * block.itemsize
            _read_into(block, path, shard.offset_bytes + first_byte)
        else:
            out[read.positions] = self.mapped(shard_id)[read.rows]
        if isinstance(out, np.memmap):
            release_pages(out)
        if len(read.rows) > shard.n_rows // 2:  # what is copied need not stay twice
            release_pages(self._maps.get(shard_id))

    def whole(
        self, places: Sequence[ShardPlace]
    ) -> tuple[npt.NDArray[np.bytes_], Vectors]:
        """Read shards from end to end, several at a time.

        The catalog knows where a shard's blocks lie, so HDF5 need not be asked: for a
        large store, opening its files would take longer than copying them. The keys'
        checksum tells a file that is not the one that the catalog knows. Each block of
        vectors is compared with its checksum when the process first reads it.

        Args:
            places: At least one, all of one encoder.

        Returns:
            Their keys, shape (N,), and their vectors, shape (N, D), in this order.

        Raises:
            StoreCorruptError: A shard is missing, cut short, damaged or another.
        """
        ends = np.cumsum([shard.n_rows for shard in places])
        out = np.empty((int(ends[-1]), places[0].dim), dtype=places[0].dtype)
        keys = np.empty(len(out), dtype=KEY_DTYPE)
        with ThreadPoolExecutor(_READERS) as pool:
            copies: list[Future[object]] = []
            for shard, end in zip(places, ends, strict=True):
                block = slice(int(end) - shard.n_rows, int(end))
                path = self._root / shard.path
                copies.append(pool.submit(_read_vectors, out[block], path, shard))
                copies.append(pool.submit(read_shard_keys, path, shard, keys[block]))
            for copy in copies:
                copy.result()
        return keys, out


def _read_vectors(block: Vectors, path: Path, shard: ShardPlace) -> None:
    """Read a shard's vectors straight into place, each block checked in the cache."""
    sums = block_sums(shard, path)
    if sums.is_complete():
        _read_into(block, path, shard.offset_bytes)
        return
    content = block.data.cast("B")
    block_bytes = sums.block_rows * block.itemsize * block.shape[1]
    with opened_shard(path) as descriptor:
        for number, start in enumerate(range(0, len(content), block_bytes)):
            part = content[start : start + block_bytes]
            read_exactly(part, descriptor, shard.offset_bytes + start)
            sums.check(number, part)


def _read_into(target: npt.NDArray[Any], path: Path, offset: int) -> None:
    """Fill an array from a place in a shard's file."""
    with opened_shard(path) as descriptor:
        read_exactly(target.data.cast("B"), descriptor, offset)


def vector_function_name(dim: int) -> str:
    """Name of the SQL function that fetches vectors of D values.

    >>> vector_function_name(512)
    'shard_vector_512'
    """
    return f"shard_vector_{dim}"


def register_vector_function(
    connection: duckdb.DuckDBPyConnection, reader: VectorReader, dim: int
) -> None:
    """Give a connection ``shard_vector_D(shard_id, row) -> FLOAT[D]``.

    DuckDB calls it with one batch of rows at a time and only for rows that survive the
    filter, so vectors never enter the catalog. It hands float32 to DuckDB, which
    refuses float16 from Arrow.
    """
    register_function(
        connection,
        vector_function_name(dim),
        _vector_function(reader, dim),
        [VARCHAR, INTEGER],
        DuckDBPyType(f"FLOAT[{dim}]"),
    )


def register_function(
    connection: duckdb.DuckDBPyConnection,
    name: str,
    function: Callable[..., Any],
    parameters: list[Any],
    result: Any,
) -> None:
    """Give one connection a function over Arrow columns.

    DuckDB keeps Python functions per database file, not per connection, so that two
    connections of one process would want the same name. Each function therefore has a
    name of its own, behind a macro that only its connection sees.
    """
    own = f"{name}_{next(_numbers)}"
    connection.create_function(
        own, function, parameters, result, type=PythonUDFType.ARROW
    )
    given = ", ".join(f"p{index}" for index in range(len(parameters)))
    connection.execute(f"CREATE TEMP MACRO {name}({given}) AS {own}({given})")


def _vector_function(reader: VectorReader, dim: int) -> Callable[..., Any]:
    def shard_vector(shard: pa.Array, row: pa.Array) -> pa.Array:
        encoded = pc.dictionary_encode(shard)
        if isinstance(encoded, pa.ChunkedArray):
            encoded = encoded.combine_chunks()
        out = np.empty((len(shard), dim), dtype=np.float32)
        reader.gather(
            encoded.dictionary.to_pylist(),
            encoded.indices.to_numpy(zero_copy_only=False),
            row.to_numpy(zero_copy_only=False),
            out,
        )
        return pa.FixedSizeListArray.from_arrays(pa.array(out.reshape(-1)), dim)

    return shard_vector
