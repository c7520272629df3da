"""Curves as coordinates of SVG, and values as classes of the style sheet."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from retune.pipeline.app.gallery.runs_page import Curve

__all__ = ["Line", "heat_class", "lines_of_curves"]

WIDTH, HEIGHT, LEFT, TOP = 260, 130, 34, 8
_STEPS = 20


@dataclass(frozen=True)
class Line:
    """A curve as a polyline: its points, and where its last value stands."""

    title: str
    index: int
    points: str
    dots: tuple[tuple[float, float, str], ...]


def lines_of_curves(
    curves: "Mapping[str, Sequence[Curve]]",
) -> dict[str, tuple[Line, ...]]:
    """Lines of each finding on axes from 0 to 1, tasks from left to right."""
    return {
        name: tuple(_line(curve) for curve in of_runs)
        for name, of_runs in curves.items()
    }


def _line(curve: "Curve") -> Line:
    last = max(1, len(curve.values) - 1)
    dots = tuple(
        (
            round(LEFT + task / last * WIDTH, 1),
            round(TOP + (1 - value) * HEIGHT, 1),
            f"{curve.title}: {value:.3f} after task {task}",
        )
        for task, value in enumerate(curve.values)
        if value is not None
    )
    points = " ".join(f"{x},{y}" for x, y, _ in dots)
    return Line(curve.title, curve.index, points, dots)


def heat_class(value: float | None) -> str:
    """Class of an AUROC: h0 for 0.5 and less to h20 for 1.

    >>> heat_class(0.75), heat_class(0.2), heat_class(None)
    ('h10', 'h0', 'none')
    """
    if value is None:
        return "none"
    return f"h{round(max(0.0, min(1.0, (value - 0.5) * 2)) * _STEPS)}"
