"""Cosines of all vectors of some shards with a direction, block by block.

Blocks are read into one buffer per thread and are not kept: two million vectors of 512
values are 2 GB on the disk, and comparing them needs 8 bytes for each.
"""

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .cosine import cosines
from .places import ShardPlace, block_sums, opened_shard, read_exactly
from .shards import Vectors

__all__ = ["ShardRows", "read_row", "scan_cosines"]

#: Threads that read and compare; more would wait for memory.
_THREADS = min(4, os.cpu_count() or 1)


@dataclass(frozen=True)
class ShardRows:
    """Rows of a shard that are wanted.

    Attributes:
        shard: The shard.
        rows: Ascending row numbers, shape (n,); None for all.
    """

    shard: ShardPlace
    rows: npt.NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return self.shard.n_rows if self.rows is None else len(self.rows)


def scan_cosines(
    root: Path, shards: Sequence[ShardRows], direction: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Cosines of the wanted rows, in the order of `shards`.

    Only blocks with a wanted row are read; each is compared with its checksum when the
    process first reads it.

    Args:
        root: The store's folder.
        shards: All of one encoder.
        direction: Shape (D,); its length multiplies the cosines.

    Returns:
        Shape (N,), float32.

    Raises:
        StoreCorruptError: A shard is missing, cut short or damaged.
    """
    ends = np.cumsum([0, *(len(one) for one in shards)])
    cosine = np.empty(int(ends[-1]), dtype=np.float32)
    buffers = threading.local()
    with ThreadPoolExecutor(_THREADS) as pool:
        parts = [
            pool.submit(_scan, root, one, direction, cosine[start:end], buffers)
            for one, start, end in zip(shards, ends[:-1], ends[1:], strict=True)
            if end > start
        ]
        for part in parts:
            part.result()
    return cosine


def read_row(root: Path, shard: ShardPlace, row: int) -> npt.NDArray[np.float32]:
    """One vector, shape (D,), with its block checked; HDF5 is not asked.

    Raises:
        StoreCorruptError: The shard is missing, cut short or damaged.
    """
    path = root / shard.path
    sums = block_sums(shard, path)
    rows = sums.rows(row // sums.block_rows)
    part = np.empty((rows.stop - rows.start, shard.dim), dtype=shard.dtype)
    row_bytes = shard.dim * part.itemsize
    with opened_shard(path) as descriptor:
        content = part.data.cast("B")
        read_exactly(content, descriptor, shard.offset_bytes + rows.start * row_bytes)
    sums.check(row // sums.block_rows, content)
    vector: npt.NDArray[np.float32] = part[row - rows.start].astype(np.float32)
    return vector


def _scan(
    root: Path,
    wanted: ShardRows,
    direction: npt.NDArray[np.float32],
    out: npt.NDArray[np.float32],
    buffers: threading.local,
) -> None:
    shard = wanted.shard
    path = root / shard.path
    sums = block_sums(shard, path)
    row_bytes = shard.dim * np.dtype(shard.dtype).itemsize
    block = _buffer(buffers, sums.block_rows, shard)
    with opened_shard(path) as descriptor:
        for number in range(-(-shard.n_rows // sums.block_rows)):
            rows = sums.rows(number)
            chosen = _within(wanted.rows, rows)
            if chosen is not None and chosen.start == chosen.stop:
                continue
            part = block[: rows.stop - rows.start]
            offset = shard.offset_bytes + rows.start * row_bytes
            read_exactly(part.data.cast("B"), descriptor, offset)
            if not sums.is_checked(number):
                sums.check(number, part.data.cast("B"))
            if chosen is None or wanted.rows is None:
                out[rows] = cosines(part, direction)
            else:
                kept = part[wanted.rows[chosen] - rows.start]
                out[chosen] = cosines(kept, direction)


def _within(rows: npt.NDArray[np.int64] | None, block: slice) -> slice | None:
    """Which of the wanted rows lie in a block; None: all of the block is wanted.

    >>> _within(np.array([1, 5, 6]), slice(4, 8))
    slice(1, 3, None)
    """
    if rows is None:
        return None
    first, last = np.searchsorted(rows, [block.start, block.stop])
    return slice(int(first), int(last))


def _buffer(buffers: threading.local, n_rows: int, shard: ShardPlace) -> Vectors:
    kept: Vectors | None = getattr(buffers, "block", None)
    shape = (n_rows, shard.dim)
    if kept is None or kept.shape != shape or kept.dtype != shard.dtype:
        kept = buffers.block = np.empty(shape, dtype=shard.dtype)
    return kept
