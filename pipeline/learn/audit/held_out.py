"""What `analytic` says of each image without the images of its patient; no refits.

For one finding the method is a ridge regression of y − α·s about its mean, s = Φw0 the
zero-shot scores. With H = Φ(ΦᵀΦ + λS²)⁻¹Φᵀ + 11ᵀ/n, Φ about its mean, S as in ridge.py,
taking the images g of a patient out of the sums changes the residuals there from e to

    (I − H_gg)⁻¹ e

(Cook & Weisberg 1982 for one image; Hansen & Racine 2012 for several). That is the same
as subtracting the patient from the sums and solving again, to rounding. The strength λ
and α are those that all images give: the means of the posterior of `analytic`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..methods.analytic.ridge import Centred, centre, posterior
from ..methods.analytic.sums import Sums, sum_rows

__all__ = ["held_out_scores"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int64]
#: Numbers in a block of features.
_BLOCK_VALUES = 1 << 22


@dataclass(frozen=True)
class _Ridge:
    """One finding's regression on all images.

    Attributes:
        weights: Shape (F,).
        intercept: b.
        scale: Square root of (v + λ)⁻¹ along the vectors, shape (F,).
        count: Images.
    """

    weights: Floats
    intercept: float
    scale: Floats
    count: float


def held_out_scores(
    features_of: Callable[[Rows], npt.NDArray[np.floating]],
    value: npt.NDArray[np.floating],
    observed: Mask,
    patient: Rows,
    prior: Floats,
) -> Floats:
    """Scores by the images of other patients.

    Args:
        features_of: Gives φ of some rows, shape (n, F).
        value: Labels of N images, 0 to 1, shape (N, K).
        observed: Cells that count, shape (N, K).
        patient: Number of each image's patient, shape (N,).
        prior: w0, shape (K, F).

    Returns:
        Shape (N, K); NaN where nothing was observed, and for a finding without images
        of both classes or of two patients.
    """
    rows = np.arange(len(value))
    sums = sum_rows(features_of, prior.shape[1], rows, value, observed)
    bases = [centre(gram) for gram in sums.grams]
    ridges = [
        _ridge(sums, k, bases[sums.group[k]], prior[k]) for k in range(len(prior))
    ]
    scores = np.full(value.shape, np.nan)
    order = np.argsort(patient, kind="stable")
    for block in _blocks(patient[order], max(1, _BLOCK_VALUES // prior.shape[1])):
        chosen = order[block]
        phi = features_of(chosen)
        for group, base in enumerate(bases):
            members = [k for k in np.flatnonzero(sums.group == group) if ridges[k]]
            if base is None or not members:
                continue
            seen = observed[chosen, members[0]]
            here = chosen[seen]
            plain = phi[seen]
            about = (plain - base.mean).astype(np.float32)
            along = about @ base.vectors.astype(np.float32)
            for k in members:
                one = ridges[k]
                assert one is not None
                score = plain @ one.weights + one.intercept
                left = value[here, k] - score
                out = _without_patient(along * one.scale, left, patient[here], one)
                scores[here, k] = value[here, k] - out
    return scores


def _ridge(sums: Sums, k: int, base: Centred | None, prior: Floats) -> _Ridge | None:
    """The posterior's mean strength and share of w0, as one regression."""
    if base is None:
        return None
    moment = sums.moments[k]
    spread = float(sums.squares[k] - moment[-1] ** 2 / base.count)
    if spread <= 1e-12 * base.count:
        return None
    one = posterior(base, moment, spread, prior)
    ratio = float(one.chance.sum(axis=1) @ one.ratio[:, 0])
    share = float(one.chance.sum(axis=0) @ one.shares)
    shrunk = 1 / (1 + base.values * ratio)
    data = base.vectors.T @ (moment[:-1] - base.mean * moment[-1])
    towards = base.along(prior)
    weights = base.vectors @ (data * ratio * shrunk + share * towards * shrunk)
    intercept = float(moment[-1] / base.count - weights @ base.mean)
    return _Ridge(weights, intercept, np.sqrt(ratio * shrunk), base.count)


def _blocks(patient: Rows, size: int) -> Iterator[slice]:
    """Rows some at a time, no patient in two blocks; `patient` is sorted."""
    ends = np.flatnonzero(np.diff(patient, append=patient[-1:] + 1)) + 1
    start = 0
    while start < len(patient):
        block_index = int(np.searchsorted(ends, start + size, side="right")) - 1
        least = int(np.searchsorted(ends, start, side="right"))
        end = int(ends[max(block_index, least)])
        yield slice(start, end)
        start = end


def _without_patient(
    along: npt.NDArray[np.float32], left: Floats, patient: Rows, one: _Ridge
) -> Floats:
    """Residuals of images whose patient is left out; `patient` is sorted."""
    starts = np.flatnonzero(np.diff(patient, prepend=patient[:1] - 1))
    sizes = np.diff(starts, append=len(patient))
    left_out = np.empty(len(left))
    for size in np.unique(sizes):
        if size >= one.count:
            return np.full(len(left), np.nan)  # there is no other patient
        rows = starts[sizes == size][:, None] + np.arange(size)
        part = along[rows]
        inside = (part @ part.transpose(0, 2, 1)).astype(np.float64) + 1 / one.count
        system = np.eye(size) - inside
        left_out[rows] = np.linalg.solve(system, left[rows][..., None])[..., 0]
    return left_out
