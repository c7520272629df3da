"""From a score to a probability."""

import numpy as np
import numpy.typing as npt

__all__ = ["platt"]

#: Logit of a score that estimates a probability, to first order about one half.
_PLAIN = (4.0, -2.0)


def platt(
    scores: npt.NDArray[np.float64], positive: npt.NDArray[np.bool_]
) -> tuple[float, float]:
    """Slope and offset of the logit, fitted to labels (Platt 1999).

    The targets are Platt's smoothed ones, so that separable labels have a finite fit.

    Args:
        scores: Shape (n,), about probabilities.
        positive: Shape (n,).

    Returns:
        Slope, above 0, and offset. Where labels of one class, or scores that fall as
        labels rise, give no such line, that of a score that already is a probability.

    >>> slope, offset = platt(np.array([0.0, 1, 2, 3]), np.array([0, 0, 1, 1]) > 0)
    >>> bool(slope > 0), bool(abs(slope * 1.5 + offset) < 1e-6)
    (True, True)
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    spread = float(scores.std()) if len(scores) else 0.0
    if not n_positive or not n_negative or spread <= 1e-12:
        return _PLAIN
    high, low = (n_positive + 1) / (n_positive + 2), 1 / (n_negative + 2)
    target = np.where(positive, high, low)
    middle = float(scores.mean())
    design = np.column_stack([(scores - middle) / spread, np.ones(len(scores))])
    line = np.zeros(2)
    line[1] = np.log((n_positive + 1) / (n_negative + 1))
    for _ in range(50):
        chance = 1 / (1 + np.exp(-np.clip(design @ line, -30, 30)))
        bend = (design * (chance * (1 - chance))[:, None]).T @ design
        step = np.linalg.solve(bend + 1e-9 * np.eye(2), design.T @ (target - chance))
        # A full Newton step may overshoot where the curve is flat.
        line += step * min(1.0, 5 / max(1e-12, float(np.abs(step).max())))
        if np.abs(step).max() < 1e-9:
            break
    slope = float(line[0] / spread)
    if not np.isfinite(line).all() or slope <= 0:
        return _PLAIN
    return slope, float(line[1] - slope * middle)
