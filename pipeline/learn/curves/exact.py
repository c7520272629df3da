"""`analytic` by the dozen: the same weights as the method's, for few images faster.

With fewer images than features, the vectors in which anything varies follow from the
images' products with each other. Other directions leave w0 as it is, so that w0's part
in them is one more vector, in which nothing varies.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..methods.analytic.ridge import Centred, centre, feature_scale, posterior, solve
from ..methods.analytic.sums import sum_rows

__all__ = ["exact_weights"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def exact_weights(
    features_of: Callable[[Rows], npt.NDArray[np.floating]],
    rows: Rows,
    value: npt.NDArray[np.floating],
    observed: npt.NDArray[np.bool_],
    prior: Floats,
) -> Floats:
    """Posterior mean weights of each finding, shape (K, F); w0 without both classes.

    Args:
        features_of: Gives φ of some rows, shape (n, F).
        rows: To learn from, shape (n,).
        value: Labels, 0 to 1, shape (n, K).
        observed: Cells that count, shape (n, K).
        prior: w0, shape (K, F).
    """
    if len(rows) >= prior.shape[1]:
        sums = sum_rows(features_of, prior.shape[1], rows, value, observed)
        return solve(sums, prior, [centre(gram) for gram in sums.grams]).weights
    phi = features_of(rows).astype(np.float64)
    weights = prior.copy()
    patterns, group = np.unique(observed, axis=1, return_inverse=True)
    known = [_thin(phi[mask]) for mask in patterns.T]
    for k, number in enumerate(group.reshape(-1)):
        base, seen = known[number], observed[:, k]
        label = np.where(seen, value[:, k], 0).astype(np.float64)
        positives = float(label.sum())
        if base is None:
            continue
        spread = float((label**2).sum()) - positives**2 / base.count
        if spread > 1e-12 * base.count:
            full = _with(base, prior[k])
            moment = np.append(label @ phi, positives)
            mean = posterior(full, moment, spread, prior[k]).mean
            weights[k] = full.vectors @ mean
    return weights


def _thin(phi: Floats) -> Centred | None:
    """`centre` of n images with n < F; only vectors in which they vary."""
    if len(phi) < 2:
        return None
    mean = phi.mean(axis=0)
    about = phi - mean
    variance = (about**2).mean(axis=0)
    if variance.sum() * len(phi) <= 1e-12 * (phi**2).sum():
        return None
    scale = feature_scale(variance, len(phi))
    about /= scale
    values, turned = np.linalg.eigh(about @ about.T)
    kept = values > 1e-12 * values[-1]
    vectors = about.T @ turned[:, kept] / np.sqrt(values[kept]) / scale[:, None]
    return Centred(float(len(phi)), mean, values[kept], vectors, scale)


def _with(base: Centred, prior: Floats) -> Centred:
    """With one more vector, so that w0 lies within them all."""
    left = prior - base.vectors @ base.along(prior)
    size = float(np.linalg.norm(left * base.scale))
    if size <= 1e-12 * float(np.linalg.norm(prior * base.scale)):
        return base
    return replace(
        base,
        values=np.append(base.values, 0.0),
        vectors=np.column_stack([base.vectors, left / size]),
    )
