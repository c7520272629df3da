"""Forest plots: a row per thing with its interval, in the cells of a table."""

import html
from collections.abc import Sequence

import numpy as np

from ..records import Figure
from .axis import Axis, Level, number, svg_text

__all__ = ["forest_head", "forest_row"]

_LINE = 14
_PLOT = 'viewBox="0 0 100 20" preserveAspectRatio="none"'


def forest_row(axis: Axis, figure: Figure, levels: Sequence[Level] = ()) -> str:
    """A dot with its 95 % interval; a bar for each value that it is compared with.

    Args:
        axis: Axis of the whole column.
        figure: NaN: no dot.
        levels: Those that are NaN are left out.
    """
    parts = [f'<path class="grid" d="{_grid(axis)}"/>']
    for level in levels:
        if not np.isnan(level.value):
            at = number(axis.at(level.value))
            parts.append(f'<path class="level {level.style}" d="M{at} 2V18"/>')
    words = [f"{level.label} {level.value:.3f}" for level in levels]
    if not np.isnan(figure.value):
        if not np.isnan(figure.low):
            low, high = number(axis.at(figure.low)), number(axis.at(figure.high))
            parts.append(f'<path class="ends" d="M{low} 10H{high}"/>')
        at = number(axis.at(figure.value))
        parts.append(f'<path class="dot" d="M{at} 10h0"/>')
        words.insert(0, f"{figure.value:.3f}")
    label = html.escape(", ".join(words) or "no figure")
    return f'<svg class="forest" {_PLOT} role="img" aria-label="{label}">' + (
        "".join(parts) + "</svg>"
    )


def _grid(axis: Axis) -> str:
    return "".join(f"M{number(axis.at(tick))} 0V20" for tick in axis.ticks())


def forest_head(axis: Axis, levels: Sequence[Level] = ()) -> str:
    """The axis above the rows; levels that all rows share are labelled here.

    Args:
        axis: Axis of the whole column.
        levels: Drawn as labelled lines.
    """
    shown = [level for level in levels if not np.isnan(level.value)]
    height = _LINE * (len(shown) + 1)
    parts = []
    ticks = axis.ticks()
    for tick in ticks:
        anchor = "start" if tick == ticks[0] else "end" if tick == ticks[-1] else ""
        share = f"{number(axis.at(tick))}%"
        parts.append(svg_text(share, _LINE - 3, f"{tick:.1f}", anchor or "middle"))
    for line_index, level in enumerate(sorted(shown, key=lambda one: one.value)):
        at, y = axis.at(level.value), _LINE * (line_index + 2) - 4
        parts.append(
            f'<line class="level {level.style}" x1="{number(at)}%" x2="{number(at)}%" '
            f'y1="{y - 9}" y2="{height}"/>'
        )
        more = f' class="{level.style}" dx="{-5 if at > 50 else 5}"'
        anchor = "end" if at > 50 else "start"
        parts.append(svg_text(f"{number(at)}%", y, level.label, anchor, more))
    return f'<svg class="head" height="{height}" aria-hidden="true">' + (
        "".join(parts) + "</svg>"
    )
