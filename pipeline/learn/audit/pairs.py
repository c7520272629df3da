"""Images whose vectors are closer than those of different patients ever are."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Pairs", "expected_limit", "near_pairs", "whitened"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Share of the mean variance that every direction has at least.
_FLOOR = 0.1
_BLOCK = 2048
#: Images among which pairs are drawn to see how far apart different patients are.
_SAMPLE = 2000
#: Of the normal distribution: what one in a thousand, and one in a million, exceeds.
_THOUSANDTH, _MILLIONTH = 3.0902, 4.7534


@dataclass(frozen=True)
class Pairs:
    """Pairs of images, the closest first.

    Attributes:
        first: Row of one image, shape (n,).
        second: Row of the other, above `first`.
        cosine: Cosine of their whitened vectors, shape (n,), float32, falling.
        limit: What all of them reach.
    """

    first: Rows
    second: Rows
    cosine: npt.NDArray[np.float32]
    limit: float


def whitened(embedding: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    """Vectors in which every direction of the images counts alike, of length 1.

    Vectors of one backbone lie in a narrow cone: what all radiographs have in common
    would outweigh what sets two apart.

    Args:
        embedding: Shape (N, D); N at least 2.

    Returns:
        Shape (N, D).
    """
    blocks = [embedding[at : at + _BLOCK] for at in range(0, len(embedding), _BLOCK)]
    first = embedding[0].astype(np.float64)
    total = sum((one - first).sum(axis=0) for one in blocks)
    mean = first + np.asarray(total, dtype=np.float64) / len(embedding)
    covariance = np.zeros((embedding.shape[1],) * 2)
    for one in blocks:
        about = one - mean
        covariance += about.T @ about / len(embedding)
    values, vectors = np.linalg.eigh(covariance)
    middle = values.mean()
    if middle <= 0:
        return np.zeros(embedding.shape, dtype=np.float32)
    turn = vectors / np.sqrt(np.maximum(values, 0) + _FLOOR * middle)
    white_rows = np.empty(embedding.shape, dtype=np.float32)
    for at, one in zip(range(0, len(embedding), _BLOCK), blocks, strict=True):
        white = (one - mean) @ turn
        length = np.linalg.norm(white, axis=1, keepdims=True)
        white_rows[at : at + len(one)] = white / np.maximum(length, 1e-12)
    return white_rows


def expected_limit(white: npt.NDArray[np.float32], patient: Rows, seed: int) -> float:
    """The cosine that about one in a million pairs of different patients exceeds.

    What one in a thousand exceeds is seen in a sample; from there on the cosines are
    taken to fall off as those of a normal distribution do.

    Args:
        white: Shape (N, D), of length 1.
        patient: Number of each image's patient, shape (N,).
        seed: Seed of the sample.
    """
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(white))[:_SAMPLE]
    cosine = white[chosen] @ white[chosen].T
    apart = patient[chosen][:, None] != patient[chosen]
    if not apart.any():
        return 1.0
    middle, far = np.quantile(cosine[apart], [0.5, 0.999])
    return float(min(middle + (far - middle) * _MILLIONTH / _THOUSANDTH, 0.999))


def near_pairs(
    white: npt.NDArray[np.float32], patient: Rows, limit: float | None, most: int = 10
) -> Pairs:
    """All pairs that reach a limit; of one image the `most` closest others.

    Products are taken in blocks: N²·D/2 multiplications, and memory for 2,048 · N
    numbers.

    Args:
        white: Vectors of length 1, shape (N, D).
        patient: Number of each image's patient, shape (N,).
        limit: Least cosine; None: `expected_limit`.
        most: Pairs of one image with later ones.
    """
    if limit is None:
        limit = expected_limit(white, patient, seed=0)
    firsts, seconds, cosines = [], [], []
    for start in range(0, len(white), _BLOCK):
        cosine = white[start : start + _BLOCK] @ white[start:].T
        cosine[np.tril_indices(len(cosine), m=cosine.shape[1])] = -2
        for row in np.flatnonzero((cosine >= limit).any(axis=1)):
            near = np.flatnonzero(cosine[row] >= limit)
            near = near[np.argsort(-cosine[row, near], kind="stable")[:most]]
            firsts.append(np.full(len(near), start + row))
            seconds.append(start + near)
            cosines.append(cosine[row, near])
    nothing = np.zeros(0)
    first = np.concatenate([*firsts, nothing]).astype(np.int64)
    second = np.concatenate([*seconds, nothing]).astype(np.int64)
    cosine = np.concatenate([*cosines, nothing]).astype(np.float32)
    order = np.lexsort((second, first, -cosine))
    return Pairs(first[order], second[order], cosine[order], limit)
