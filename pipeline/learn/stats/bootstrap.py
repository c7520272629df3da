"""Bootstrap over patients: images of one patient are alike, so patients are drawn."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ..problem.features import PatientIds, number_patients
from .metrics import Array, Floats, Mask

__all__ = [
    "PatientDraws",
    "bootstrap_auroc",
    "bootstrap_macro_auroc",
    "draw_patients",
    "draw_with_classes",
    "mean_of_draws",
    "percentile_interval",
    "resample_ranks",
]

#: Draws are made until this many images were weighed, but within the two bounds.
_WEIGHED_IMAGES = 5_000_000
_FEWEST, _MOST = 200, 1000
#: A draw that lacks a class of a finding is made anew, so often at most.
_MOST_ATTEMPTS = 200
#: Draws that are weighed together: a few MB, which stay in the cache.
_DRAWS_AT_ONCE = 8
#: Images whose weights add up to less than 2³¹, for any draw that can be met.
_FEW_IMAGES = 1 << 22
#: Sums of so many weights are exact in float32.
_EXACT_IN_FLOAT32 = 1 << 22


@dataclass(frozen=True)
class PatientDraws:
    """B draws of as many patients as there are, with replacement.

    Attributes:
        patient: Number of each image's patient, shape (N,), from 0.
        times: How often each patient was drawn, shape (patients, B), float.
    """

    patient: npt.NDArray[np.int64]
    times: npt.NDArray[np.floating]


def draw_patients(
    patient_id: PatientIds,
    *,
    seed: int,
    n_bootstrap: int | None = None,
) -> PatientDraws:
    """Draw patients with replacement.

    Args:
        patient_id: Patient ids of N images; ids or numbers, which are taken in their
            order.
        seed: Seed of the draws.
        n_bootstrap: B; None: 1000 for up to 5,000 images, fewer for more, at least 200.

    >>> draws = draw_patients(np.array(["a", "b", "a"], dtype=object), seed=0)
    >>> draws.patient.tolist(), draws.times.shape, set(draws.times.sum(axis=0).tolist())
    ([0, 1, 0], (2, 1000), {2.0})
    """
    number = number_patients(patient_id)
    return _drawn(
        number, np.zeros((int(number.max(initial=-1)) + 1, 0)), seed, n_bootstrap
    )


def draw_with_classes(
    patient_id: PatientIds,
    targets: Array,
    observed: Mask,
    *,
    seed: int,
    n_bootstrap: int | None = None,
) -> PatientDraws:
    """Draws in which every finding has both of its classes.

    A draw that lacks one is made anew. So a mean over findings is over the same ones in
    each draw: leaving a finding out of some would make them means of something else,
    and those of rare findings would count in the most favourable draws only. Where all
    draws have both classes, they are those of `draw_patients`.

    Args:
        patient_id: Patient ids of N images.
        targets: Shape (N, K), 0 or 1; of findings with both classes.
        observed: Shape (N, K), bool.
        seed: Seed of the draws.
        n_bootstrap: B; None: as for `draw_patients`.
    """
    number = number_patients(patient_id)
    n_patients = int(number.max(initial=-1)) + 1
    classes = np.concatenate([observed & (targets > 0), observed & (targets <= 0)], 1)
    present = np.zeros((n_patients, classes.shape[1]))
    np.maximum.at(present, number, classes)
    return _drawn(number, present[:, present.any(axis=0)], seed, n_bootstrap)


def _drawn(
    number: npt.NDArray[np.int64],
    needed: Floats,
    seed: int,
    n_bootstrap: int | None,
) -> PatientDraws:
    """Draws with at least one patient of each column of `needed`, (patients, F)."""
    n_patients = len(needed)
    if n_bootstrap is None:
        n_bootstrap = _WEIGHED_IMAGES // max(1, len(number))
        n_bootstrap = min(_MOST, max(_FEWEST, n_bootstrap))
    random = np.random.default_rng(seed)
    exact = len(number) < _EXACT_IN_FLOAT32
    times = np.zeros(
        (n_patients, n_bootstrap), dtype=np.float32 if exact else np.float64
    )
    for draw in range(n_bootstrap):
        for _ in range(_MOST_ATTEMPTS):
            drawn = random.integers(n_patients, size=n_patients)
            times[:, draw] = np.bincount(drawn, minlength=n_patients)
            if (times[:, draw] @ needed > 0).all():
                break
    return PatientDraws(number, times)


def bootstrap_auroc(
    scores: Array, targets: Array, observed: Mask, draws: PatientDraws
) -> Floats:
    """AUROC of every finding in every draw.

    An image counts as often as its patient was drawn; scores are sorted once.

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
        draws: Draws of the same N images.

    Returns:
        Shape (B, K); NaN where a draw has one class.
    """
    columns = []
    for k in range(targets.shape[1]):
        seen = observed[:, k]
        score, positive = scores[seen, k], targets[seen, k] > 0
        columns.append(resample_ranks(score, positive, draws.patient[seen], draws)[0])
    return np.stack(columns, axis=1)


def resample_ranks(
    score: Array, positive: Mask, patient: npt.NDArray[np.int64], draws: PatientDraws
) -> tuple[Floats, Floats]:
    """AUROC and average precision of one finding in every draw, from one sort.

    Args:
        score: Scores of n images, shape (n,).
        positive: Shape (n,).
        patient: Number of each image's patient, shape (n,).
        draws: Draws of these patients.

    Returns:
        Both of shape (B,), NaN where a draw lacks a class that the figure needs, or a
        score is NaN.

    >>> score, positive = np.array([0.1, 0.2, 0.3]), np.array([False, True, False])
    >>> draws = PatientDraws(np.arange(3), np.array([[1.0, 2], [1, 1], [1, 0]]))
    >>> [one.tolist() for one in resample_ranks(score, positive, draws.patient, draws)]
    [[0.5, 1.0], [0.5, 1.0]]
    """
    n_draws = draws.times.shape[1]
    area, precision = np.full((2, n_draws), np.nan)
    if not positive.any() or np.isnan(score).any():
        return area, precision
    order = np.argsort(score)
    ordered, places = score[order], np.flatnonzero(positive[order])
    patient = patient[order]
    # Figures change only at scores that a positive image has: there, at the first and
    # behind the last image of this score, weights are needed.
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    group = np.searchsorted(starts, places, side="right") - 1
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    group = group[first]
    low, high = starts[group], np.r_[starts[1:], len(order)][group]
    last = np.r_[first[1:], len(places)]
    narrow = np.int32 if len(order) < _FEW_IMAGES else np.int64
    for begin in range(0, n_draws, _DRAWS_AT_ONCE):
        part = slice(begin, begin + _DRAWS_AT_ONCE)
        times = np.ascontiguousarray(draws.times[:, part].T.astype(narrow))
        weight = np.take(times, patient, axis=1)
        below = _cumulated(weight)
        hits = _cumulated(np.take(weight, places, axis=1))
        hits_low = np.take(hits, first, axis=1)
        hits_high = np.take(hits, last, axis=1)
        all_low, all_high = (np.take(below, at, axis=1) for at in (low, high))
        n_positive = hits[:, -1:].astype(np.int64)
        n = below[:, -1:].astype(np.int64)
        new = (hits_high - hits_low).astype(np.float64)
        # Negatives below, once without and once with those of the same score.
        behind = all_low - hits_low + all_high - hits_high
        pairs = n_positive * (n - n_positive)
        twice = (new * behind).sum(axis=1, keepdims=True)
        np.divide(twice, 2 * pairs, out=area[part, None], where=pairs > 0)
        above = np.maximum(n - all_low, 1)
        steps = (new * ((n_positive - hits_low) / above)).sum(axis=1, keepdims=True)
        np.divide(steps, n_positive, out=precision[part, None], where=n_positive > 0)
    return area, precision


def _cumulated(weight: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Sums before each column and at the end, shape (B, n + 1)."""
    sums = np.zeros((len(weight), weight.shape[1] + 1), dtype=weight.dtype)
    np.cumsum(weight, axis=1, out=sums[:, 1:])
    return sums


def mean_of_draws(table: Floats) -> Floats:
    """Mean over findings in each draw, shape (B,), NaN where a draw has none.

    A draw in which a finding has one class leaves that finding out of its mean.

    Args:
        table: As `bootstrap_auroc` gives it, shape (B, K).
    """
    counted = ~np.isnan(table)
    means: Floats = np.full(len(table), np.nan)
    np.divide(
        np.where(counted, table, 0).sum(axis=1),
        counted.sum(axis=1),
        out=means,
        where=counted.any(axis=1),
    )
    return means


def percentile_interval(draws: Floats) -> tuple[float, float]:
    """95 % percentile interval of draws, shape (B,); NaN if all are NaN.

    >>> percentile_interval(np.array([float("nan"), *range(101)]))
    (2.5, 97.5)
    """
    known = draws[~np.isnan(draws)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def bootstrap_macro_auroc(
    scores: Array,
    targets: Array,
    observed: Mask,
    patient_id: npt.NDArray[np.object_],
    *,
    findings: npt.NDArray[np.integer],
    n_bootstrap: int = 200,
    seed: int = 0,
) -> tuple[float, float]:
    """95 % percentile interval of the mean AUROC, resampling patients.

    Every draw has both classes of every finding that has both; see `draw_with_classes`.

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
        patient_id: Shape (N,).
        findings: Which findings the mean is over.
        n_bootstrap: Number of draws.
        seed: Seed of the draws.

    Returns:
        Lower and upper end; NaN if no draw has a figure.
    """
    cells = targets[:, findings], observed[:, findings]
    draws = draw_with_classes(patient_id, *cells, seed=seed, n_bootstrap=n_bootstrap)
    table = bootstrap_auroc(scores[:, findings], *cells, draws)
    return percentile_interval(mean_of_draws(table))
