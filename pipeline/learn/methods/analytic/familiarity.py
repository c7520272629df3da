"""How far an image is from those that were trained on, from their sums."""

import numpy as np

from .sums import Floats, Sums

__all__ = ["alarm_limit", "seen_images"]

#: Share of the mean variance that every direction has at least.
_FLOOR = 0.1


def seen_images(train: Sums) -> tuple[Floats, Floats] | None:
    """Mean of the images trained on, and what whitens them.

    An image counts once for each finding that was observed on it.

    Returns:
        Mean, shape (F,), and a matrix W of shape (F, F): (x − mean)W has covariance
        about 1; None if fewer than two images, or only equal ones, were seen.
    """
    often = np.bincount(train.group, minlength=len(train.grams)).astype(np.float64)
    gram = np.tensordot(often, train.grams, axes=1)
    count = gram[-1, -1]
    if count < 2:
        return None
    mean = gram[:-1, -1] / count
    covariance = gram[:-1, :-1] / count - np.outer(mean, mean)
    middle = np.trace(covariance) / len(mean)
    if middle <= 1e-12 * np.trace(gram[:-1, :-1]) / count:
        return None
    covariance[np.diag_indices(len(mean))] += _FLOOR * middle
    return mean, np.linalg.inv(np.linalg.cholesky(covariance)).T


def alarm_limit(distances: Floats, rate: float) -> tuple[float, float]:
    """The distance that a share of new images like these exceeds.

    Args:
        distances: Of n validation images, shape (n,).
        rate: The share, between 0 and 1.

    Returns:
        The limit, and the share that is expected beyond it: `rate`, or 1/(n + 1) where
        n images cannot tell so small a share. Without images no distance is too far.

    >>> alarm_limit(np.arange(199.0), 0.01)
    (197.0, 0.01)
    >>> alarm_limit(np.array([1.0, 3.0, 2.0]), 0.01)
    (3.0, 0.25)
    """
    n = len(distances)
    if not n:
        return float("inf"), 0.0
    beyond = int(np.floor(rate * (n + 1)))
    if beyond < 1:
        return float(distances.max()), 1 / (n + 1)
    return float(np.sort(distances)[-beyond]), rate
