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
