"""A figure of how well each group is told from the reference."""

from collections.abc import Sequence
from pathlib import Path

from .ablation_figure import check_figure, save_figure

__all__ = ["draw_drift"]

#: Group, AUROC, lower and upper end, whether it is called changed.
Point = tuple[str, float, float, float, bool]
_QUIET, _ALARM = "#0072B2", "#D55E00"


def draw_drift(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw AUROC with its interval for each group in order; changed ones in orange.

    The same points give the same file.

    Args:
        points: In the order of the groups, from the left.
        path: Ends in ``.pdf``, ``.png`` or ``.svg``.
        title: Above the figure.

    Raises:
        ConfigurationError: matplotlib is missing, or the file cannot be written.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    width = min(16.0, 3.0 + 0.35 * len(points))
    figure = Figure(figsize=(width, 3.6), layout="constrained")
    axes = figure.add_subplot()
    for changed, colour, label in (
        (False, _QUIET, "no change shown"),
        (True, _ALARM, "changed"),
    ):
        chosen = [k for k, point in enumerate(points) if point[4] == changed]
        value = [points[k][1] for k in chosen]
        axes.errorbar(
            chosen,
            value,
            yerr=[
                [max(0.0, points[k][1] - points[k][2]) for k in chosen],
                [max(0.0, points[k][3] - points[k][1]) for k in chosen],
            ],
            fmt="o",
            color=colour,
            label=label,
            capsize=3,
        )
    axes.axhline(0.5, color="0.7", linewidth=1, zorder=0)
    names = [point[0] for point in points]
    axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=8)
    axes.set_ylabel("AUROC of telling it apart")
    axes.set_title(title, fontsize=10)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    save_figure(figure, path)
