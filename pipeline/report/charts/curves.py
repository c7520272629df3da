"""AUROC after each task as a line, with what it is held against as labelled lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .axis import Axis, Level, number, svg_text, text_width

__all__ = ["CurveLine", "curve_plot"]

Floats = npt.NDArray[np.float64]
_FONT, _LINE = 11, 13
_LEFT = 26
#: Room above and below the axis, of which a plot has 100.
_ROOM = 6


@dataclass(frozen=True)
class CurveLine:
    """A line of a plot.

    Attributes:
        label: Beside its end; empty for none.
        kind: Its class in the style sheet: ``run`` or ``each``.
        values: Before the first task and after each, shape (T+1,); NaN interrupts.
        learned_at: The task from which on it is drawn boldly; 0: from the beginning.
    """

    label: str
    kind: str
    values: Floats
    learned_at: int = 0


def curve_plot(
    axis: Axis,
    lines: Sequence[CurveLine],
    levels: Sequence[Level],
    *,
    n_tasks: int,
    height: int = 110,
    with_values: bool = False,
) -> str:
    """Lines over tasks; ticks to the left and below, labels to the right.

    The plot stretches to the width that it is given, its texts do not.

    Args:
        axis: Of the values.
        lines: Over the same tasks, or over fewer.
        levels: Drawn across the plot.
        n_tasks: T.
        height: Of the plot, in pixels.
        with_values: Say them in the labels.
    """
    plot = [f'<path class="grid" d="{_grid(axis)}"/>']
    labels: list[tuple[float, str, str]] = []  # place, text, class
    for level in levels:
        if np.isnan(level.value):
            continue
        at = 100 - axis.at(level.value)
        plot.append(f'<path class="level {level.kind}" d="M0 {number(at)}H100"/>')
        labels.append((at, level.label + _said(level.value, with_values), level.kind))
    for line in lines:
        plot += _drawn(axis, line, n_tasks)
        known = line.values[~np.isnan(line.values)]
        if line.label and len(known):
            at = 100 - axis.at(float(known[-1]))
            said = _said(float(known[-1]), with_values and line.kind == "run")
            labels.append((at, line.label + said, line.kind))
    width = 8 + max([text_width(text, _FONT) for _, text, _ in labels], default=0)
    height = max(height, _LINE * len(labels) + 4)
    return (
        f'<div class="curve" style="grid-template-columns:{_LEFT}px 1fr {width:.0f}px">'
        + _left(axis, height)
        + f'<svg class="plot" height="{height}" '
        f'viewBox="0 -{_ROOM} 100 {100 + 2 * _ROOM}" '
        f'preserveAspectRatio="none">{"".join(plot)}</svg>'
        + f'<svg width="{width:.0f}" height="{height}">{_right(labels, height)}</svg>'
        + f'<svg class="below" height="{_LINE + 2}">'
        f"{_below(n_tasks, 8 if with_values else 4)}</svg></div>"
    )


def _said(value: float, wanted: bool) -> str:
    return f" {value:.3f}" if wanted else ""


def _grid(axis: Axis) -> str:
    return "".join(f"M0 {number(100 - axis.at(tick))}H100" for tick in axis.ticks())


def _drawn(axis: Axis, line: CurveLine, n_tasks: int) -> list[str]:
    """A thin line, a bold one from where it was learned, and dots there."""
    spots = [
        None
        if np.isnan(value)
        else f"{number(100 * t / max(1, n_tasks))} {number(100 - axis.at(value))}"
        for t, value in enumerate(line.values.tolist())
    ]
    parts = [f'<path class="{line.kind} thin" d="{_path(spots)}"/>']
    if line.kind == "run":
        bold = spots[line.learned_at :]
        dots = "".join(f"M{spot}h0" for spot in bold if spot)
        parts.append(f'<path class="run" d="{_path(bold)}"/>')
        parts.append(f'<path class="dot" d="{dots}"/>')
    return parts


def _path(spots: Sequence[str | None]) -> str:
    """Places as the `d` of a path, with gaps.

    >>> _path(["0 1", "2 3", None, "4 5"])
    'M0 1L2 3M4 5'
    """
    before: Sequence[str | None] = [None, *spots]
    return "".join(
        f"{'L' if last else 'M'}{spot}"
        for last, spot in zip(before, spots, strict=False)
        if spot
    )


def _left(axis: Axis, height: int) -> str:
    ticks = axis.ticks()
    ticks = ticks if height * 1.0 / len(ticks) >= _LINE else ticks[::2]
    texts = [
        svg_text(
            str(_LEFT - 5),
            _pixels(100 - axis.at(tick), height),
            f"{tick:.1f}",
            "end",
        )
        for tick in ticks
    ]
    return f'<svg width="{_LEFT}" height="{height}">{"".join(texts)}</svg>'


def _pixels(at: float, height: int) -> float:
    """The base line of a text beside a place of the plot."""
    return (at + _ROOM) * height / (100 + 2 * _ROOM) + 4


def _right(labels: Sequence[tuple[float, str, str]], height: int) -> str:
    """Labels beside their lines, moved apart where they would overlap."""
    order = sorted(labels)
    wanted = [_pixels(at, height) for at, _, _ in order]
    return "".join(
        svg_text("6", y, text, more=f' class="{kind}"')
        for y, (_, text, kind) in zip(_apart(wanted, height), order, strict=True)
    )


def _apart(wanted: Sequence[float], height: float) -> list[float]:
    """Places at least a line apart and within the height, near the wanted ones.

    >>> _apart([50.0, 52.0], 100), _apart([95.0, 99.0], 100)
    ([50.0, 63.0], [83.0, 96.0])
    """
    places: list[float] = []
    for y in wanted:
        places.append(max([10.0, y, *[place + _LINE for place in places[-1:]]]))
    limit = float(height) - 4
    for place in reversed(range(len(places))):
        places[place] = min(places[place], limit)
        limit = places[place] - _LINE
    return places


def _below(n_tasks: int, most: int) -> str:
    """The numbers of some tasks; 0 is before the first."""
    step = max(1, -(-n_tasks // most))
    shown = [t for t in range(0, n_tasks + 1, step) if t <= n_tasks - step or t == 0]
    texts = []
    for t in [*shown, *([n_tasks] if n_tasks else [])]:
        anchor = "start" if t == 0 else "end" if t == n_tasks else "middle"
        at = f"{number(100 * t / max(1, n_tasks))}%"
        texts.append(svg_text(at, _LINE - 2, str(t), anchor))
    return "".join(texts)
