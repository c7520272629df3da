"""Reading vectors out of shards: into one array, or row by row inside SQL."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
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

from ..checksums import crc32
from ..errors import FingerprintMismatchError, StoreCorruptError
from .block_checks import BlockSums
from .read_plan import ShardRead, plan_reads
from .shards import (
    KEY_DTYPE,
    ShardHeader,
    Vectors,
    map_embedding,
    read_header,
    refuse_for_rights,
)

__all__ = [
    "ShardPlace",
    "VectorReader",
    "block_sums",
    "opened_shard",
    "read_exactly",
    "register_function",
    "register_vector_function",
    "vector_function_name",
]


#: Numbers that functions of connections are told apart by.
_numbers = count()
#: Threads that read shards; more than a few only wait for memory.
_READERS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class ShardPlace:
    """Where the catalog says that a shard's blocks lie; see `ShardHeader`.

    The checksums of the blocks are None in catalogs that are older than they are.
    """

    path: str
    n_rows: int
    dim: int
    dtype: str
    offset_bytes: int
    key_offset_bytes: int
    key_crc32: int
    block_rows: int | None = None
    block_crc32: Sequence[int] | None = None


class VectorReader:
    """Reads rows of shards, keeping each shard mapped once it was touched.

    Args:
        root: The store's folder.
        paths: shard_id -> path relative to `root`.
    """

    def __init__(self, root: Path, paths: Mapping[str, str]) -> None:
        self._root = root
        self._paths = paths
        self._headers: dict[str, ShardHeader] = {}
        self._maps: dict[str, Vectors] = {}

    def header(self, shard_id: str) -> ShardHeader:
        """The header of a shard.

        Raises:
            StoreCorruptError: The catalog names a shard that is gone or damaged.
        """
        if shard_id not in self._headers:
            if shard_id not in self._paths:
                raise StoreCorruptError(
                    f"the catalog has no shard {shard_id}", "Run `retune-cli repair`."
                )
            path = self._root / self._paths[shard_id]
            if not path.is_file():
                raise StoreCorruptError(
                    f"shard {path} is missing",
                    "Run `retune-cli repair`; the next `embed` encodes its rows again.",
                )
            self._headers[shard_id] = read_header(path)
        return self._headers[shard_id]

    def mapped(self, shard_id: str) -> Vectors:
        """The vectors of a shard as a read-only map, shape (n, D)."""
        if shard_id not in self._maps:
            self._maps[shard_id] = map_embedding(self.header(shard_id))
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
        headers = [self.header(shard_ids[read.shard]) for read in plan]
        if len({header.fingerprint for header in headers}) > 1:
            raise FingerprintMismatchError(
                "vectors of different encoders cannot be put into one array: "
                + ", ".join(sorted({header.fingerprint for header in headers})),
                "Choose one with `fingerprint` or `backbone`.",
            )
        if out is None:
            shape = (len(rows), headers[0].dim if headers else 0)
            out = np.empty(shape, dtype=headers[0].dtype if headers else np.float16)
        for read, header in zip(plan, headers, strict=True):
            if int(read.rows.max()) >= header.n_rows:
                raise StoreCorruptError(
                    f"shard {header.path} has {header.n_rows} rows; the catalog "
                    f"asks for row {int(read.rows.max())}",
                    "Run `retune-cli repair`.",
                )
            self._check(header, read)
            if read.contiguous and out.dtype == header.dtype:
                block = out[int(read.positions[0]) : int(read.positions[-1]) + 1]
                self._copy(header, int(read.rows[0]), block)
            else:
                out[read.positions] = self.mapped(header.shard_id)[read.rows]
        return out

    def _check(self, header: ShardHeader, read: ShardRead) -> None:
        """Compare the blocks that are about to be read for the first time."""
        sums = block_sums(header, header.path)
        missing = sums.missing(read.rows)
        if len(missing):
            vectors = self.mapped(header.shard_id)
            for block in missing.tolist():
                sums.check(block, vectors[sums.rows(block)].data)

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
            copies = []
            for shard, end in zip(places, ends, strict=True):
                block = slice(int(end) - shard.n_rows, int(end))
                path = self._root / shard.path
                copies.append(pool.submit(_read_vectors, out[block], path, shard))
                copies.append(pool.submit(_read_keys, keys[block], path, shard))
            for copy in copies:
                copy.result()
        return keys, out

    @staticmethod
    def _copy(header: ShardHeader, first_row: int, block: Vectors) -> None:
        """Read a block of rows straight into place.

        The vectors of a shard are one plain block of the file, so the operating system
        can read them without HDF5, without Python's lock and without page faults.
        """
        first_byte = first_row * header.dim * block.itemsize
        _read_into(block, header.path, header.offset_bytes + first_byte)


def _read_keys(block: npt.NDArray[np.bytes_], path: Path, shard: ShardPlace) -> None:
    """Read a shard's keys straight into place and compare their checksum."""
    _read_into(block.view(np.uint8), path, shard.key_offset_bytes)
    if crc32(block.data) != shard.key_crc32:
        raise StoreCorruptError(
            f"keys of {path} do not match their checksum",
            "Run `retune-cli repair`; the next `embed` encodes its rows again.",
        )


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


def block_sums(shard: ShardPlace | ShardHeader, path: Path) -> BlockSums:
    """The checksums of a shard's blocks: the catalog's, else those in the shard.

    Raises:
        StoreCorruptError: The shard is missing or damaged.
    """
    if shard.block_rows is None or shard.block_crc32 is None:
        shard = read_header(path)
    assert shard.block_rows is not None
    assert shard.block_crc32 is not None
    return BlockSums(path, shard.n_rows, shard.block_rows, tuple(shard.block_crc32))


def _read_into(target: npt.NDArray[Any], path: Path, offset: int) -> None:
    """Fill an array from a place in a shard's file."""
    with opened_shard(path) as descriptor:
        read_exactly(target.data.cast("B"), descriptor, offset)


def read_exactly(left: memoryview, descriptor: int, offset: int) -> None:
    """Fill a buffer from a place in an open file.

    Raises:
        EOFError: The file ends before.
    """
    while left:
        n_read = os.preadv(descriptor, [left], offset)
        if not n_read:
            raise EOFError("the file is cut short")
        left, offset = left[n_read:], offset + n_read


@contextmanager
def opened_shard(path: Path) -> Iterator[int]:
    """The descriptor of a shard's file.

    Raises:
        StoreCorruptError: Whatever is wrong with the file, also within the block.
    """
    try:
        with path.open("rb", buffering=0) as file:
            yield file.fileno()
    except (OSError, EOFError) as error:
        refuse_for_rights(path, error)
        raise StoreCorruptError(
            f"shard {path} cannot be read: {error}",
            "Run `retune-cli repair`; the next `embed` encodes its rows again.",
        ) from error


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
