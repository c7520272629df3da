"""Sums over images from which a ridge regression follows, for findings with masks.

For finding k with observed cells m_ik, labels y_ik, features φ_i (F,) with an appended
1, and weights g_i of images (1 unless they are given): A_k = Σ_i m_ik g_i φ_i φ_iᵀ,
c_k = Σ_i m_ik g_i y_ik φ_i and q_k = Σ_i m_ik g_i y_ik² (docs/method.md, "analytic").
Sums of two sets of images, added, are the sums of their union: that is why order does
not matter and nothing is forgotten.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import TrainingError

__all__ = ["Sums", "add_sums", "subtract_sums", "sum_rows"]

Floats = npt.NDArray[np.float64]
#: Values that are turned into float64 at a time: 8 MB, which stay in the cache between
#: being written and being multiplied. Smaller products are slower, larger ones wait for
#: memory (223,414 images of D=512: 0.82 s; four times as many values 1.19 s).
_BLOCK_VALUES = 1 << 20
#: Findings whose mask pattern fits one machine word.
_WORD_FINDINGS = 64


@dataclass(frozen=True)
class Sums:
    """A_k, c_k and q_k of K findings.

    Findings that were always observed on the same images share one matrix.

    Attributes:
        grams: Distinct A, shape (G, F+1, F+1), float64; the last row and column belong
            to the appended 1, so that the last entry counts the images, by weight.
        group: Which of them is A_k, shape (K,).
        moments: c_k, shape (K, F+1), float64; the last entry counts the positives.
        squares: q_k, shape (K,), float64; with labels of 0 and 1 as many as positives.
    """

    grams: Floats
    group: npt.NDArray[np.int64]
    moments: Floats
    squares: Floats

    @staticmethod
    def none(n_findings: int, n_features: int) -> "Sums":
        """Of no images."""
        size = n_features + 1
        return Sums(
            np.zeros((1, size, size)),
            np.zeros(n_findings, dtype=np.int64),
            np.zeros((n_findings, size)),
            np.zeros(n_findings),
        )

    def count(self, finding: int) -> int:
        """Observed images of a finding."""
        return int(self.grams[self.group[finding], -1, -1])

    def to_tensors(self, prefix: str) -> dict[str, Tensor]:
        """As tensors; of the symmetric matrices one half."""
        upper = np.triu_indices(self.grams.shape[1])
        return {
            f"{prefix}.grams": torch.from_numpy(self.grams[:, upper[0], upper[1]]),
            f"{prefix}.group": torch.from_numpy(self.group.copy()),
            f"{prefix}.moments": torch.from_numpy(self.moments.copy()),
            f"{prefix}.squares": torch.from_numpy(self.squares.copy()),
        }

    @staticmethod
    def from_tensors(prefix: str, tensors: Mapping[str, Tensor]) -> "Sums":
        """From `to_tensors`.

        States from before Σy² was kept have labels of 0 and 1: it is the number of
        positives. With the policy ``soft`` some of theirs were one half: they count
        a little more than they should, as if labels were noisier than they are.

        Raises:
            TrainingError: Parts are missing, do not fit each other or are not finite.
        """
        hint = "The state is damaged: take the file from its run again."
        try:
            halves = tensors[f"{prefix}.grams"].numpy()
            group = tensors[f"{prefix}.group"].numpy()
            moments = tensors[f"{prefix}.moments"].numpy()
            kept = tensors.get(f"{prefix}.squares")
            squares = moments[..., -1] if kept is None else kept.numpy()
        except KeyError as error:
            raise TrainingError(f"the state has no part {error}", hint) from error
        size = moments.shape[-1]
        upper = np.triu_indices(size)
        fits = (
            moments.ndim == halves.ndim == 2
            and halves.shape[1] == len(upper[0])
            and group.shape == moments.shape[:1]
            and group.dtype == np.int64
            and halves.dtype == moments.dtype == squares.dtype == np.float64
            and squares.shape == group.shape
            and len(group) > 0
            and 0 <= int(group.min()) <= int(group.max()) < len(halves)
        )
        numbers = (halves, moments, squares)
        if not fits or not all(np.isfinite(one).all() for one in numbers):
            raise TrainingError(f"the {prefix} sums of the state do not fit", hint)
        grams = np.zeros((len(halves), size, size))
        grams[:, upper[0], upper[1]] = halves
        grams[:, upper[1], upper[0]] = halves
        if not _possible(grams, group, moments, squares):
            raise TrainingError(
                f"the {prefix} sums are of no images: a square is below 0, "
                "or a product is larger than the squares allow",
                hint,
            )
        return Sums(grams, group.copy(), moments.copy(), squares.copy())


def _possible(
    grams: Floats, group: npt.NDArray[np.int64], moments: Floats, squares: Floats
) -> bool:
    """Whether sums can be of any images: squares and Cauchy's inequality."""
    diagonal = np.einsum("gii->gi", grams)
    if (diagonal < 0).any() or (squares < 0).any():
        return False
    slack = 1 + 1e-9
    most = np.sqrt(diagonal[:, :, np.newaxis] * diagonal[:, np.newaxis, :])
    within = np.abs(grams) <= most * slack + 1e-12
    most_moment = np.sqrt(diagonal[group] * squares[:, np.newaxis])
    return bool(within.all() and (np.abs(moments) <= most_moment * slack + 1e-12).all())


def add_sums(one: Sums, other: Sums) -> Sums:
    """The sums of both sets of images.

    >>> group = np.zeros(3, dtype=np.int64)
    >>> sums = Sums(np.ones((1, 2, 2)), group, np.ones((3, 2)), np.ones(3))
    >>> add_sums(sums, sums).grams.tolist()
    [[[2.0, 2.0], [2.0, 2.0]]]
    """
    pairs, group = np.unique(
        np.stack([one.group, other.group]), axis=1, return_inverse=True
    )
    grams = np.stack(
        [one.grams[first] + other.grams[second] for first, second in pairs.T]
    )
    return Sums(
        grams,
        group.reshape(-1),
        one.moments + other.moments,
        one.squares + other.squares,
    )


def subtract_sums(one: Sums, other: Sums) -> Sums:
    """The sums of the images of one that are not in the other.

    Args:
        one: Sums of some images.
        other: Sums of a part of them.

    Raises:
        TrainingError: More is taken away than is there, or so much that what is left
            would be rounding.

    >>> group = np.zeros(1, dtype=np.int64)
    >>> part = Sums(np.ones((1, 2, 2)), group, np.ones((1, 2)), np.ones(1))
    >>> subtract_sums(add_sums(part, part), part).grams.tolist()
    [[[1.0, 1.0], [1.0, 1.0]]]
    """
    less = add_sums(
        one, Sums(-other.grams, other.group, -other.moments, -other.squares)
    )
    before = one.grams[one.group, -1, -1]
    counts = less.grams[less.group, -1, -1]
    if (counts < -1e-9 * before).any():
        raise TrainingError(
            "the state counts fewer images than are to be subtracted",
            "Was the contribution subtracted already, or is it another run's?",
        )
    empty = less.grams[:, -1, -1] <= 1e-9 * max(1.0, float(before.max(initial=0)))
    if (~empty & (less.grams[:, -1, -1] < 1e-6 * before.max(initial=0))).any():
        raise TrainingError(
            "so few images are left that their sums would be rounding",
            "Train again on what is left.",
        )
    # Of no images the sums are exactly nothing, whatever rounding has left.
    kept = ~empty[less.group]
    return Sums(
        np.where(empty[:, None, None], 0.0, less.grams),
        less.group,
        np.where(kept[:, None], less.moments, 0.0),
        np.where(kept, np.maximum(less.squares, 0.0), 0.0),
    )


def sum_rows(
    features_of: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.floating]],
    n_features: int,
    rows: npt.NDArray[np.int64],
    values: npt.NDArray[np.floating],
    mask: npt.NDArray[np.bool_],
    weights: npt.NDArray[np.floating] | None = None,
) -> Sums:
    """The sums of some images: one product for each distinct mask pattern.

    Args:
        features_of: Gives the features of some rows, shape (n, F), float.
        n_features: F.
        rows: Shape (n,).
        values: 0 or 1 where observed, or in between, shape (n, K).
        mask: Observed cells, shape (n, K).
        weights: How often each image counts, at least 0, shape (n,); None: once.
    """
    n_findings = mask.shape[1]
    if not mask.any():
        return Sums.none(n_findings, n_features)
    known, number = _patterns(mask)
    # Findings whose column over the patterns is the same have the same matrix.
    columns, group = np.unique(known, axis=1, return_inverse=True)
    group = group.reshape(-1)
    grams = np.zeros((columns.shape[1], n_features + 1, n_features + 1))
    moments = np.zeros((n_findings, n_features + 1))
    squares = np.zeros(n_findings)
    block = max(1, _BLOCK_VALUES // (n_features + 1))
    buffer = np.ones((block, n_features + 1))
    for members, chosen in _products(number, columns, n_features):
        mine = np.isin(group, members)
        total = np.zeros((n_features + 1, n_features + 1))
        often = None if weights is None else weights[chosen, None]
        for start in range(0, len(chosen), block):
            part = chosen[start : start + block]
            phi = buffer[: len(part)]
            phi[:, :-1] = features_of(rows[part])
            cells = np.ix_(part, mine)
            label = np.where(mask[cells], values[cells], 0).astype(np.float64)
            if often is None:
                counted = label
                total += phi.T @ phi
            else:
                weight = often[start : start + block]
                counted = label * weight
                # As a square, which is symmetric to the last bit, as states keep it.
                scaled = phi * np.sqrt(weight)
                total += scaled.T @ scaled
            squares[mine] += (counted * label).sum(axis=0)
            moments[mine] += counted.T @ phi
        grams[members] += total
    return Sums(grams, group, moments, squares)


def _patterns(
    mask: npt.NDArray[np.bool_],
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Distinct rows of a mask, shape (P, K), and which of them each row is.

    >>> _patterns(np.array([[True, False], [False, True], [True, False]]))[1].tolist()
    [1, 0, 1]
    """
    n_findings = mask.shape[1]
    packed = np.packbits(mask, axis=1)
    if n_findings <= _WORD_FINDINGS:  # numbers are sorted much faster than rows
        words = np.zeros((len(mask), _WORD_FINDINGS // 8), dtype=np.uint8)
        words[:, : packed.shape[1]] = packed
        _, first, number = np.unique(
            words.view(np.uint64)[:, 0], return_index=True, return_inverse=True
        )
    else:
        _, first, number = np.unique(
            packed, axis=0, return_index=True, return_inverse=True
        )
    return mask[first], number.reshape(-1)


def _products(
    number: npt.NDArray[np.int64],
    columns: npt.NDArray[np.bool_],
    n_features: int,
) -> Sequence[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Which matrices get the product of which rows.

    A pattern of many rows is multiplied once and added to all matrices it belongs to.
    Rows of rare patterns are multiplied for each matrix: adding a matrix costs more
    than they do.

    Args:
        number: Pattern of each row, shape (n,).
        columns: Patterns × matrices.
        n_features: F.
    """
    counts = np.bincount(number, minlength=len(columns))
    common = counts >= n_features
    order = np.argsort(number, kind="stable")
    ends = np.cumsum(counts)
    products = [
        (np.flatnonzero(columns[p]), order[ends[p] - counts[p] : ends[p]])
        for p in np.flatnonzero(common & columns.any(axis=1))
    ]
    rare = ~common[number]
    if rare.any():
        for column in range(columns.shape[1]):
            chosen = np.flatnonzero(rare & columns[number, column])
            if len(chosen):
                products.append((np.array([column]), chosen))
    return products
