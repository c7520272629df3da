"""A classifier two-sample test: can a classifier tell the groups apart?

A linear discriminant is fitted on four fifths of the patients and scores the others
(Lopez-Paz and Oquab 2017). Its AUROC is 0.5 where nothing tells them apart.
"""

import numpy as np
import numpy.typing as npt

from ..stats.intervals import mean_auroc_interval, patient_influence
from .permutation import SHRINKAGE

__all__ = ["tell_apart"]

Floats = npt.NDArray[np.float64]
_FOLDS = 5


def tell_apart(
    x: Floats,
    in_group: npt.NDArray[np.bool_],
    patient: npt.NDArray[np.int64],
    seed: int,
) -> tuple[float, float, float]:
    """AUROC of group against reference, with its 95 % interval over patients.

    Args:
        x: Embeddings, shape (N, D).
        in_group: Which images are of the group, shape (N,).
        patient: Number of each image's patient, shape (N,).
        seed: Seed of the folds.

    Returns:
        AUROC, lower and upper end; NaN if a side has fewer patients than folds.
    """
    nothing = (float("nan"),) * 3
    sides = [np.unique(patient[in_group == side]) for side in (True, False)]
    if min(len(side) for side in sides) < _FOLDS:
        return nothing
    random = np.random.default_rng(seed)
    fold = np.zeros(int(patient.max()) + 1, dtype=np.int64)
    for side in sides:  # each fold has patients of both sides
        fold[random.permutation(side)] = np.arange(len(side)) % _FOLDS
    of_image = fold[patient]
    scores = np.zeros(len(x))
    for number in range(_FOLDS):
        held = of_image == number
        direction, middle = _discriminant(x[~held], in_group[~held])
        projected = (x[held] - middle) @ direction
        # Folds have directions of their own: their scores are made comparable.
        scores[held] = projected / max(float(projected.std()), 1e-30)
    observed = np.ones((len(x), 1), dtype=bool)
    figures = patient_influence(
        scores[:, None], in_group[:, None].astype(np.float64), observed, patient
    )
    value, low, high = mean_auroc_interval(figures, ~np.isnan(figures.auroc))
    # Without a single error the spread is 0: bounded as no event among m patients.
    bound = 0.05 ** (1 / min(len(side) for side in sides))
    if value == 1:
        low = bound
    elif value == 0:
        high = 1 - bound
    return float(value), float(low), float(high)


def _discriminant(x: Floats, in_group: npt.NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Direction that tells the sides apart, and the point half way between them."""
    means = [x[in_group == side].mean(axis=0) for side in (True, False)]
    about = np.where(in_group[:, None], x - means[0], x - means[1])
    covariance = about.T @ about / len(x)
    level = float(np.trace(covariance)) / len(covariance)
    covariance[np.diag_indices(len(covariance))] += max(SHRINKAGE * level, 1e-30)
    direction = np.linalg.solve(covariance, means[0] - means[1])
    return direction, (means[0] + means[1]) / 2
