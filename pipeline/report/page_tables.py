"""Runs as the rows of the page's tables."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..learn.stats.catalog_names import Bound, Metric
from ..learn.stats.incremental import FORMULAS
from .charts.axis import Axis, Level, auroc_axis
from .charts.curves import CurveLine, curve_plot
from .charts.forest import forest_head, forest_row
from .groups import RunGroup
from .records import Figure, ReportedRun

__all__ = [
    "PlotColumn",
    "course",
    "finding_curves",
    "finding_plot",
    "format_figure",
    "group_axis",
    "overview_plot",
    "subgroup_rows",
    "summary_rows",
]

#: Bound -> its class in the style sheet.
_KINDS = {
    Bound.JOINT: "joint",
    Bound.JOINT_OBSERVED: "observed",
    Bound.ANALYTIC: "exact",
    Bound.LOGISTIC_REGRESSION: "logistic",
}
#: Levels that differ less are one line over all rows.
_SAME = 0.0005


def format_figure(figure: Figure, *, signed: bool = False) -> str:
    """A figure with its interval, or a dash; an interval that does not show is none.

    Args:
        figure: NaN: a dash.
        signed: Whether it is a difference.

    >>> format_figure(Figure(0.5, 0.25, 0.75)), format_figure(Figure())
    ('0.500 (0.250 to 0.750)', '–')
    >>> format_figure(Figure(-0.0001, -0.0001, 0.0001))
    '0.000'
    >>> format_figure(Figure(0.1, -0.1, 0.3), signed=True)
    '+0.100 (−0.100 to +0.300)'
    """
    if np.isnan(figure.value):
        return "–"
    value, low, high = (
        _text(round(end, 3) + 0.0, signed)
        for end in (figure.value, figure.low, figure.high)
    )
    if np.isnan(figure.low) or value == low == high:
        return value
    return f"{value} ({low} to {high})"


def _text(value: float, signed: bool) -> str:
    text = f"{value:+.3f}" if signed and value else f"{value:.3f}"
    return text.replace("-", "−")


@dataclass(frozen=True)
class PlotColumn:
    """A column of a table that is a forest plot: its head, its rows, and what is what.

    Attributes:
        head: The axis, with the levels that all rows share.
        rows: An SVG each.
        key: Levels that differ from row to row, for the line above the table.
    """

    head: str
    rows: tuple[str, ...]
    key: tuple[Level, ...]


def group_axis(groups: Sequence[RunGroup]) -> Axis:
    """One axis for everything that is shown of some groups."""
    values: list[float] = []
    for group in groups:
        for metric in ("final_auroc", "zero_shot_auroc"):
            one = group.summary(metric)
            values += [one.value, one.low]
        values += [bound.value for bound in _bounds(group)]
        for run in group.runs:
            values += [float(value) for value in _mean_course(run)]
    return auroc_axis(values)


def _bounds(group: RunGroup) -> list[Level]:
    return [
        Level(style, bound.value, group.summary(bound.macro_auroc).value)
        for bound, style in _KINDS.items()
    ]


def overview_plot(groups: Sequence[RunGroup], axis: Axis) -> PlotColumn:
    """Final AUROC of groups, against zero-shot, joint and logistic regression."""
    rows = [
        [
            Level("zero", "zero-shot", group.summary("zero_shot_auroc").value),
            *(
                level
                for level in _bounds(group)
                if level.style in ("joint", "logistic")
            ),
        ]
        for group in groups
    ]
    figures = [group.summary("final_auroc") for group in groups]
    return _column(axis, figures, rows)


def _column(
    axis: Axis, figures: Sequence[Figure], levels: Sequence[Sequence[Level]]
) -> PlotColumn:
    """Rows of a forest plot; levels that are the same in all are labelled above."""
    places = range(len(levels[0]) if levels else 0)
    known = [[row[p] for row in levels if not np.isnan(row[p].value)] for p in places]
    shared = [
        of[0]
        for of in known
        if of and np.ptp([one.value for one in of]) < _SAME and len(of) == len(levels)
    ]
    styles = {one.style for one in shared}
    key = [of[0] for of in known if of and of[0].style not in styles]
    drawn = [forest_row(axis, *row) for row in zip(figures, levels, strict=True)]
    return PlotColumn(forest_head(axis, shared), tuple(drawn), tuple(key))


def finding_plot(run: ReportedRun) -> PlotColumn:
    """AUROC of each finding after the last task, against zero-shot and joint."""
    figures = [run.figure(Metric.AUROC, name) for name in run.findings]
    levels = [
        [
            Level("zero", "zero-shot", run.figure(Metric.AUROC, name, 0).value),
            Level("joint", "joint", run.figure(Bound.JOINT.auroc, name).value),
        ]
        for name in run.findings
    ]
    return _column(_finding_axis(run), figures, levels)


def _finding_axis(run: ReportedRun) -> Axis:
    lows = [run.figure(Metric.AUROC, name).low for name in run.findings]
    return auroc_axis([*run.matrix().ravel().tolist(), *lows])


def course(group: RunGroup, axis: Axis) -> str:
    """Mean AUROC before the first task and after each, a thin line per run.

    Runs on other splits may have other tasks, because a finding without positives is
    left out. They then have no common course, and each is drawn as its own.
    """
    every = [_mean_course(run) for run in group.runs]
    n_tasks = max(len(line) for line in every) - 1
    lines = []
    if len(every) > 1:
        lines = [
            CurveLine("each run" if not index else "", "each", line)
            for index, line in enumerate(every)
        ]
    if len({len(line) for line in every}) == 1:
        lines.append(CurveLine("mean", "run", np.array(every).mean(axis=0)))
    zero = Level("zero", "zero-shot", float(np.mean([line[0] for line in every])))
    levels = [zero, *_bounds(group)]
    return curve_plot(
        axis, lines, levels, n_tasks=n_tasks, height=200, with_values=True
    )


def _mean_course(run: ReportedRun) -> np.ndarray:
    matrix = run.matrix()
    # An encoder without vectors of texts has no zero-shot: that row may be empty.
    whole = ~np.isnan(matrix[min(1, run.n_tasks) :]).any(axis=0)
    matrix = matrix[:, whole & run.counted()]
    return matrix.mean(axis=1) if matrix.size else np.full(len(matrix), np.nan)


def finding_curves(run: ReportedRun) -> list[tuple[str, str]]:
    """Name and plot of each finding that has figures, all on one axis."""
    axis, matrix = _finding_axis(run), run.matrix()
    curves = []
    for column, name in enumerate(run.findings):
        values = matrix[:, column]
        if np.isnan(values).all():
            continue
        levels = [
            Level("zero", "zero-shot", float(values[0])),
            Level("joint", "joint", run.figure(Bound.JOINT.auroc, name).value),
        ]
        line = CurveLine("", "run", values, int(run.introduced[column]))
        curves.append((name, curve_plot(axis, [line], levels, n_tasks=run.n_tasks)))
    return curves


def summary_rows(group: RunGroup) -> list[tuple[str, str, str]]:
    """Name, figure and formula of every figure over all findings that a group has."""
    rows = []
    for metric, formula in FORMULAS.items():
        figure = group.summary(metric)
        if not np.isnan(figure.value):
            text = format_figure(figure, signed="auroc" not in metric)
            rows.append((metric.replace("_", " "), text, formula))
    return rows


@dataclass(frozen=True)
class SubgroupRow:
    """A group of test patients."""

    name: str
    n_images: float
    n_defined: int
    mean: str
    value: float


def subgroup_rows(run: ReportedRun) -> tuple[list[SubgroupRow], PlotColumn]:
    """Mean AUROC of groups of test patients after the last task, and its plot."""
    splits = [split for split in run.groups() if split.startswith("test/")]
    figures = [run.figure(Metric.MACRO_AUROC, split=split) for split in splits]
    every = run.figure(Metric.MACRO_AUROC).value
    rows = [
        SubgroupRow(
            split.removeprefix("test/"),
            run.figure(Metric.N_IMAGES, split=split).value,
            sum(
                not np.isnan(run.figure(Metric.AUROC, name, split=split).value)
                for name in run.findings
            ),
            format_figure(figure),
            figure.value,
        )
        for split, figure in zip(splits, figures, strict=True)
    ]
    axis = auroc_axis([end for one in figures for end in (one.value, one.low)])
    levels = [[Level("every", "all test images", every)] for _ in splits]
    return rows, _column(axis, figures, levels)
