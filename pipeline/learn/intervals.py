"""Intervals for AUROC: DeLong per finding, bootstrap over patients for the mean."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .metrics import Array, Floats, Mask, midranks

__all__ = ["DeLong", "bootstrap_macro_auroc", "delong"]

#: Two-sided 95 % of the normal distribution.
_Z = 1.959963984540054
_CHUNK = 64


@dataclass(frozen=True)
class DeLong:
    """AUROC with its 95 % interval; all of shape (K,), NaN if one class was observed.

    Attributes:
        auroc: The estimate.
        variance: DeLong's.
        low: Lower end.
        high: Upper end.
    """

    auroc: Floats
    variance: Floats
    low: Floats
    high: Floats


def delong(scores: Array, targets: Array, observed: Mask) -> DeLong:
    """DeLong's variance of the AUROC (DeLong, DeLong & Clarke-Pearson 1988).

    Placement values come from mid-ranks in O(N log N) (Sun & Xu 2014). The interval is
    symmetric on the logit scale, which keeps it within [0, 1]. Two cases need more
    care, because there DeLong's variance is far too small:

    - One image of a class: its spread cannot be estimated. The largest variance that
      an AUROC can have, A(1 − A)/min(m, n), is used (van Dantzig 1951).
    - All positives above all negatives, or the reverse: the variance is 0. The error
      is bounded as for a proportion with no event among m, the size of the smaller
      class: 1 − 0.05^(1/m).

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
    """
    n_findings = targets.shape[1]
    rows = np.full((4, n_findings), np.nan)
    for k in range(n_findings):
        seen = observed[:, k]
        score = scores[seen, k].astype(np.float64)
        positive = targets[seen, k] > 0
        if positive.any() and not positive.all() and not np.isnan(score).any():
            rows[:, k] = _delong_one(score, positive)
    return DeLong(*rows)


def _delong_one(score: Floats, positive: Mask) -> tuple[float, float, float, float]:
    above, below = score[positive], score[~positive]
    m, n = len(above), len(below)
    ranks = midranks(np.concatenate([above, below]))
    # Share of negatives below each positive, and of positives above each negative.
    of_positives = (ranks[:m] - midranks(above)) / n
    of_negatives = 1 - (ranks[m:] - midranks(below)) / m
    area = float(of_positives.mean())
    if min(m, n) > 1:
        variance = (
            float(of_positives.var(ddof=1)) / m + float(of_negatives.var(ddof=1)) / n
        )
    else:
        variance = area * (1 - area) / min(m, n)
    if not 0 < area < 1:
        missed = 1 - 0.05 ** (1 / min(m, n))
        low, high = (1 - missed, 1.0) if area == 1 else (0.0, missed)
        return area, variance, low, high
    centre = np.log(area / (1 - area))
    half = _Z * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(centre + np.array([-half, half]))))
    return area, variance, float(low), float(high)


def bootstrap_macro_auroc(
    scores: Array,
    targets: Array,
    observed: Mask,
    patient_id: npt.NDArray[np.object_],
    *,
    findings: npt.NDArray[np.integer],
    n_bootstrap: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of the mean AUROC, resampling patients.

    Images of one patient are alike, so patients are drawn, not images. A draw in which
    a finding has one class leaves that finding out of its mean.

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
        patient_id: Shape (N,).
        findings: Which findings the mean is over.
        n_bootstrap: Number of draws.
        seed: Of the draws.

    Returns:
        Lower and upper end; NaN if no draw has a figure.
    """
    patients, number = np.unique(patient_id.astype(str), return_inverse=True)
    random = np.random.default_rng(seed)
    chance = np.full(len(patients), 1 / len(patients))
    drawn = random.multinomial(len(patients), chance, size=n_bootstrap)
    per_finding = [
        _weighted_auroc(
            scores[observed[:, k], k],
            targets[observed[:, k], k] > 0,
            number[observed[:, k]],
            drawn,
        )
        for k in findings
    ]
    table = np.array(per_finding)
    counted = ~np.isnan(table)
    usable = counted.any(axis=0)
    if not usable.any():
        return float("nan"), float("nan")
    means = np.nansum(table[:, usable], axis=0) / counted[:, usable].sum(axis=0)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)


def _weighted_auroc(
    score: Array,
    positive: Mask,
    patient: npt.NDArray[np.int64],
    drawn: npt.NDArray[np.int64],
) -> Floats:
    """AUROC of each draw, shape (n_bootstrap,), from one sort of the scores.

    A patient drawn twice counts twice: images are weighted by how often theirs was.
    """
    order = np.argsort(score, kind="stable")
    ordered, hits, patient = score[order], positive[order], patient[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    areas = []
    for first in range(0, len(drawn), _CHUNK):
        weights = drawn[first : first + _CHUNK][:, patient].astype(np.float64)
        up = np.add.reduceat(weights * hits, starts, axis=1)
        down = np.add.reduceat(weights * ~hits, starts, axis=1)
        below = np.cumsum(down, axis=1) - down / 2
        pairs = up.sum(axis=1) * down.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            areas.append(np.where(pairs > 0, (up * below).sum(axis=1) / pairs, np.nan))
    return np.concatenate(areas)
