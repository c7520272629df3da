"""A figure of mean AUROC by condition, with intervals."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from retune.store.errors import ConfigurationError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure", "draw_ablation", "save_figure"]

_SUFFIXES = (".pdf", ".png", ".svg")
#: Blue and orange of a palette that colour-blind readers can tell apart (Okabe, Ito).
_COLOURS = {"zero-shot": "#0072B2", "joint": "#D55E00"}

#: Condition, scenario, AUROC, lower and upper end.
Point = tuple[str, str, float, float, float]


def check_figure(path: Path) -> None:
    """Refuse a figure that could not be drawn, before hours of work for it.

    Raises:
        ConfigurationError: The suffix is none of a figure, there is no such folder, or
            matplotlib is missing.
    """
    if path.suffix not in _SUFFIXES:
        raise ConfigurationError(
            f"{path}: a figure ends in {', '.join(_SUFFIXES)}",
            "Such as `figure` ablation.png",
        )
    if not path.parent.is_dir():
        raise ConfigurationError(
            f"{path}: cannot be written: there is no folder {path.parent}",
            "Name a file in a folder that exists.",
        )
    try:
        import matplotlib as mpl  # noqa: F401 - only whether it is there
    except ImportError as error:
        raise ConfigurationError(
            "a figure needs the package matplotlib", "pip install 'retune-cli[report]'"
        ) from error


def draw_ablation(points: Sequence[Point], path: Path, title: str) -> None:
    """Draw a dot with its 95 % interval for each condition and scenario.

    The same points give the same file.

    Args:
        points: In the order of the rows, from the top.
        path: Ends in ``.pdf``, ``.png`` or ``.svg``.
        title: Above the figure.

    Raises:
        ConfigurationError: matplotlib is missing, or the file cannot be written.
    """
    check_figure(path)
    from matplotlib.figure import Figure

    conditions = list(dict.fromkeys(point[0] for point in points))
    figure = Figure(figsize=(7, 1.0 + 0.55 * len(conditions)), layout="constrained")
    axes = figure.add_subplot()
    for shift, (scenario, colour) in zip((-0.13, 0.13), _COLOURS.items(), strict=True):
        chosen = [point for point in points if point[1] == scenario]
        value = [point[2] for point in chosen]
        axes.errorbar(
            value,
            [conditions.index(point[0]) + shift for point in chosen],
            xerr=[
                [max(0.0, point[2] - point[3]) for point in chosen],
                [max(0.0, point[4] - point[2]) for point in chosen],
            ],
            fmt="o",
            color=colour,
            label=scenario,
            capsize=3,
        )
    axes.axvline(0.5, color="0.7", linewidth=1, zorder=0)
    axes.set_yticks(range(len(conditions)), conditions)
    axes.invert_yaxis()
    axes.set_xlabel("mean test AUROC, 95 % interval over patients")
    axes.set_title(title, fontsize=10)
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    save_figure(figure, path)


def save_figure(figure: "Figure", path: Path) -> None:
    """Write a figure so that the same one gives the same file.

    Raises:
        ConfigurationError: The file cannot be written.
    """
    import matplotlib as mpl

    try:
        with mpl.rc_context({"svg.hashsalt": "retune"}):
            figure.savefig(path, dpi=150, metadata=_plain_metadata(path.suffix))
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be written: {error.strerror}",
            "Name a file in a folder that exists.",
        ) from error


def _plain_metadata(suffix: str) -> dict[str, None]:
    """No date and no version, or the same figure would be another file."""
    if suffix == ".png":
        return {"Software": None}
    return {"Date": None} if suffix == ".svg" else {"CreationDate": None}
