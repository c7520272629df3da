"""Figures of binary predictions, per finding, over observed cells only.

All functions take `scores` (or probabilities), `targets` (0 or 1) and `observed` (bool)
of shape (N, K) and give shape (K,), float64, NaN where a figure is undefined, which is
never counted as 0 or 0.5.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from .ranking import Ranking, rank, rank_findings

__all__ = [
    "N_BINS",
    "auroc",
    "average_precision",
    "bins_of",
    "brier_score",
    "calibration_error",
    "f1_score",
    "of_rankings",
    "precision_and_sensitivity",
    "sensitivity_at_specificity",
    "tune_thresholds",
]

Array = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Of equal width, for the calibration error.
N_BINS = 15


def _per_finding(
    figure: Callable[[Floats, Mask, int], float],
    scores: Array,
    targets: Array,
    observed: Mask,
) -> Floats:
    """Apply a figure to the observed scores and labels of each finding.

    NaN for a finding that has no scores, as before its first labels where there are no
    descriptions of it.
    """
    values = np.full(targets.shape[1], np.nan)
    for k in range(targets.shape[1]):
        score = scores[observed[:, k], k].astype(np.float64)
        if not np.isnan(score).any():
            values[k] = figure(score, targets[observed[:, k], k] > 0, k)
    return values


def auroc(scores: Array, targets: Array, observed: Mask) -> Floats:
    """Area under the ROC curve: how often a positive outscores a negative.

    The share of pairs in order (Mann–Whitney); ties count one half. NaN if only one
    class was observed.

    >>> scores, targets = np.array([[0.1], [0.9], [0.9]]), np.array([[0], [0], [1]])
    >>> auroc(scores, targets, np.ones((3, 1), dtype=bool)).tolist()
    [0.75]
    """
    return np.array(
        [
            float("nan") if ranking is None else ranking.auroc()
            for ranking in rank_findings(scores, targets, observed)
        ]
    )


def average_precision(scores: Array, targets: Array, observed: Mask) -> Floats:
    """Precision averaged over the recall steps, without interpolation.

    The definition of scikit-learn's `average_precision_score`. NaN without a positive.
    """
    return precision_and_sensitivity(scores, targets, observed)[0]


def sensitivity_at_specificity(
    scores: Array, targets: Array, observed: Mask, *, specificity: float = 0.9
) -> Floats:
    """The best sensitivity of any threshold whose specificity is at least this.

    NaN if only one class was observed.
    """
    return precision_and_sensitivity(scores, targets, observed, specificity)[1]


def precision_and_sensitivity(
    scores: Array, targets: Array, observed: Mask, specificity: float = 0.9
) -> tuple[Floats, Floats]:
    """`average_precision` and `sensitivity_at_specificity` from one sort."""
    return of_rankings(rank_findings(scores, targets, observed), specificity)


def of_rankings(
    rankings: Sequence[Ranking | None], specificity: float = 0.9
) -> tuple[Floats, Floats]:
    """Average precision and sensitivity of findings that are sorted already.

    Args:
        rankings: Rankings of K findings; None gives NaN.
        specificity: At least this.
    """
    values = np.full((2, len(rankings)), np.nan)
    for k, ranking in enumerate(rankings):
        if ranking is None or not ranking.n_positive:
            continue
        _, true, false = ranking.from_the_top()
        steps = np.diff(true / ranking.n_positive, prepend=0.0)
        values[0, k] = (true / (true + false) * steps).sum()
        if ranking.n_negative:
            allowed = 1 - false / ranking.n_negative >= specificity
            values[1, k] = true[allowed].max(initial=0) / ranking.n_positive
    return values[0], values[1]


def f1_score(
    probability: Array, targets: Array, observed: Mask, thresholds: Floats
) -> Floats:
    """F1 of calling a finding positive from its threshold on; NaN without a positive.

    Args:
        probability: Shape (N, K).
        targets: Shape (N, K).
        observed: Shape (N, K).
        thresholds: Shape (K,).
    """

    def figure(score: Floats, positive: Mask, k: int) -> float:
        if not positive.any():
            return float("nan")
        called = score >= thresholds[k]
        return float(2 * (called & positive).sum() / (called.sum() + positive.sum()))

    return _per_finding(figure, probability, targets, observed)


def tune_thresholds(probability: Array, targets: Array, observed: Mask) -> Floats:
    """The threshold with the best F1 for each finding; to be run on validation.

    Of equally good thresholds the highest is taken. 0.5 where validation has no
    positive, or there are no scores, and nothing can be tuned.
    """

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not positive.any():
            return 0.5
        threshold, true, false = rank(score, positive).from_the_top()
        f1 = 2 * true / (true + false + positive.sum())
        return float(threshold[int(np.argmax(f1))])

    thresholds = _per_finding(figure, probability, targets, observed)
    return np.where(np.isnan(thresholds), 0.5, thresholds)


def brier_score(probability: Array, targets: Array, observed: Mask) -> Floats:
    """Mean squared difference of probability and label; NaN if nothing was observed."""

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not len(score):
            return float("nan")
        return float(((score - positive) ** 2).mean())

    return _per_finding(figure, probability, targets, observed)


def bins_of(probability: Floats) -> npt.NDArray[np.int64]:
    """Number of the bin of each probability, from 0.

    >>> bins_of(np.array([0.0, 0.07, 1.0])).tolist()
    [0, 1, 14]
    """
    return np.minimum((probability * N_BINS).astype(np.int64), N_BINS - 1)


def calibration_error(probability: Array, targets: Array, observed: Mask) -> Floats:
    """Expected calibration error over 15 equal-width bins; NaN if nothing was observed.

    The mean over images of |mean probability − share of positives| of their bin.
    """

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not len(score):
            return float("nan")
        gaps = np.bincount(bins_of(score), weights=score - positive, minlength=N_BINS)
        return float(np.abs(gaps).sum() / len(score))

    return _per_finding(figure, probability, targets, observed)
