"""Scores of one finding, sorted once: what every figure of ranks follows from."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Ranking", "rank", "rank_findings"]

Array = npt.NDArray[np.floating]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Ranking:
    """n images by rising score, in G groups of equal score.

    Attributes:
        scores: Scores of each group, shape (G,), rising.
        positives: Positive images of each group, shape (G,).
        negatives: The same of negative ones.
        group: Group of each image, in the order that was given, shape (n,).
        positive: Whether each image is positive, shape (n,).
    """

    scores: Array
    positives: Counts
    negatives: Counts
    group: Counts
    positive: Mask

    @property
    def n_positive(self) -> int:
        """Positive images."""
        return int(self.positives.sum())

    @property
    def n_negative(self) -> int:
        """Negative images."""
        return int(self.negatives.sum())

    @property
    def has_both(self) -> bool:
        """Whether there are images of both classes."""
        return self.n_positive > 0 and self.n_negative > 0

    def placements(self) -> tuple[Floats, Floats]:
        """Placement values of the positive and of the negative images, in their order.

        That of a positive image is the share of negatives below it, that of a negative
        one the share of positives above it; ties count one half.

        >>> ranking = rank(np.array([0.1, 0.4, 0.4, 0.9]), np.array([0, 1, 0, 1]) > 0)
        >>> of_positives, of_negatives = ranking.placements()
        >>> of_positives.tolist(), of_negatives.tolist()
        ([0.75, 1.0], [1.0, 0.75])
        """
        below = np.cumsum(self.negatives) - self.negatives / 2
        above = self.n_positive - np.cumsum(self.positives) + self.positives / 2
        return (
            (below / self.n_negative)[self.group[self.positive]],
            (above / self.n_positive)[self.group[~self.positive]],
        )

    def auroc(self) -> float:
        """How often a positive outscores a negative; NaN if there is one class only."""
        if not self.has_both:
            return float("nan")
        below = np.cumsum(self.negatives) - self.negatives / 2
        pairs = self.n_positive * self.n_negative
        return float((self.positives * below).sum() / pairs)

    def from_the_top(self) -> tuple[Array, Counts, Counts]:
        """Scores, falling, with true and false positives at or above each."""
        return (
            self.scores[::-1],
            np.cumsum(self.positives[::-1]),
            np.cumsum(self.negatives[::-1]),
        )


def rank(score: Array, positive: Mask) -> Ranking:
    """Sort images by score.

    Args:
        score: Shape (n,), without NaN.
        positive: Shape (n,).

    >>> ranking = rank(np.array([3.0, 1.0, 3.0]), np.array([True, False, False]))
    >>> ranking.scores.tolist(), ranking.positives.tolist(), ranking.group.tolist()
    ([1.0, 3.0], [0, 1], [1, 0, 1])
    """
    order = np.argsort(score)  # equal scores are one group, in whichever order
    ordered = score[order]
    begins = np.r_[True, ordered[1:] != ordered[:-1]][: len(order)]
    starts = np.flatnonzero(begins)
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(begins) - 1
    sizes = np.diff(starts, append=len(order))
    hits = positive[order].astype(np.int64)
    positives = np.add.reduceat(hits, starts) if len(starts) else hits
    return Ranking(ordered[starts], positives, sizes - positives, group, positive)


def rank_findings(
    scores: Array, targets: Array, observed: Mask
) -> list[Ranking | None]:
    """The observed images of each finding, sorted; None if a score is NaN.

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
    """
    rankings: list[Ranking | None] = []
    for k in range(targets.shape[1]):
        seen = observed[:, k]
        score = scores[seen, k]
        missing = bool(np.isnan(score).any())
        rankings.append(None if missing else rank(score, targets[seen, k] > 0))
    return rankings
