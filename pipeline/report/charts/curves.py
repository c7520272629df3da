"""AUROC after each task as a line, with what it is compared with as labelled lines."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .axis import Axis, Level, number, svg_text, text_width

__all__ = ["CurveLine", "EfficiencyLine", "curve_plot", "efficiency_plot"]

Floats = npt.NDArray[np.float64]
_FONT, _LINE = 11, 13
_LEFT = 26
#: Room above and below the axis, of which a plot has 100.
_ROOM = 6
#: The right edge of a plot, and the least room of a number below it, in parts of it.
_ALL, _APART = 99.9, 18


@dataclass(frozen=True)
class CurveLine:
    """A line of a plot.

    Attributes:
        label: Beside its end; empty for none.
        style: Its class in the style sheet: ``run`` or ``each``.
        values: Before the first task and after each, shape (T+1,); NaN interrupts.
        learned_at: The task from which on it is drawn boldly; 0: from the beginning.
    """

    label: str
    style: str
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
        axis: Axis of the values.
        lines: Over the same tasks, or over fewer.
        levels: Drawn across the plot.
        n_tasks: T.
        height: Height of the plot, in pixels.
        with_values: Say them in the labels.
    """
    plot = [f'<path class="grid" d="{_grid(axis)}"/>']
    labels: list[tuple[float, str, str]] = []  # place, text, class
    for level in levels:
        if np.isnan(level.value):
            continue
        at = 100 - axis.at(level.value)
        plot.append(f'<path class="level {level.style}" d="M0 {number(at)}H100"/>')
        labels.append((at, level.label + _said(level.value, with_values), level.style))
    for line in lines:
        plot += _drawn(axis, line, n_tasks)
        known = line.values[~np.isnan(line.values)]
        if line.label and len(known):
            at = 100 - axis.at(float(known[-1]))
            said = _said(float(known[-1]), with_values and line.style == "run")
            labels.append((at, line.label + said, line.style))
    below = _below(n_tasks, 8 if with_values else 4)
    return _framed(axis, plot, labels, below, height)


def _framed(
    axis: Axis,
    plot: Sequence[str],
    labels: Sequence[tuple[float, str, str]],
    below: str,
    height: int,
) -> str:
    """A plot with ticks to the left and below, and labels to the right."""
    width = 8 + max([text_width(text, _FONT) for _, text, _ in labels], default=0)
    height = max(height, _LINE * len(labels) + 4)
    return (
        f'<div class="curve" style="grid-template-columns:{_LEFT}px 1fr {width:.0f}px">'
        + _left(axis, height)
        + f'<svg class="plot" height="{height}" '
        f'viewBox="0 -{_ROOM} 100 {100 + 2 * _ROOM}" '
        f'preserveAspectRatio="none">{"".join(plot)}</svg>'
        + f'<svg width="{width:.0f}" height="{height}">{_right(labels, height)}</svg>'
        + f'<svg class="below" height="{_LINE + 2}">{below}</svg></div>'
    )


@dataclass(frozen=True)
class EfficiencyLine:
    """A method's AUROC by the number of training patients.

    Attributes:
        label: Its name.
        style: Its class in the style sheet.
        points: Patients, AUROC, lower and upper end; a line across for 0 patients.
    """

    label: str
    style: str
    points: tuple[tuple[int, float, float, float], ...]


def efficiency_plot(
    axis: Axis, lines: Sequence[EfficiencyLine], height: int = 200
) -> str:
    """AUROC over the logarithm of the number of patients; labels to the right.

    Args:
        axis: Axis of AUROC.
        lines: At least one.
        height: Height of the plot, in pixels.
    """
    counts = sorted({n for line in lines for n, *_ in line.points if n})
    spread = np.log(max(counts, default=1)) - np.log(min(counts, default=1))

    def across(n: int) -> float:
        return 100 * float(np.log(n) - np.log(counts[0])) / spread if spread else 0.0

    plot = [f'<path class="grid" d="{_grid(axis)}"/>']
    labels: list[tuple[float, str, str]] = []
    for line in lines:
        known = [point for point in line.points if not np.isnan(point[1])]
        if not known:
            continue
        spots = [
            f"{number(across(n))} {number(100 - axis.at(value))}"
            for n, value, *_ in known
            if n
        ]
        ends = "".join(
            f"M{number(across(n))} {number(100 - axis.at(low))}"
            f"V{number(100 - axis.at(high))}"
            for n, _, low, high in known
            if n and not np.isnan(low)
        )
        last = 100 - axis.at(known[-1][1])
        path = _path(spots) if spots else f"M0 {number(last)}H100"
        dots = "".join(f"M{spot}h0" for spot in spots)
        plot.append(f'<path class="level {line.style}" d="{path}"/>')
        plot.append(f'<path class="{line.style} thin whole" d="{ends}"/>')
        plot.append(f'<path class="{line.style} spots" d="{dots}"/>')
        labels.append((last, line.label + _said(known[-1][1], True), line.style))
    texts = _spread_texts([(across(n), f"{n:,}") for n in counts])
    return _framed(axis, plot, labels, texts, height)


def _spread_texts(wanted: Sequence[tuple[float, str]]) -> str:
    """Numbers below a plot; those that would lie on the next one are left out."""
    shown: list[tuple[float, str]] = []
    for at, text in reversed(wanted):
        if not shown or shown[-1][0] - at >= _APART:
            shown.append((at, text))
    texts = []
    for at, text in shown:
        anchor = "start" if at <= 0 else "end" if at >= _ALL else "middle"
        texts.append(svg_text(f"{number(at)}%", _LINE - 2, text, anchor))
    return "".join(texts)


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
    parts = [f'<path class="{line.style} thin" d="{_path(spots)}"/>']
    if line.style == "run":
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
        svg_text("6", y, text, more=f' class="{style}"')
        for y, (_, text, style) in zip(_apart(wanted, height), order, strict=True)
    )


def _apart(wanted: Sequence[float], height: float) -> list[float]:
    """Places at least a line apart and within the height, near the wanted ones.

    >>> _apart([50.0, 52.0], 100), _apart([95.0, 99.0], 100)
    ([50.0, 63.0], [83.0, 96.0])
    """
    places: list[float] = []
    for y in wanted:
        places.append(
            max([10.0, y, *[height_before + _LINE for height_before in places[-1:]]])
        )
    limit = float(height) - 4
    for index in reversed(range(len(places))):
        places[index] = min(places[index], limit)
        limit = places[index] - _LINE
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
