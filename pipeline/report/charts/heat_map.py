"""R as a heat map: findings down, tasks and bounds across, a number in each cell."""

from dataclasses import dataclass

import numpy as np

from ..records import ReportedRun

__all__ = ["HeatCell", "HeatMap", "heat_map"]


@dataclass(frozen=True)
class HeatCell:
    """A cell.

    Attributes:
        text: The number, or a dash.
        strength: How far from chance, 0 to 60.
        look: Classes: ``above`` or ``below`` chance, ``learned`` by then, ``new`` in
            the task that introduced the finding.
    """

    text: str
    strength: int
    look: str


@dataclass(frozen=True)
class HeatMap:
    """K findings and their mean by T+1 tasks and some bounds.

    Attributes:
        columns: Over the columns: 0 to T, then the bounds.
        n_bounds: How many columns are bounds.
        rows: Name, task that introduced it (0 for the mean), and cells.
    """

    columns: tuple[str, ...]
    n_bounds: int
    rows: tuple[tuple[str, int, tuple[HeatCell, ...]], ...]


def heat_map(run: ReportedRun) -> HeatMap:
    """The R matrix of a run with its bounds, turned so that names have room."""
    matrix, bounds = run.matrix(), run.bounds()
    values = np.vstack([matrix, *bounds.values()])
    n_tasks = len(matrix) - 1
    rows = []
    for finding_index, name in enumerate(run.findings):
        task = int(run.introduced[finding_index])
        cells = [
            _cell(value, column if column <= n_tasks else None, task)
            for column, value in enumerate(values[:, finding_index].tolist())
        ]
        rows.append((name, task, tuple(cells)))
    rows_with_any = values[~np.isnan(values).all(axis=1)]
    whole = ~np.isnan(rows_with_any).any(axis=0)
    known = values[:, whole & run.counted()]
    means = known.mean(axis=1) if known.size else np.full(len(values), np.nan)
    mean = tuple(_cell(value, None, 0) for value in means.tolist())
    columns = ("zero-shot", *map(str, range(1, n_tasks + 1)), *bounds)
    return HeatMap(columns, len(bounds), (*rows, ("mean", 0, mean)))


def _cell(value: float, task: int | None, introduced: int) -> HeatCell:
    """A cell of the column of a task, or of a bound or a mean."""
    look = []
    if task and task >= introduced:
        look.append("new" if task == introduced else "learned")
    if np.isnan(value):
        return HeatCell("–", 0, " ".join(look))
    look.append("above" if value >= 0.5 else "below")
    return HeatCell(
        f"{value:.3f}", round(min(1, abs(value - 0.5) / 0.5) * 60), " ".join(look)
    )
