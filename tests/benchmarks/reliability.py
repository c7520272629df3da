"""Figures of probabilities, and what each patient moves them by.

A patient moves a figure by the difference between it and the figure without the
patient's images (jackknife). So intervals over patients need no draws.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from retune.pipeline.learn.stats.metrics import N_BINS, bins_of

__all__ = ["Moved", "brier", "calibration_error", "squared_error"]

Floats = npt.NDArray[np.float64]
Numbers = npt.NDArray[np.int64]


class Moved(NamedTuple):
    """A figure, and how far each of P patients moves it, shape (P,)."""

    value: float
    moved: Floats


def calibration_error(chance: Floats, label: Floats, patient: Numbers) -> Moved:
    """Expected calibration error over 15 bins of equal width.

    Args:
        chance: Probabilities of n images, shape (n,).
        label: 0 or 1, shape (n,).
        patient: Number of each image's patient, from 0, shape (n,).

    >>> chance, label = np.array([0.1, 0.9]), np.array([0.0, 1.0])
    >>> one = calibration_error(chance, label, np.array([0, 1]))
    >>> round(one.value, 3), one.moved.shape
    (0.1, (2,))
    """
    gaps = _sums(chance - label, bins_of(chance), patient)
    n = _sums(np.ones(len(chance)), np.zeros(len(chance), int), patient)[:, :1]
    whole = np.abs(gaps.sum(axis=0)).sum() / n.sum()
    left = np.abs(gaps.sum(axis=0) - gaps).sum(axis=1) / _left(n)[:, 0]
    return Moved(float(whole), whole - left)


def squared_error(chance: Floats, label: Floats, patient: Numbers) -> Moved:
    """The squared calibration error without what chance adds to it.

    The debiased estimator of Kumar, Liang & Ma (NeurIPS 2019): over 15 bins with as
    many images each, of mean probability p and share of positives y, the mean of
    (p - y)² - y(1 - y)/(n - 1). It may be below 0. Its expectation is the square of the
    calibration error, which is not below the expected calibration error, for images
    that say nothing of each other; those of one patient do, and it is too large then.

    Args:
        chance: As for `calibration_error`.
        label: The same.
        patient: The same.

    >>> chance, label = np.linspace(0.4, 0.6, 60), np.tile([0.0, 1], 30)
    >>> figure = squared_error(chance, label, np.arange(60))
    >>> round(figure.value, 3)  # by chance it would be above 0
    -0.08
    """
    first = np.arange(1, N_BINS) * len(chance) // N_BINS
    # Equal probabilities are in one bin: in the order of images they might be by label.
    in_bin = np.searchsorted(np.sort(chance)[first], chance, side="right")
    parts = chance - label, label, np.ones(len(chance))
    gap, positive, n = (_sums(part, in_bin, patient) for part in parts)
    whole = _debiased(*(part.sum(axis=0)[None] for part in (gap, positive, n)))[0]
    left = _debiased(*(_left(part) for part in (gap, positive, n)))
    return Moved(float(whole), whole - left)


def brier(chance: Floats, label: Floats, patient: Numbers) -> Moved:
    """Mean squared difference of probability and label; arguments as above."""
    nowhere = np.zeros(len(chance), dtype=np.int64)
    squares = _sums((chance - label) ** 2, nowhere, patient)[:, 0]
    n = _sums(np.ones(len(chance)), nowhere, patient)[:, 0]
    whole = squares.sum() / n.sum()
    return Moved(float(whole), whole - _left(squares) / _left(n))


def _sums(values: Floats, in_bin: Numbers, patient: Numbers) -> Floats:
    """Of each patient's images in each bin, shape (P, 15)."""
    sums = np.zeros((int(patient.max(initial=-1)) + 1, N_BINS))
    np.add.at(sums, (patient, in_bin), values)
    return sums


def _left(sums: Floats) -> Floats:
    """What all others leave."""
    return np.asarray(sums.sum(axis=0) - sums)


def _debiased(gap: Floats, positive: Floats, n: Floats) -> Floats:
    """Of rows of bins; a bin of one image says nothing and counts as 0."""
    some, several = np.maximum(n, 1), np.maximum(n - 1, 1)
    share = positive / some
    bins = np.where(n > 1, (gap / some) ** 2 - share * (1 - share) / several, 0)
    return np.asarray((bins * n).sum(axis=1) / np.maximum(n.sum(axis=1), 1))
