"""One axis for all figures of a section, and the look of what is drawn on it."""

import html
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

__all__ = ["Axis", "Level", "auroc_axis", "number", "svg_text", "text_width"]

#: Room of a letter in parts of the size of its font; wide letters take a whole one.
_LETTER, _WIDE = 0.6, 1.05
#: Ticks beyond this would lie on each other in a narrow plot.
_MOST_STEPS = 5


@dataclass(frozen=True)
class Level:
    """A value that a run is compared with.

    Attributes:
        style: Its class in the style sheet: ``zero``, ``joint``, ``observed``,
            ``exact`` or ``logistic``.
        label: What it is called.
        value: NaN if there is none.
    """

    style: str
    label: str
    value: float


@dataclass(frozen=True)
class Axis:
    """A range of values that is drawn from 0 to 100.

    >>> axis = Axis(0.4, 1.0)
    >>> axis.at(0.7), axis.at(0.2), axis.at(1.2)
    (50.0, 0.0, 100.0)
    >>> axis.ticks(), Axis(0.5, 0.8).ticks()
    ([0.4, 0.6, 0.8, 1.0], [0.5, 0.6, 0.7, 0.8])
    """

    low: float
    high: float

    def at(self, value: float) -> float:
        """Where a value lies, from 0 to 100; what is outside lies on the edge."""
        share = (value - self.low) / (self.high - self.low)
        return float(np.clip(round(100 * share, 1), 0, 100))

    def ticks(self) -> list[float]:
        """Every tenth, or every other if there are many."""
        first, last = round(self.low * 10), round(self.high * 10)
        step = 1 if last - first <= _MOST_STEPS else 2
        return [
            tenth / 10 for tenth in range(first + (last - first) % step, last + 1, step)
        ]


def auroc_axis(values: Iterable[float]) -> Axis:
    """The axis that holds AUROCs, chance and the best possible.

    >>> auroc_axis([0.62, 0.9]), auroc_axis([0.34, float("nan")])
    (Axis(low=0.5, high=1.0), Axis(low=0.3, high=1.0))
    """
    known = [value for value in values if not np.isnan(value)]
    lowest = float(np.floor(min([0.5, *known]) * 10 + 1e-9) / 10)
    return Axis(max(0.0, lowest), 1.0)


def number(value: float) -> str:
    """A coordinate in as few letters as it needs.

    >>> number(50.0), number(33.333), number(-0.0)
    ('50', '33.3', '0')
    """
    return f"{value:.1f}".rstrip("0").rstrip(".").replace("-0", "0") or "0"


def text_width(text: str, size: float) -> float:
    """How wide a text is at most, in pixels, in a font without serifs.

    >>> text_width("joint", 10)
    30.0
    """
    letters = sum(_WIDE if ord(letter) > 0x2E7F else _LETTER for letter in text)
    return round(letters * size, 1)


def svg_text(x: str, y: float, text: str, anchor: str = "start", more: str = "") -> str:
    """A `<text>` element; x may be a share such as ``30%``."""
    at = "" if anchor == "start" else f' text-anchor="{anchor}"'
    return (
        f'<text x="{x}" y="{number(y)}"{at}{more}>{html.escape(text, quote=False)}'
        "</text>"
    )
