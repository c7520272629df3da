"""Two runs on the same images: is the difference more than chance?"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from .bootstrap import bootstrap_auroc, draw_with_classes, mean_of_draws
from .intervals import Z95, influence
from .metrics import Array, Floats, Mask

__all__ = [
    "MacroDifference",
    "PairedDeLong",
    "WeighedDraws",
    "holm",
    "macro_difference",
    "paired_delong",
    "weigh_draws",
]

#: Differences this small are rounding: the two runs order all images alike.
_DUST = 1e-12
_MANY_EQUAL = 0.025


@dataclass(frozen=True)
class PairedDeLong:
    """First less second AUROC of each finding; all of shape (K,).

    Attributes:
        first: AUROC.
        second: AUROC.
        difference: first − second.
        low: Lower end of its 95 % interval, not below -1.
        high: Upper end, not above 1.
        p: Two-sided; NaN where it cannot be tested.
        p_holm: The same adjusted for the number of findings that were tested.
    """

    first: Floats
    second: Floats
    difference: Floats
    low: Floats
    high: Floats
    p: Floats
    p_holm: Floats


@dataclass(frozen=True)
class MacroDifference:
    """Difference of two mean AUROCs over the same findings.

    Attributes:
        first: Mean AUROC.
        second: Mean AUROC.
        low: Lower end of the 95 % interval of first − second.
        high: Upper end.
        p: Two-sided, from the same draws as the interval: below 0.05 exactly where
            the interval leaves 0 out.
        equal: Share of draws in which the two do not differ at all. They count on
            both sides of 0. Where it is large, the difference rests on the images of
            few patients, who are missing from such draws.
        n_findings: How many the mean is over.
        n_draws: Draws of patients.
    """

    first: float
    second: float
    low: float
    high: float
    p: float
    equal: float
    n_findings: int
    n_draws: int

    @property
    def difference(self) -> float:
        """First − second."""
        return self.first - self.second

    @property
    def rests_on_few(self) -> bool:
        """Whether so many draws show no difference that an end of the interval is 0."""
        return self.equal >= _MANY_EQUAL


def holm(p: Floats) -> Floats:
    """P-values adjusted so that one false find in all is as rare as stated (Holm 1979).

    Args:
        p: Shape (K,); NaN, which was not tested, stays NaN and does not count.

    >>> [round(one, 3) for one in holm(np.array([0.01, 0.04, 0.03])).tolist()]
    [0.03, 0.06, 0.06]
    """
    adjusted = np.full(len(p), np.nan)
    order = np.argsort(p)[: int((~np.isnan(p)).sum())]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    adjusted[order] = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    return adjusted


def paired_delong(
    first: Array, second: Array, targets: Array, observed: Mask
) -> PairedDeLong:
    """DeLong's test of two correlated AUROCs (DeLong, DeLong & Clarke-Pearson 1988).

    The variance of the difference is that of the differences of placement values. The
    test takes images as independent; a patient's images are not quite. It cannot be
    done with one image of a class, nor where every image differs by the same amount
    other than 0, such as 1 against 0: p and interval are NaN there.

    Args:
        first: Scores, shape (N, K).
        second: Scores of the same images and findings.
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
    """
    one, moved_one = influence(first, targets, observed)
    two, moved_two = influence(second, targets, observed)
    moved = moved_one - moved_two
    difference, p = one - two, np.full(len(one), np.nan)
    half = np.full(len(one), np.nan)
    for k in np.flatnonzero(~np.isnan(difference)):
        positive = observed[:, k] & (targets[:, k] > 0)
        classes = [moved[positive, k], moved[observed[:, k] & ~positive, k]]
        if min(map(len, classes)) < 2:
            continue
        spread = math.sqrt(
            sum((part**2).sum() * len(part) / (len(part) - 1) for part in classes)
        )
        same = abs(difference[k]) < _DUST
        if spread > _DUST:
            half[k] = Z95 * spread
            p[k] = math.erfc(abs(difference[k]) / spread / math.sqrt(2))
        elif same:
            half[k], p[k] = 0.0, 1.0
    low, high = (np.clip(difference + end, -1, 1) for end in (-half, half))
    return PairedDeLong(one, two, difference, low, high, p, holm(p))


class WeighedDraws(NamedTuple):
    """What draws of a difference say; see `weigh_draws`."""

    low: float
    high: float
    p: float
    equal: float


def weigh_draws(moved: Floats) -> WeighedDraws:
    """95 % interval of a difference and the p that belongs to it, from its draws.

    p is twice the smaller share of draws on either side of 0, draws at 0 on both sides,
    each share counting the data themselves as one draw more. The ends of the interval
    are the outermost draws with which p would still be below 0.05 if 0 lay beyond
    them, so that the two never disagree.

    Args:
        moved: A difference in each draw, shape (B,); NaN where a draw has none. With
            fewer than 40, p cannot be below 0.05.

    >>> weigh_draws(np.array([0.0] * 39 + [0.003] * 61))
    WeighedDraws(low=0.0, high=0.003, p=0.7920792079207921, equal=0.39)
    """
    known = np.sort(moved[~np.isnan(moved)])
    if not len(known):
        return WeighedDraws(*(float("nan"),) * 4)
    known[np.abs(known) < _DUST] = 0.0
    # p < 0.05 takes fewer than this many draws on one side of 0.
    most = 0.025 * (len(known) + 1) - 1
    beyond = max(0, math.ceil(most - _DUST) - 1)
    fewest = min(int((known <= 0).sum()), int((known >= 0).sum()))
    return WeighedDraws(
        float(known[beyond]),
        float(known[-1 - beyond]),
        min(1.0, 2 * (fewest + 1) / (len(known) + 1)),
        float((known == 0).mean()),
    )


def macro_difference(
    first: Array,
    second: Array,
    targets: Array,
    observed: Mask,
    patient_id: npt.NDArray[np.object_],
    *,
    findings: Mask | None = None,
    seed: int = 0,
) -> MacroDifference:
    """Difference of mean AUROC by a paired bootstrap over patients.

    The same patients are drawn for both, and every draw has both classes of every
    finding of the mean; interval and p are `weigh_draws`'.

    Args:
        first: Scores, shape (N, K).
        second: Scores of the same images and findings.
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
        patient_id: Shape (N,).
        findings: Which the mean is over, shape (K,); None for all that have an AUROC.
        seed: Seed of the draws.
    """
    areas = [influence(scores, targets, observed)[0] for scores in (first, second)]
    both = ~np.isnan(areas[0]) & ~np.isnan(areas[1])
    if findings is not None:
        both &= findings
    draws = draw_with_classes(
        patient_id, targets[:, both], observed[:, both], seed=seed
    )
    n_draws = draws.times.shape[1]
    if not both.any():
        return MacroDifference(*(float("nan"),) * 6, 0, n_draws)
    means = [
        mean_of_draws(
            bootstrap_auroc(scores[:, both], targets[:, both], observed[:, both], draws)
        )
        for scores in (first, second)
    ]
    return MacroDifference(
        float(areas[0][both].mean()),
        float(areas[1][both].mean()),
        *weigh_draws(means[0] - means[1]),
        int(both.sum()),
        n_draws,
    )
