"""Which rows to copy from where: the decision behind every read of vectors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["ShardRead", "plan_reads"]


@dataclass(frozen=True)
class ShardRead:
    """One copy out of one shard.

    Attributes:
        shard: Index of the shard in the caller's list.
        rows: Row numbers in the shard, shape (m,), int64.
        positions: Where each row goes in the result, shape (m,), int64.
        contiguous: Rows and positions both count up by one, so the copy is one block.
    """

    shard: int
    rows: npt.NDArray[np.int64]
    positions: npt.NDArray[np.int64]
    contiguous: bool


def _counts_up(values: npt.NDArray[np.int64]) -> bool:
    last = int(values[-1]) - int(values[0])
    return last == len(values) - 1 and bool((np.diff(values) == 1).all())


def plan_reads(
    shards: npt.NDArray[np.integer] | Sequence[int],
    rows: npt.NDArray[np.integer] | Sequence[int],
) -> Iterator[ShardRead]:
    """Group a request for N rows by shard.

    Args:
        shards: Shard index of each wanted row, shape (N,).
        rows: Row number inside that shard, shape (N,).

    Yields:
        One `ShardRead` per shard that occurs, in ascending shard order. Together their
        positions are a permutation of 0..N-1.

    >>> [read.contiguous for read in plan_reads([0, 0, 1], [4, 5, 9])]
    [True, True]
    >>> [read.positions.tolist() for read in plan_reads([1, 0, 1], [2, 0, 1])]
    [[1], [0, 2]]
    """
    shard = np.asarray(shards, dtype=np.int64)
    row = np.asarray(rows, dtype=np.int64)
    if not len(shard):
        return
    order = np.argsort(shard, kind="stable")
    starts = np.flatnonzero(np.diff(shard[order], prepend=shard[order[0]] - 1))
    for group in np.split(order, starts[1:]):
        wanted = row[group]
        contiguous = _counts_up(wanted) and _counts_up(group)
        yield ShardRead(int(shard[group[0]]), wanted, group, contiguous)
