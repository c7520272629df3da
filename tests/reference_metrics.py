"""Slow, obvious versions of the figures, written straight from their definitions."""

import numpy as np


def pairwise_auroc(score: np.ndarray, positive: np.ndarray) -> float:
    """The share of (positive, negative) pairs in the right order; ties count half."""
    wins = [
        1.0 if high > low else 0.5 if high == low else 0.0
        for high in score[positive]
        for low in score[~positive]
    ]
    return float(np.mean(wins)) if wins else float("nan")


def delong_variance(score: np.ndarray, positive: np.ndarray) -> float:
    """DeLong's variance from the structural components themselves."""
    above, below = score[positive], score[~positive]

    def order(high: float, low: float) -> float:
        return 1.0 if high > low else 0.5 if high == low else 0.0

    v10 = [np.mean([order(x, y) for y in below]) for x in above]
    v01 = [np.mean([order(x, y) for x in above]) for y in below]
    return float(np.var(v10, ddof=1) / len(above) + np.var(v01, ddof=1) / len(below))


def best_f1(probability: np.ndarray, positive: np.ndarray) -> float:
    """The best F1 over every threshold that a probability offers."""
    scores = []
    for threshold in np.unique(probability):
        called = probability >= threshold
        scores.append(2 * (called & positive).sum() / (called.sum() + positive.sum()))
    return float(max(scores))


def weighted_auroc(score: np.ndarray, positive: np.ndarray, times: np.ndarray) -> float:
    """AUROC of images that are there so many times each."""
    return pairwise_auroc(np.repeat(score, times), np.repeat(positive, times))


def delong_covariance(
    first: np.ndarray, second: np.ndarray, positive: np.ndarray
) -> np.ndarray:
    """DeLong's 2 × 2 covariance of two AUROCs, from the structural components."""

    def order(high: float, low: float) -> float:
        return 1.0 if high > low else 0.5 if high == low else 0.0

    v10, v01 = [], []
    for score in (first, second):
        above, below = score[positive], score[~positive]
        v10.append([np.mean([order(x, y) for y in below]) for x in above])
        v01.append([np.mean([order(x, y) for x in above]) for y in below])
    covariance: np.ndarray = (
        np.cov(v10) / positive.sum() + np.cov(v01) / (~positive).sum()
    )
    return covariance


def incremental_figures(
    auroc: np.ndarray, introduced: np.ndarray, joint: np.ndarray, observed: np.ndarray
) -> dict[str, float]:
    """The figures of a sequence of tasks, sum by sum as they are defined."""
    last = len(auroc) - 1
    usable = [k for k in range(auroc.shape[1]) if not np.isnan(auroc[last, k])]

    def mean(values: list[float]) -> float:
        known = [value for value in values if value == value]
        return sum(known) / len(known) if known else float("nan")

    def best(k: int) -> float:
        known = [auroc[t, k] for t in range(introduced[k], last)]
        return max([one for one in known if one == one], default=float("nan"))

    early = [k for k in usable if introduced[k] < last]
    levels = [
        mean([auroc[t, k] for k in usable if introduced[k] <= t])
        for t in range(1, last + 1)
    ]
    unseen = [
        mean([auroc[t, k] - auroc[0, k] for k in usable if introduced[k] > t])
        for t in range(1, last + 1)
    ]
    return {
        "zero_shot_auroc": mean(list(auroc[0])),
        "final_auroc": mean([auroc[last, k] for k in usable]),
        "final_auroc_all": mean([auroc[last, k] for k in usable]),
        "average_incremental_auroc": mean(levels),
        "backward_transfer": mean(
            [auroc[last, k] - auroc[introduced[k], k] for k in early]
        ),
        "forgetting": mean([best(k) - auroc[last, k] for k in early]),
        "forward_transfer": mean(
            [
                auroc[introduced[k] - 1, k] - auroc[0, k]
                for k in usable
                if introduced[k] > 1
            ]
        ),
        "joint_gap": mean([joint[k] - auroc[last, k] for k in usable]),
        "sequence_gap": mean([observed[k] - auroc[last, k] for k in usable]),
        "zero_shot_retention": mean(unseen),
    }
