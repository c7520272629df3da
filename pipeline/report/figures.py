"""A run's findings as a matplotlib figure, for a notebook."""

import textwrap
from typing import TYPE_CHECKING, Any

import numpy as np

from retune.store.errors import ConfigurationError

from .records import Figure, ReportedRun
from .text_table import escaped

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

__all__ = ["plot_findings"]

#: Colours that differ for colour-blind readers too (Okabe & Ito 2008).
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#333333"
#: Letters in a line of a name.
_NAME = 30


def plot_findings(run: ReportedRun) -> "Canvas":
    """AUROC of each finding after the last task with its 95 % interval, and before.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    names = [_wrapped(name) for name in run.findings]
    lines = sum(name.count("\n") + 1 for name in names)
    canvas, axes = _canvas(7.2, 1.5 + 0.26 * lines)
    axes.axvline(0.5, color="#bbbbbb", linewidth=1)
    for row, name in enumerate(run.findings):
        label = "after the last task" if row == 0 else None
        _whisker(axes, run.figure("auroc", name), row, label=label)
        others = (
            ("auroc", 0, "zero-shot", "|", _GREY),
            ("auroc_joint", None, "joint", "D", _ORANGE),
        )
        for metric, task, words, marker, colour in others:
            value = run.figure(metric, name, task).value
            if not np.isnan(value):
                axes.plot(
                    [value], [row], marker=marker, color=colour, linestyle="none",
                    fillstyle="none", markersize=9, markeredgewidth=2,
                    label=words if row == 0 else None,
                )  # fmt: skip
    axes.set_yticks(range(len(names)), names, fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel("test AUROC, 95 % interval")
    canvas.legend(loc="outside lower center", ncols=3, frameon=False)
    return canvas


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


def _wrapped(name: str) -> str:
    """A name in lines that leave room for the plot; matplotlib reads $ as formulas."""
    return "\n".join(textwrap.wrap(escaped(name), _NAME)).replace("$", r"\$")


def _whisker(axes: "Axes", figure: Figure, y: float, **look: Any) -> None:
    if np.isnan(figure.value):
        return
    if not np.isnan(figure.low):
        axes.plot([figure.low, figure.high], [y, y], color=_BLUE, linewidth=1.6)
    axes.plot([figure.value], [y], marker="o", color=_BLUE, linestyle="none", **look)
