"""Permutation tests between two groups of patients.

Under the null hypothesis it does not matter which patients are in which group. All
statistics of a pair of groups are computed on the same permutations of patients, so
that the largest of several can be compared with the largest by chance (Westfall and
Young 1993).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = [
    "SHRINKAGE",
    "EmbeddingTest",
    "PermutedGroups",
    "RateTest",
    "embedding_test",
    "largest_p",
    "permute_groups",
    "rate_test",
]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
#: Permutations that are multiplied at a time.
_BLOCK = 512
#: Share of the mean variance that each direction of embeddings has at least.
SHRINKAGE = 0.1


@dataclass(frozen=True)
class PermutedGroups:
    """Who is in the group, as observed and as permuted.

    Attributes:
        observed: Which of P patients, shape (P,).
        permuted: The same in each of B permutations, shape (B, P); as many patients as
            observed.
    """

    observed: Mask
    permuted: Mask


@dataclass(frozen=True)
class EmbeddingTest:
    """How the vectors of two groups of patients differ.

    Attributes:
        mmd: Maximum mean discrepancy, squared (biased).
        mmd_p: Share of permutations in which it is as large, the observed one among
            them.
        mmd_p_family: The same, corrected for there being two statistics.
        apart_p: Share of permutations in which the scaled means are as far apart.
        apart_p_family: The same, corrected.
    """

    mmd: float
    mmd_p: float
    mmd_p_family: float
    apart_p: float
    apart_p_family: float


@dataclass(frozen=True)
class RateTest:
    """How M quantities differ between the groups.

    Attributes:
        group: Mean over the group's images, shape (M,); NaN without any.
        reference: Mean over the others', shape (M,).
        p_value: p of each by itself, two-sided, shape (M,); NaN where undefined.
        p_family: p of each, corrected for there being M, shape (M,).
    """

    group: Floats
    reference: Floats
    p_value: Floats
    p_family: Floats


def permute_groups(in_group: Mask, n_permutations: int, seed: int) -> PermutedGroups:
    """Draw which patients are in the group by chance.

    Args:
        in_group: Which of P patients, shape (P,).
        n_permutations: B.
        seed: Seed of the draws.

    >>> permute_groups(np.array([True, False, False]), 2, 0).permuted.sum(axis=1)
    array([1, 1])
    """
    random = np.random.default_rng(seed)
    order = random.random((n_permutations, len(in_group))).argsort(axis=1)
    return PermutedGroups(in_group, in_group[order])


def embedding_test(x: Floats, groups: PermutedGroups) -> EmbeddingTest:
    """Whether the vectors of two groups of patients differ.

    Two statistics share the permutations. The maximum mean discrepancy with a Gaussian
    kernel as wide as the median distance (Gretton et al. 2012) sees any difference, but
    those along directions in which patients vary little only when they are large. The
    distance of the group means after each direction was divided by its spread sees
    these, too.

    Args:
        x: A vector for each patient, shape (P, D).
        groups: P patients.
    """
    chosen = np.concatenate([groups.observed[None, :], groups.permuted])
    kernel, scaled = _kernel(x), _scaled(x)
    blocks = [chosen[start : start + _BLOCK] for start in range(0, len(chosen), _BLOCK)]
    mmd = np.concatenate([_mmd(kernel, block) for block in blocks])
    apart = np.concatenate([_mean_distance(scaled, block) for block in blocks])
    ranks = np.stack([_share_as_large(mmd), _share_as_large(apart)])
    smallest = ranks.min(axis=0)
    p_family = [float((smallest <= p * (1 + 1e-12)).mean()) for p in ranks[:, 0]]
    return EmbeddingTest(
        float(mmd[0]),
        float(ranks[0, 0]),
        p_family[0],
        float(ranks[1, 0]),
        p_family[1],
    )


def _share_as_large(statistic: Floats) -> Floats:
    """For each value, the share of all values that are at least as large.

    >>> _share_as_large(np.array([3.0, 1.0, 2.0, 2.0]))
    array([0.25, 1.  , 0.75, 0.75])
    """
    ordered = np.sort(statistic)
    below = np.searchsorted(ordered, statistic - 1e-12 * np.abs(statistic), "left")
    return np.asarray((len(statistic) - below) / len(statistic))


def _scaled(x: Floats) -> Floats:
    """Vectors along the axes in which patients vary, each divided by its spread.

    The spread is that of all patients, so that permutations leave it as it is.
    """
    about = x - x.mean(axis=0)
    variance, axes = np.linalg.eigh(about.T @ about / len(x))
    level = max(float(variance.mean()), 1e-30)
    spread = np.sqrt(np.maximum(variance, 0) + SHRINKAGE * level)
    return np.asarray(about @ axes / spread)


def _mean_distance(x: Floats, chosen: Mask) -> Floats:
    """Squared distance of the groups' means for each row of chosen patients."""
    a = chosen.astype(np.float64)
    m = a.sum(axis=1, keepdims=True)
    sums = a @ x
    difference = sums / m - (x.sum(axis=0) - sums) / (len(x) - m)
    return np.asarray((difference**2).sum(axis=1))


def _kernel(x: Floats) -> npt.NDArray[np.float32]:
    squares = (x**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * x @ x.T, 0)
    above = distances[np.triu_indices(len(x), 1)]
    width = float(np.median(above)) if len(above) else 1.0
    return np.asarray(np.exp(-distances / max(width, 1e-30)), dtype=np.float32)


def _mmd(kernel: npt.NDArray[np.float32], chosen: Mask) -> Floats:
    """MMD² for each row of chosen patients."""
    a = chosen.astype(np.float32)
    m, n = a.sum(axis=1), (1 - a).sum(axis=1)
    ones = kernel.sum(axis=1)
    product = a @ kernel
    within = (product * a).sum(axis=1)
    to_all = a @ ones
    total = float(ones.sum())
    others = total - 2 * to_all + within
    squared_distance: Floats = (
        within / m**2 + others / n**2 - 2 * (to_all - within) / (m * n)
    ).astype(np.float64)
    return squared_distance


def rate_test(sums: Floats, counts: Floats, groups: PermutedGroups) -> RateTest:
    """Whether means over images differ between the groups.

    Args:
        sums: Sum of each quantity over each patient's images, shape (P, M).
        counts: Images of each patient on which it was observed, shape (P, M).
        groups: P patients.
    """
    chosen = np.concatenate([groups.observed[None, :], groups.permuted])
    weights = chosen.astype(np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        group = (weights @ sums) / (weights @ counts)
        reference = ((1 - weights) @ sums) / ((1 - weights) @ counts)
        differences = np.abs(group - reference)
    observed, permuted = differences[0], differences[1:]
    undefined = np.isnan(observed)
    # A permutation without a single observed image says nothing against chance.
    permuted = np.where(np.isnan(permuted), np.inf, permuted)
    return RateTest(
        group[0],
        reference[0],
        np.where(undefined, np.nan, _p_values(observed, permuted)),
        np.where(undefined, np.nan, largest_p(observed, permuted)),
    )


def _p_values(observed: Floats, permuted: Floats) -> Floats:
    as_large = (permuted >= observed * (1 - 1e-12)).sum(axis=0)
    return np.asarray((1 + as_large) / (1 + len(permuted)))


def largest_p(observed: Floats, permuted: Floats) -> Floats:
    """P of each of M quantities, corrected by the largest of all in each permutation.

    Args:
        observed: Absolute differences, shape (M,); NaN where undefined.
        permuted: The same in B permutations, shape (B, M).
    """
    finite = np.where(np.isfinite(permuted), permuted, np.nan)
    with np.errstate(invalid="ignore"):
        known = ~np.isnan(observed) & np.isfinite(finite).any(axis=0)
    p = np.ones(len(observed))
    if not known.any():
        return p
    scale = np.nanstd(finite[:, known], axis=0)
    scale = np.where(scale > 0, scale, np.inf)  # what never varies never alarms
    z = observed[known] / scale
    by_chance = np.nan_to_num(finite[:, known] / scale, nan=np.inf).max(axis=1)
    as_large = (by_chance[:, None] >= z[None, :] * (1 - 1e-12)).sum(axis=0)
    p[known] = (1 + as_large) / (1 + len(permuted))
    return p
