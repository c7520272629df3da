"""Figures as SVG text; the same runs give the same bytes."""

import io
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from retune.store.errors import ConfigurationError

from .groups import RunGroup
from .records import Figure, ReportedRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["draw_course", "draw_findings", "draw_overview", "plot_findings"]

#: Colours that differ for colour-blind readers too (Okabe & Ito 2008).
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_GREY = "#777777"
_ROW_INCHES = 0.34


def _canvas(width: float, height: float) -> tuple["Canvas", "Axes"]:
    try:
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:
        raise ConfigurationError(
            "a figure needs the package matplotlib", "pip install 'retune-cli[report]'"
        ) from error

    canvas = Canvas(figsize=(width, height), layout="constrained")
    axes = canvas.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="x", color="#e4e4e4", linewidth=0.8)
    axes.set_axisbelow(True)
    return canvas, axes


def _svg(canvas: Any) -> str:
    """An ``<svg>`` element that lies in a page."""
    from matplotlib import rc_context

    text = io.StringIO()
    with rc_context({"svg.hashsalt": "retune", "svg.fonttype": "none"}):
        canvas.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    whole = text.getvalue()
    return whole[whole.index("<svg") :]


def _whisker(axes: "Axes", figure: Figure, y: float, colour: str, **look: Any) -> None:
    if np.isnan(figure.value):
        return
    if not np.isnan(figure.low):
        axes.plot([figure.low, figure.high], [y, y], color=colour, linewidth=1.6)
    axes.plot([figure.value], [y], marker="o", color=colour, **look)


def draw_overview(groups: Sequence[RunGroup]) -> str:
    """Final AUROC of each group of one scenario, with its bounds as marks.

    Args:
        groups: Of one scenario and backbone.
    """
    canvas, axes = _canvas(7.2, 1.1 + _ROW_INCHES * len(groups))
    marks = (
        ("zero_shot_auroc", "zero-shot", "|"),
        ("macro_auroc_joint", "joint", "D"),
        ("macro_auroc_logistic_regression", "logistic regression", "x"),
    )
    for row, group in enumerate(groups):
        _whisker(axes, group.summary("final_auroc"), row, _COLOURS[0])
        for metric, label, marker in marks:
            value = group.summary(metric).value
            if not np.isnan(value):
                axes.plot(
                    [value], [row], marker=marker, color=_GREY, linestyle="none",
                    fillstyle="none", label=label if row == 0 else None,
                )  # fmt: skip
    axes.set_yticks(range(len(groups)), [group.name for group in groups])
    axes.invert_yaxis()
    axes.set_ylim(len(groups) - 0.5, -0.5)
    axes.set_xlabel("mean test AUROC after the last task, 95 % interval")
    if axes.get_legend_handles_labels()[1]:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return _svg(canvas)


def draw_course(group: RunGroup) -> str:
    """Mean AUROC before the first task and after each, a thin line per run.

    Runs on other splits may have other tasks, because a finding without positives is
    left out. They then have no common course, and each is drawn as its own.
    """
    canvas, axes = _canvas(7.2, 2.9)
    every = [_course(run) for run in group.runs]
    together = len({len(line) for line in every}) == 1
    for place, line in enumerate(every):
        if len(every) > 1:
            axes.plot(
                range(len(line)), line, color=_COLOURS[0], linewidth=0.7, alpha=0.5,
                label="each run" if place == 0 else None,
            )  # fmt: skip
    if together:
        mean = np.array(every).mean(axis=0)
        axes.plot(range(len(mean)), mean, color=_COLOURS[0], marker="o", label="mean")
    bounds = (
        ("macro_auroc_joint", "joint", _COLOURS[1], "--"),
        ("macro_auroc_joint_observed", "joint-observed", _COLOURS[2], ":"),
        ("macro_auroc_logistic_regression", "logistic regression", _GREY, "-."),
    )
    for metric, label, colour, style in bounds:
        value = group.summary(metric).value
        if not np.isnan(value):
            axes.axhline(value, color=colour, linestyle=style, label=label)
    names = {tuple(run.task_names()) for run in group.runs}
    n_tasks = max(len(line) for line in every) - 1
    alike = names.pop() if len(names) == 1 else range(1, n_tasks + 1)
    axes.set_xticks(
        range(n_tasks + 1), ["zero-shot", *map(str, alike)],
        rotation=30, ha="right", fontsize=8,
    )  # fmt: skip
    axes.set_ylabel("mean test AUROC")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return _svg(canvas)


def _course(run: ReportedRun) -> list[float]:
    matrix = run.matrix()
    matrix = matrix[:, ~np.isnan(matrix).any(axis=0)]
    return [float(row.mean()) if len(row) else float("nan") for row in matrix]


def draw_findings(run: ReportedRun) -> str:
    """`plot_findings` as SVG text."""
    return _svg(plot_findings(run))


def plot_findings(run: ReportedRun) -> "Canvas":
    """AUROC of each finding after the last task with DeLong's interval, and before.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    names = list(run.findings)
    canvas, axes = _canvas(7.2, 1.2 + 0.26 * len(names))
    axes.axvline(0.5, color="#bbbbbb", linewidth=1)
    for row, name in enumerate(names):
        final = run.figure("auroc", name)
        first = row == 0
        _whisker(
            axes,
            final,
            row,
            _COLOURS[0],
            label="after the last task" if first else None,
        )
        others = (("auroc", 0, "zero-shot", "|"), ("auroc_joint", None, "joint", "D"))
        for metric, task, words, marker in others:
            value = run.figure(metric, name, task).value
            if not np.isnan(value):
                axes.plot(
                    [value], [row], marker=marker, color=_GREY, linestyle="none",
                    fillstyle="none", label=words if first else None,
                )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("test AUROC, 95 % interval (DeLong)")
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), frameon=False)
    return canvas
