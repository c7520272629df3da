"""How far an image is from those that were trained on, from their sums."""

from typing import NamedTuple

import numpy as np

from .sums import Floats, Sums

__all__ = ["Seen", "alarm_limit", "seen_images"]

#: Share of the mean variance that every direction has at least.
_FLOOR = 0.1
#: Share of the mean in an image's squared length, whitened, from which the mean gives
#: a direction. Embeddings of one backbone lie in a cone: mini's share is 0.4.
_LEAST_SHARE = 0.1


class Seen(NamedTuple):
    """The images trained on, as a distance needs them.

    Attributes:
        mean: Mean of φ, shape (F,).
        whitening: W, shape (F, F): (x − mean)W has covariance about 1.
        typical: Cosine in the whitened space between a typical image and the mean; 0
            where the mean is too short to give a direction.
    """

    mean: Floats
    whitening: Floats
    typical: float


def seen_images(train: Sums) -> Seen | None:
    """What the sums know of the images trained on.

    An image counts once for each finding that was observed on it.

    Returns:
        None if fewer than two images, or only equal ones, were seen.
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
    whole = covariance + _FLOOR * middle * np.eye(len(mean))
    whitening = np.linalg.inv(np.linalg.cholesky(whole)).T
    along = float(((mean @ whitening) ** 2).sum())
    scatter = float(np.trace(whitening.T @ covariance @ whitening))
    share = along / (along + scatter)
    return Seen(mean, whitening, np.sqrt(share) if share > _LEAST_SHARE else 0.0)


def alarm_limit(distances: Floats, rate: float) -> tuple[float, float]:
    """The distance that a share of new images like these exceeds.

    Args:
        distances: Distances of n validation images, shape (n,).
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
