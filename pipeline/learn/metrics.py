"""Figures of binary predictions, per finding, over observed cells only.

All functions take `scores` (or probabilities), `targets` (0 or 1) and `observed` (bool)
of shape (N, K) and give shape (K,), float64, NaN where a figure is undefined, which is
never counted as 0 or 0.5.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

__all__ = [
    "auroc",
    "average_precision",
    "brier_score",
    "calibration_error",
    "f1_score",
    "midranks",
    "precision_and_sensitivity",
    "sensitivity_at_specificity",
    "tune_thresholds",
]

Array = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
_N_BINS = 15


def _per_finding(
    figure: Callable[[Floats, Mask, int], float],
    scores: Array,
    targets: Array,
    observed: Mask,
) -> Floats:
    """Apply a figure to the observed scores and labels of each finding."""
    values = [
        figure(
            scores[observed[:, k], k].astype(np.float64),
            targets[observed[:, k], k] > 0,
            k,
        )
        for k in range(targets.shape[1])
    ]
    return np.array(values, dtype=np.float64)


def midranks(values: Floats) -> Floats:
    """Ranks from 1, equal values sharing the mean of theirs.

    >>> midranks(np.array([10.0, 20.0, 20.0, 5.0])).tolist()
    [2.0, 3.5, 3.5, 1.0]
    """
    order = np.argsort(values)  # equal values share a rank, in whichever order
    ordered = values[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    ends = np.r_[starts[1:], len(values)]
    ranks = np.empty(len(values))
    ranks[order] = np.repeat((starts + ends + 1) / 2, ends - starts)
    return ranks


def auroc(scores: Array, targets: Array, observed: Mask) -> Floats:
    """Area under the ROC curve: how often a positive outscores a negative.

    Computed from mid-ranks (Mann–Whitney), so ties count one half. NaN if only one
    class was observed.

    >>> scores, targets = np.array([[0.1], [0.9], [0.9]]), np.array([[0], [0], [1]])
    >>> auroc(scores, targets, np.ones((3, 1), dtype=bool)).tolist()
    [0.75]
    """

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        n_positive = int(positive.sum())
        n_negative = len(positive) - n_positive
        if not n_positive or not n_negative or np.isnan(score).any():
            return float("nan")
        above = midranks(score)[positive].sum() - n_positive * (n_positive + 1) / 2
        return float(above / (n_positive * n_negative))

    return _per_finding(figure, scores, targets, observed)


def _by_falling_score(
    score: Floats, positive: Mask
) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Distinct scores, falling, with true and false positives at or above each."""
    order = np.argsort(score)[::-1]
    ordered, hits = score[order], positive[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    true: npt.NDArray[np.int64] = np.cumsum(hits.astype(np.int64))[last]
    return ordered[last], true, last + 1 - true


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
    found = np.full((2, targets.shape[1]), np.nan)
    for k in range(targets.shape[1]):
        score = scores[observed[:, k], k].astype(np.float64)
        positive = targets[observed[:, k], k] > 0
        n_positive = int(positive.sum())
        n_negative = len(positive) - n_positive
        if not n_positive or np.isnan(score).any():
            continue
        _, true, false = _by_falling_score(score, positive)
        steps = np.diff(true / n_positive, prepend=0.0)
        found[0, k] = (true / (true + false) * steps).sum()
        if n_negative:
            allowed = 1 - false / n_negative >= specificity
            found[1, k] = true[allowed].max(initial=0) / n_positive
    return found[0], found[1]


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
    positive and nothing can be tuned.
    """

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not positive.any():
            return 0.5
        threshold, true, false = _by_falling_score(score, positive)
        f1 = 2 * true / (true + false + positive.sum())
        return float(threshold[int(np.argmax(f1))])

    return _per_finding(figure, probability, targets, observed)


def brier_score(probability: Array, targets: Array, observed: Mask) -> Floats:
    """Mean squared difference of probability and label; NaN if nothing was observed."""

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not len(score):
            return float("nan")
        return float(((score - positive) ** 2).mean())

    return _per_finding(figure, probability, targets, observed)


def calibration_error(probability: Array, targets: Array, observed: Mask) -> Floats:
    """Expected calibration error over 15 equal-width bins; NaN if nothing was observed.

    The mean over images of |mean probability − share of positives| of their bin.
    """

    def figure(score: Floats, positive: Mask, _k: int) -> float:
        if not len(score):
            return float("nan")
        bins = np.minimum((score * _N_BINS).astype(int), _N_BINS - 1)
        gaps = np.bincount(bins, weights=score - positive, minlength=_N_BINS)
        return float(np.abs(gaps).sum() / len(score))

    return _per_finding(figure, probability, targets, observed)
