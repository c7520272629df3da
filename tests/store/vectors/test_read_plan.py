"""A read plan copies each wanted row to its place, whatever the order."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from retune.store.vectors.read_plan import plan_reads

_requests = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), max_size=60)


@given(_requests)
def test_every_row_lands_where_it_was_asked_for(
    request_: list[tuple[int, int]],
) -> None:
    shards = [shard for shard, _ in request_]
    rows = [row for _, row in request_]
    table = np.arange(5)[:, None] * 1000 + np.arange(31)[None, :]
    out = np.full(len(rows), -1)
    for read in plan_reads(shards, rows):
        out[read.positions] = table[read.shard][read.rows]
        if read.contiguous:
            assert (np.diff(read.rows) == 1).all()
            assert (np.diff(read.positions) == 1).all()
    np.testing.assert_array_equal(out, table[shards, rows] if rows else [])


@given(_requests)
def test_each_shard_is_visited_once_in_order(request_: list[tuple[int, int]]) -> None:
    reads = list(plan_reads([s for s, _ in request_], [r for _, r in request_]))
    visited = [read.shard for read in reads]
    assert visited == sorted({shard for shard, _ in request_})


def test_a_whole_shard_in_order_is_one_block() -> None:
    reads = list(plan_reads([0] * 5 + [1] * 5, [*range(5), *range(5)]))
    assert [read.contiguous for read in reads] == [True, True]


def test_a_gap_or_a_step_back_is_not_one_block() -> None:
    assert not next(plan_reads([0, 0], [1, 3])).contiguous
    assert not next(plan_reads([0, 0], [3, 2])).contiguous
