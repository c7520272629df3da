"""Where the catalog says that vectors lie: HDF5 need not be asked.

A shard is one plain block of keys and one of vectors, and the catalog knows where each
begins and the checksum of every part. Whoever reads by it never gives a damaged file to
HDF5's library, which a flipped bit can make read where it must not and so end the
process.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt

from ..catalog import has_table
from ..checksums import crc32
from ..errors import StoreCorruptError
from .block_checks import BlockSums
from .shard_verification import block_sums_apart
from .shards import (
    KEY_DTYPE,
    REPAIR_HINT,
    ShardHeader,
    refuse_for_rights,
)

__all__ = [
    "ShardPlace",
    "block_sums",
    "opened_shard",
    "place_of",
    "read_exactly",
    "read_places",
    "read_shard_keys",
]


@dataclass(frozen=True)
class ShardPlace:
    """Where the catalog says that a shard's blocks lie; see `ShardHeader`.

    The checksums of the blocks are None in catalogs that are older than they are.
    """

    path: str
    fingerprint: str
    modality: str
    n_rows: int
    dim: int
    dtype: str
    offset_bytes: int
    key_offset_bytes: int
    key_crc32: int
    block_rows: int | None = None
    block_crc32: Sequence[int] | None = None


def read_places(
    connection: duckdb.DuckDBPyConnection,
    fingerprint: str | None = None,
    modality: str | None = None,
) -> dict[str, ShardPlace]:
    """Shard id -> where its blocks lie, in the order of ids.

    Args:
        connection: To the catalog.
        fingerprint: Only shards of this encoder; None for all.
        modality: Only ``image`` or ``text``; None for both.
    """
    known = has_table(connection, "shard_checksums")
    shards = connection.execute(
        f"""SELECT shard_id, path, fingerprint, modality, n_rows, dim, dtype,
            offset_bytes, key_offset_bytes, key_crc32
            {", block_rows, block_crc32" if known else ""}
        FROM shards {"LEFT JOIN shard_checksums USING (shard_id)" if known else ""}
        WHERE ($1 IS NULL OR fingerprint = $1) AND ($2 IS NULL OR modality = $2)
        ORDER BY shard_id""",
        [fingerprint, modality],
    ).fetchall()
    return {shard_id: ShardPlace(*fields) for shard_id, *fields in shards}


def place_of(header: ShardHeader, root: Path) -> ShardPlace:
    """What the catalog will say of a shard."""
    return ShardPlace(
        header.path.relative_to(root).as_posix(),
        header.fingerprint,
        header.modality,
        header.n_rows,
        header.dim,
        header.dtype,
        header.offset_bytes,
        header.key_offset_bytes,
        header.key_crc32,
        header.block_rows,
        header.block_crc32,
    )


def block_sums(shard: ShardPlace, path: Path) -> BlockSums:
    """The checksums of a shard's blocks: the catalog's, else those in the shard.

    Raises:
        StoreCorruptError: The shard is missing or damaged.
        StoreError: The process that asks the shard cannot be started.
    """
    if shard.block_rows is None or shard.block_crc32 is None:
        block_rows, sums = block_sums_apart(path)
    else:
        block_rows, sums = shard.block_rows, tuple(shard.block_crc32)
    if block_rows <= 0 or len(sums) != -(-shard.n_rows // block_rows):
        raise StoreCorruptError(
            f"shard {path} does not have a checksum for each of its blocks", REPAIR_HINT
        )
    return BlockSums(path, shard.n_rows, block_rows, sums)


def read_shard_keys(
    path: Path, shard: ShardPlace, out: npt.NDArray[np.bytes_] | None = None
) -> npt.NDArray[np.bytes_]:
    """Read a shard's keys and compare their checksum.

    Args:
        path: The shard.
        shard: Where its keys lie.
        out: Array to fill, shape (n,); made if None.

    Returns:
        `out`, 32 bytes each.

    Raises:
        StoreCorruptError: The shard is missing, cut short or damaged.
    """
    if out is None:
        out = np.empty(shard.n_rows, dtype=KEY_DTYPE)
    with opened_shard(path) as descriptor:
        content = out.view(np.uint8).data.cast("B")
        read_exactly(content, descriptor, shard.key_offset_bytes)
    if crc32(out.data) != shard.key_crc32:
        raise StoreCorruptError(
            f"keys of {path} do not match their checksum", REPAIR_HINT
        )
    return out


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
            f"shard {path} cannot be read: {error}", REPAIR_HINT
        ) from error
