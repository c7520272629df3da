"""Timing in turns, and the table of results."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        name: What was measured.
        ours: Median seconds, or a rate; see `unit`.
        peer: Of what it is held against.
        unit: Of both.
        ratio: How many times as fast as the peer; median over pairs.
        goal: What the ratio should at least be; None where it is only for comparison.
    """

    name: str
    ours: float
    peer: float
    unit: str
    ratio: float
    goal: float | None = None


def seconds(action: Callable[[], object]) -> float:
    """Time one call."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def in_turns(
    ours: Callable[[], object], peer: Callable[[], object], repeats: int
) -> tuple[float, float, float]:
    """Median seconds of both, and the median of the pairwise ratios peer / ours."""
    ours(), peer()
    pairs = [(seconds(ours), seconds(peer)) for _ in range(repeats)]
    return (
        statistics.median(one for one, _ in pairs),
        statistics.median(other for _, other in pairs),
        statistics.median(other / one for one, other in pairs),
    )


def print_rows(rows: Sequence[Row]) -> None:
    """Print the table."""
    width = max(len(row.name) for row in rows)
    print(f"{'':{width}}  {'ours':>10}  {'peer':>10}  {'':8}  {'ratio':>7}  goal")
    for row in rows:
        goal = "" if row.goal is None else f">= {row.goal}"
        print(
            f"{row.name:{width}}  {row.ours:10.3f}  {row.peer:10.3f}  {row.unit:8}  "
            f"{row.ratio:7.2f}  {goal}"
        )
