"""A figure of mean AUROC by the number of training patients, with intervals."""

from collections.abc import Sequence
from pathlib import Path

from .ablation_figure import check_figure, save_figure

__all__ = ["draw_curve"]

#: A palette that colour-blind readers can tell apart (Okabe, Ito), and marks.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKS = "osD^vP"

#: Method, patients, AUROC, lower and upper end.
Point = tuple[str, int, float, float, float]


def draw_curve(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw a line with 95 % intervals for each method; zero-shot is level.

    The same points give the same file.

    Args:
        points: With 0 patients for zero-shot.
        path: Ends in ``.pdf``, ``.png`` or ``.svg``.
        title: Above the figure.

    Raises:
        ConfigurationError: matplotlib is missing, or the file cannot be written.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xscale("log", base=2)
    counts = sorted({point[1] for point in points if point[1]})
    methods = list(dict.fromkeys(point[0] for point in points))
    for index, method in enumerate(methods):
        colour = _COLOURS[index % len(_COLOURS)]
        chosen = [point for point in points if point[0] == method]
        if chosen[0][1] == 0:
            axes.axhline(chosen[0][2], color="0.4", linestyle="--", label=method)
            axes.axhspan(chosen[0][3], chosen[0][4], color="0.4", alpha=0.1)
            continue
        axes.errorbar(
            [point[1] * 1.02 ** (index - len(methods) / 2) for point in chosen],
            [point[2] for point in chosen],
            yerr=[
                [max(0.0, point[2] - point[3]) for point in chosen],
                [max(0.0, point[4] - point[2]) for point in chosen],
            ],
            marker=_MARKS[index % len(_MARKS)],
            color=colour,
            label=method,
            capsize=3,
        )
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set_xlabel("training patients")
    axes.set_ylabel("mean test AUROC, 95 % interval over patients")
    axes.set_title(title, fontsize=10)
    figure.legend(frameon=False, loc="outside lower center", ncols=3)
    save_figure(figure, path)
