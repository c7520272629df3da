"""Labels that predictions of other patients' images contradict (confident learning).

A label is in doubt by the rule of Northcutt, Jiang & Chuang (2021): the probability of
the other label reaches the mean that images with that label have. How much it is in
doubt is one less its adjusted self-confidence, as cleanlab computes it: probabilities
less these means, so that a rare finding is not doubted everywhere.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Doubt", "doubt_labels"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Doubt:
    """Of n labels of one finding.

    Attributes:
        disagreement: From 0 to 1, shape (n,): the larger, the more doubtful.
        suspected: Whether the rule calls the label wrong, shape (n,), bool.
    """

    disagreement: Floats
    suspected: npt.NDArray[np.bool_]


def doubt_labels(probability: Floats, positive: npt.NDArray[np.bool_]) -> Doubt:
    """Compare labels with probabilities that did not see them.

    Args:
        probability: Probability of the finding, by images of other patients, shape
            (n,).
        positive: Labels, shape (n,), of both classes.

    >>> doubts = doubt_labels(np.array([0.9, 0.8, 0.1, 0.2, 0.9]),
    ...                      np.array([True, True, True, False, False]))
    >>> doubts.suspected.tolist()
    [False, False, True, False, True]
    """
    both = np.stack([1 - probability, probability], axis=1)
    label = positive.astype(np.int64)
    limits = np.array([both[label == c, c].mean() for c in (0, 1)])
    adjusted = both - limits + limits.max()
    adjusted /= adjusted.sum(axis=1, keepdims=True)
    rows = np.arange(len(label))
    reached = both >= limits - 1e-6
    other = reached[rows, 1 - label]
    own = reached[rows, label] & (both[rows, label] >= both[rows, 1 - label])
    return Doubt(1 - adjusted[rows, label], other & ~own)
