"""Reliability diagrams: how often what was said to be likely was so."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .axis import number, svg_text

__all__ = ["ReliabilityBin", "reliability_bins", "reliability_diagram"]

#: A bin holds at least so many images, and there are at most so many bins.
_LEAST, _MOST_BINS = 10, 10
_SIDE, _LEFT, _BELOW = 112, 26, 16
_Z = 1.959964


@dataclass(frozen=True)
class ReliabilityBin:
    """Images of about the same probability.

    Attributes:
        predicted: Their mean probability.
        observed: The share of positives among them.
        low: Lower end of Wilson's 95 % interval of this share.
        high: Upper end.
        n_images: How many.
    """

    predicted: float
    observed: float
    low: float
    high: float
    n_images: int


def reliability_bins(
    probability: npt.NDArray[np.floating], positive: npt.NDArray[np.bool_]
) -> tuple[ReliabilityBin, ...]:
    """Bins of about as many images each, in the order of their probability.

    Args:
        probability: Shape (n,), from 0 to 1.
        positive: Shape (n,).

    Returns:
        At most 10 bins, of 10 images or more; none for fewer than 20 images, or where
        all are of one class.

    >>> probability = np.repeat([0.1, 0.9], 20)
    >>> bins = reliability_bins(probability, np.arange(40) >= 18)
    >>> [(round(one.predicted, 2), one.observed, one.n_images) for one in bins]
    [(0.1, 0.0, 10), (0.1, 0.2, 10), (0.9, 1.0, 10), (0.9, 1.0, 10)]
    """
    n_bins = min(_MOST_BINS, len(probability) // _LEAST)
    if n_bins < 2 or positive.all() or not positive.any():
        return ()
    order = np.argsort(probability, kind="stable")
    bins = []
    for rows in np.array_split(order, n_bins):
        share = float(positive[rows].mean())
        low, high = _wilson(share, len(rows))
        predicted = float(probability[rows].mean())
        bins.append(ReliabilityBin(predicted, share, low, high, len(rows)))
    return tuple(bins)


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share (Wilson 1927).

    >>> [round(end, 3) for end in _wilson(0.5, 10)]
    [0.237, 0.763]
    """
    middle = (share + _Z**2 / (2 * n)) / (1 + _Z**2 / n)
    half = _Z / (1 + _Z**2 / n) * np.sqrt(share * (1 - share) / n + _Z**2 / (4 * n * n))
    return float(max(0, middle - half)), float(min(1, middle + half))


def reliability_diagram(bins: Sequence[ReliabilityBin]) -> str:
    """Share of positives over mean probability, and the diagonal where both agree."""
    width, height = _LEFT + _SIDE + 8, _SIDE + _BELOW + 8

    def x(share: float) -> str:
        return number(_LEFT + _SIDE * share)

    def y(share: float) -> str:
        return number(6 + _SIDE * (1 - share))

    whiskers = "".join(
        f"M{x(one.predicted)} {y(one.low)}V{y(one.high)}" for one in bins
    )
    dots = "".join(f"M{x(one.predicted)} {y(one.observed)}h0" for one in bins)
    ticks = (0, 0.5, 1)
    grid = "".join(f"M{x(0)} {y(at)}H{x(1)}M{x(at)} {y(0)}V{y(1)}" for at in ticks)
    texts = [
        svg_text(str(_LEFT - 5), 6 + _SIDE * (1 - at) + 4, f"{at:g}", "end")
        for at in ticks
    ]
    texts += [
        svg_text(x(at), 6 + _SIDE + _BELOW - 3, f"{at:g}", "middle") for at in ticks
    ]
    said = "; ".join(
        f"said {one.predicted:.2f}, was {one.observed:.2f}" for one in bins
    )
    return (
        f'<svg class="reliability" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{said}">'
        f'<path class="grid" d="{grid}"/>'
        f'<path class="diagonal" d="M{x(0)} {y(0)}L{x(1)} {y(1)}"/>'
        f'<path class="ends" d="{whiskers}"/><path class="dot" d="{dots}"/>'
        + "".join(texts)
        + "</svg>"
    )
