"""Logistic regressions by the hundred on the same images: one matrix product for all.

Column j minimises Σ_i g_ij log(1 + exp(−s_ij·z_ij)) + λ_j/2·|w_j|², with z = Xw + b on
standardised features, s = ±1 the label, and g the weight of an image in that column; b
is free. Findings, strengths and folds are columns, so that a step of all of them is two
products with X. The steps are those of L-BFGS, begun with the curvature that the
features' covariance gives: near the minimum it is almost Newton's.
"""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

__all__ = ["Standard", "fit_columns", "linear_scores", "standardise"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Images that are multiplied at a time.
_BLOCK = 8192
_MEMORY = 10
_MAX_STEPS = 200
#: Eigenvalues below this share of the largest are rounding.
_FLAT = 1e-9


@dataclass(frozen=True)
class Standard:
    """Some images along the eigenvectors of their correlations.

    Attributes:
        turned: Standardised features times `vectors`, shape (n, R), float32.
        mean: Mean of the embeddings, shape (D,).
        deviation: Shape (D,); 1 where all are equal.
        values: Their mean squares, the eigenvalues, shape (R,).
        vectors: Eigenvectors in columns, shape (D, R); directions in which nothing
            varies are left out.
    """

    turned: npt.NDArray[np.float32]
    mean: Floats
    deviation: Floats
    values: Floats
    vectors: Floats


def standardise(embedding: npt.NDArray[np.floating], rows: Rows) -> Standard:
    """Means, deviations and correlations of some images.

    The images take 4·n·R bytes.

    Args:
        embedding: Shape (N, D), float16 or float32.
        rows: At least one, shape (n,).
    """
    dim, blocks = embedding.shape[1], range(0, len(rows), _BLOCK)
    first = embedding[rows[0]].astype(np.float64)  # near the mean: less is cancelled
    total, squares = np.zeros(dim), np.zeros(dim)
    for start in blocks:
        x = embedding[rows[start : start + _BLOCK]].astype(np.float64) - first
        total += x.sum(axis=0)
        squares += (x * x).sum(axis=0)
    shift = total / len(rows)
    variance = np.maximum(squares / len(rows) - shift**2, 0)
    deviation = np.where(variance > 1e-12, np.sqrt(variance), 1.0)
    mean = first + shift
    gram = np.zeros((dim, dim))
    plain = np.empty((len(rows), dim), dtype=np.float32)
    for start in blocks:
        x = (embedding[rows[start : start + _BLOCK]] - mean) / deviation
        plain[start : start + len(x)] = x
        if len(rows) > dim:
            gram += x.T @ x
    if len(rows) > dim:
        values, vectors = np.linalg.eigh(gram)
        kept = values > _FLAT * values[-1]
        vectors = vectors[:, kept]
    else:
        x = (embedding[rows] - mean) / deviation
        values, left = np.linalg.eigh(x @ x.T)
        kept = values > max(_FLAT * values[-1], 0)
        vectors = x.T @ left[:, kept] / np.sqrt(values[kept])
    turned = plain @ vectors.astype(np.float32)
    return Standard(turned, mean, deviation, values[kept] / len(rows), vectors)


def fit_columns(
    x: Standard,
    label: npt.NDArray[np.bool_],
    often: Floats,
    penalty: Floats,
    enough: float = 1e-8,
) -> tuple[Floats, Floats]:
    """Fit all columns at once.

    Args:
        x: The n images.
        label: Shape (n, J).
        often: g, at least 0, shape (n, J); each column has images of both classes.
        penalty: λ, above 0, shape (J,).
        enough: Half the squared length of about a Newton step, per unit of loss, at
            which a column ends.

    Returns:
        Weights of embeddings as they are, shape (D, J), and intercepts, shape (J,).
    """
    count = often.sum(axis=0)
    share = (often * label).sum(axis=0) / count
    curvature = count * share * (1 - share)
    # In units in which the curvature is about 1 in every direction.
    units = 1 / np.sqrt(curvature * x.values[:, None] + penalty)
    problem = _Problem(
        x.turned,
        np.where(label, np.float32(1), np.float32(-1)),
        often.astype(np.float32),
        penalty,
        np.vstack([units, 1 / np.sqrt(curvature)]),
    )
    start = np.zeros(problem.units.shape)
    start[-1] = np.log(share / (1 - share)) / problem.units[-1]
    solution = _minimise(problem, start, enough) * problem.units
    weights = x.vectors @ solution[:-1] / x.deviation[:, None]
    return weights, solution[-1] - x.mean @ weights


def linear_scores(
    embedding: npt.NDArray[np.floating], rows: Rows, weights: Floats
) -> npt.NDArray[np.float32]:
    """Products of some images with weights of shape (D, J): shape (n, J)."""
    scores = np.empty((len(rows), weights.shape[1]), dtype=np.float32)
    plain = weights.astype(np.float32)
    for start in range(0, len(rows), _BLOCK):
        part = slice(start, start + _BLOCK)
        scores[part] = embedding[rows[part]].astype(np.float32) @ plain
    return scores


@dataclass(frozen=True)
class _Problem:
    """Losses of J columns at positions of shape (R+1, J); the last row is b's.

    A position times `units` are weights along the eigenvectors, and b.
    """

    x: npt.NDArray[np.float32]
    sign: npt.NDArray[np.float32]
    often: npt.NDArray[np.float32]
    penalty: Floats
    units: Floats

    def loss(self, position: Floats, columns: Rows) -> tuple[Floats, Floats]:
        """Loss and gradient of some columns, shape (J',) and (R+1, J')."""
        units, penalty = self.units[:, columns], self.penalty[columns]
        weights = position * units
        plain = weights.astype(np.float32)
        loss = penalty / 2 * (weights[:-1] ** 2).sum(axis=0)
        gradient = np.zeros(position.shape)
        gradient[:-1] = penalty * weights[:-1]
        for start in range(0, len(self.x), _BLOCK):
            part = slice(start, start + _BLOCK)
            sign, often = self.sign[part][:, columns], self.often[part][:, columns]
            margin = self.x[part] @ plain[:-1]
            margin += plain[-1]
            margin *= sign
            small = np.exp(-np.abs(margin))
            losses = np.log1p(small) + np.maximum(-margin, 0)
            loss += (often * losses).sum(axis=0, dtype=np.float64)
            pull = often * sign * np.where(margin > 0, small, 1) / (1 + small)
            gradient[:-1] -= self.x[part].T @ pull
            gradient[-1] -= pull.sum(axis=0, dtype=np.float64)
        return loss, gradient * units


@dataclass
class _Past:
    """The last moves of all columns and how their gradients changed."""

    moves: list[Floats] = field(default_factory=list)
    changes: list[Floats] = field(default_factory=list)

    def remember(self, move: Floats, change: Floats) -> None:
        """Columns in which the gradient did not rise along the move have no entry."""
        fine = (move * change).sum(axis=0) > 1e-12 * (move**2).sum(axis=0)
        self.moves.append(np.where(fine, move, 0))
        self.changes.append(np.where(fine, change, 0))
        del self.moves[:-_MEMORY], self.changes[:-_MEMORY]

    def step(self, gradient: Floats) -> Floats:
        """Where L-BFGS goes (Nocedal & Wright, algorithm 7.4), column by column."""
        left = -gradient
        parts = []
        for move, change in zip(self.moves[::-1], self.changes[::-1], strict=True):
            product = (move * change).sum(axis=0)
            weight = _over((move * left).sum(axis=0), product)
            left = left - weight * change
            parts.append((weight, move, change, product))
        for weight, move, change, product in parts[::-1]:
            back = _over((change * left).sum(axis=0), product)
            left = left + (weight - back) * move
        return left

    def of(self, columns: npt.NDArray[np.bool_]) -> "_Past":
        """Of some columns."""
        return _Past(
            [one[:, columns] for one in self.moves],
            [one[:, columns] for one in self.changes],
        )


def _over(one: Floats, other: Floats) -> Floats:
    return np.divide(one, other, out=np.zeros_like(one), where=other > 0)


def _minimise(problem: _Problem, start: Floats, enough: float) -> Floats:
    """Positions at which no column has anything to gain."""
    solution = start.copy()
    columns = np.arange(start.shape[1])
    here, past = start, _Past()
    loss, gradient = problem.loss(here, columns)
    for _ in range(_MAX_STEPS):
        left = 0.5 * (gradient**2).sum(axis=0) > enough * np.maximum(loss, 1)
        solution[:, columns] = here
        if not left.any():
            break
        columns, past = columns[left], past.of(left)
        here, loss, gradient = here[:, left], loss[left], gradient[:, left]
        step = past.step(gradient)
        slope = (step * gradient).sum(axis=0)
        length = np.ones(len(columns))
        new = here + step
        new_loss, new_gradient = problem.loss(new, columns)
        for _ in range(20):
            # Losses are sums of float32: what they cannot show is no rise.
            high = new_loss > loss + 1e-4 * length * slope + 1e-6 * np.abs(loss)
            if not high.any():
                break
            length[high] /= 4
            new[:, high] = (here + length * step)[:, high]
            again = problem.loss(new[:, high], columns[high])
            new_loss[high], new_gradient[:, high] = again
        past.remember(new - here, new_gradient - gradient)
        here, loss, gradient = new, new_loss, new_gradient
    solution[:, columns] = here
    return solution
