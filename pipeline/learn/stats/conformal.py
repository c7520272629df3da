"""Sets of answers that hold the right one as often as was asked for.

Split conformal prediction, for each finding and each class by itself (Vovk 2012): the
answer "positive" is in an image's set unless its probability is lower than that of all
but a few positive validation images, and "negative" unless it is higher than that of
all but a few negative ones. New images that are exchangeable with those of validation
then have the right answer in their set with at least the coverage that was asked for,
among positives and among negatives. Nothing is assumed of the model.
"""

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError

from .metrics import Array, Floats, Mask

__all__ = ["ConformalRule", "conformal_rule"]


@dataclass(frozen=True)
class ConformalRule:
    """Limits of K findings for one coverage.

    Attributes:
        coverage: That was asked for, within (0, 1).
        least_positive: From which probability "positive" is in the set, shape (K,);
            0 where validation has too few positives to leave it out of any set.
        most_negative: Up to which probability "negative" is in it, shape (K,); 1 where
            validation has too few negatives.
    """

    coverage: float
    least_positive: Floats
    most_negative: Floats

    def answers(self, probability: Array) -> tuple[Mask, Mask]:
        """Whether "positive" and whether "negative" is in the set, both (n, K).

        Args:
            probability: Shape (n, K).
        """
        wide = np.asarray(probability, dtype=np.float64)
        return wide >= self.least_positive, wide <= self.most_negative

    def words(self, probability: Array) -> npt.NDArray[np.str_]:
        """The set as a word: positive, negative, either or neither; shape (n, K).

        >>> rule = ConformalRule(0.9, np.array([0.3]), np.array([0.6]))
        >>> rule.words(np.array([[0.1], [0.5], [0.9]]))[:, 0].tolist()
        ['negative', 'either', 'positive']
        """
        positive, negative = self.answers(probability)
        return np.where(
            positive,
            np.where(negative, "either", "positive"),
            np.where(negative, "negative", "neither"),
        )

    def covered(self, probability: Array, targets: Array, observed: Mask) -> Floats:
        """Share of images whose set holds the right answer, shape (K,).

        NaN where nothing was observed.

        Args:
            probability: Shape (n, K).
            targets: Shape (n, K), 0 or 1.
            observed: Shape (n, K), bool.
        """
        positive, negative = self.answers(probability)
        right = np.where(targets > 0, positive, negative) & observed
        return _share(right, observed)

    def single(self, probability: Array, observed: Mask) -> Floats:
        """Share of images whose set has one answer, shape (K,): how much it tells."""
        positive, negative = self.answers(probability)
        return _share((positive != negative) & observed, observed)

    def columns(self, places: list[int]) -> Self:
        """The same for some findings, in the order given."""
        parts = (self.least_positive[places], self.most_negative[places])
        return type(self)(self.coverage, *parts)


def _share(some: npt.NDArray[Any], of: Mask) -> Floats:
    n = of.sum(axis=0)
    share: Floats = np.full(of.shape[1], np.nan)
    np.divide(some.sum(axis=0), n, out=share, where=n > 0)
    return share


def conformal_rule(
    probability: Array, targets: Array, observed: Mask, coverage: float
) -> ConformalRule:
    """Limits from validation images.

    Of n positive images, ⌊(n + 1)(1 − coverage)⌋ − 1 lie below the limit for
    "positive"; if that is below 0, no image can be told not to be positive, and the
    answer is in every set. The same, turned round, for "negative".

    Args:
        probability: Probability of the n validation images, shape (n, K).
        targets: Shape (n, K), 0 or 1.
        observed: Shape (n, K), bool.
        coverage: Within (0, 1).

    Raises:
        ConfigurationError: The coverage is not within (0, 1).

    >>> p = np.linspace(0.05, 0.95, 19)[:, None]
    >>> rule = conformal_rule(p, p > 0.5, np.ones((19, 1), dtype=bool), 0.8)
    >>> rule.least_positive.round(2).tolist(), rule.most_negative.round(2).tolist()
    ([0.6], [0.45])
    """
    if not 0 < coverage < 1:
        raise ConfigurationError(
            f"`coverage` {coverage:g} is not between 0 and 1", "Use 0.9, for example."
        )
    n_findings = targets.shape[1]
    least, most = np.zeros(n_findings), np.ones(n_findings)
    for k in range(n_findings):
        seen = observed[:, k]
        score = probability[seen, k].astype(np.float64)
        positive = targets[seen, k] > 0
        least[k] = _lowest(score[positive], coverage, 0.0)
        most[k] = -_lowest(-score[~positive], coverage, -1.0)
    return ConformalRule(coverage, least, most)


def _lowest(score: Floats, coverage: float, without: float) -> float:
    """The score that all but the allowed share of further ones like these reach."""
    # Rounding must not turn (n + 1)(1 - coverage) = 1 into 0.999.
    if np.isnan(score).any():  # nothing is known of these images
        return without
    allowed = int(np.floor((len(score) + 1) * (1 - coverage) + 1e-9))
    return float(np.sort(score)[allowed - 1]) if allowed else without
