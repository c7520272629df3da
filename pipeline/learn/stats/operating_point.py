"""From which probability a finding is called positive, and where that comes from."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError

from .metrics import Array, Floats, Mask
from .ranking import rank

__all__ = ["UNTUNED", "OperatingPoint", "ThresholdOrigin", "choose_thresholds"]

#: The threshold where no validation label could tune one.
UNTUNED = 0.5
_WITH_TARGET = ("sensitivity", "specificity")
_ALONE = ("f1", "youden")
_HINT = "Use f1, youden, sensitivity=0.9 or specificity=0.9."


@dataclass(frozen=True)
class OperatingPoint:
    """A rule for choosing a threshold on validation images.

    - ``f1``: the threshold with the best F1.
    - ``youden``: that with the largest sensitivity + specificity.
    - ``sensitivity=S``: the highest threshold with at least this sensitivity.
    - ``specificity=S``: the lowest threshold with at least this specificity.

    Of equally good thresholds the highest is taken.

    Attributes:
        rule: ``f1``, ``youden``, ``sensitivity`` or ``specificity``.
        target: Target of the last two, within (0, 1]; 0 for the others.
    """

    rule: str = "f1"
    target: float = 0.0

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read what `str` gives.

        Raises:
            ConfigurationError: It is none of the four.

        >>> str(OperatingPoint.parse("sensitivity=0.9"))
        'sensitivity=0.9'
        """
        rule, equals, value = (part.strip() for part in text.partition("="))
        if rule in _ALONE and not equals:
            return cls(rule)
        try:
            target = float(value) if rule in _WITH_TARGET else 0.0
        except ValueError:
            target = 0.0
        if not 0 < target <= 1:
            raise ConfigurationError(f"`operating_point` {text} is unknown", _HINT)
        return cls(rule, target)

    def __str__(self) -> str:
        return f"{self.rule}={self.target:g}" if self.target else self.rule

    def threshold(self, score: Floats, positive: Mask) -> float | None:
        """The threshold for one finding; None if these labels cannot tell.

        Args:
            score: Score of n images, shape (n,).
            positive: Shape (n,).

        >>> score, positive = np.array([0.1, 0.2, 0.6, 0.9]), np.array([0, 1, 0, 1]) > 0
        >>> OperatingPoint("sensitivity", 1.0).threshold(score, positive)
        0.2
        >>> OperatingPoint("specificity", 0.9).threshold(score, positive)
        0.9
        """
        n_positive = int(positive.sum())
        n_negative = len(positive) - n_positive
        needs_positives, needs_negatives = self._needs()
        if (needs_positives and not n_positive) or (needs_negatives and not n_negative):
            return None
        threshold, true, false = rank(score, positive).from_the_top()
        if self.rule == "f1":
            return float(threshold[np.argmax(2 * true / (true + false + n_positive))])
        if self.rule == "youden":
            gain = true / n_positive - false / n_negative
            return float(threshold[np.argmax(gain)])
        if self.rule == "sensitivity":
            enough = true >= self.target * n_positive - 1e-9
            return float(threshold[np.argmax(enough)])
        allowed = false <= (1 - self.target) * n_negative + 1e-9
        if not allowed[0]:  # even the highest score calls too many: call none of these
            return float(np.nextafter(threshold[0], np.inf))
        return float(threshold[np.flatnonzero(allowed)[-1]])

    def _needs(self) -> tuple[bool, bool]:
        """Whether labels of each class are needed."""
        return self.rule != "specificity", self.rule in ("youden", "specificity")


@dataclass(frozen=True)
class ThresholdOrigin:
    """Where the threshold of a finding comes from.

    Attributes:
        operating_point: The rule that chose it, as text; empty where nothing could,
            so that it is 0.5.
        n_positive: Positive validation images that it was chosen on; -1: not known,
            for runs that are older than this record.
        n_negative: Negative ones.
        datasets: Datasets of these images.
        transferred: Whether it is used on images of another dataset.
    """

    operating_point: str
    n_positive: int = -1
    n_negative: int = -1
    datasets: tuple[str, ...] = ()
    transferred: bool = False

    @property
    def source(self) -> str:
        """``validation``, ``transferred`` or, without validation labels, ``default``.

        >>> ThresholdOrigin("").source
        'default'
        """
        if not self.operating_point:
            return "default"
        return "transferred" if self.transferred else "validation"

    def __str__(self) -> str:
        if not self.operating_point:
            return "default: no validation labels to choose by"
        counts = ""
        if self.n_positive >= 0:
            counts = f", {self.n_positive} positive of {self.n_images}"
        of = f" of {'+'.join(self.datasets)}" if self.datasets else ""
        text = f"{self.operating_point} on validation{of}{counts}"
        return f"transferred: {text}" if self.transferred else text

    @property
    def n_images(self) -> int:
        """Validation images that it was chosen on."""
        return self.n_positive + self.n_negative

    @classmethod
    def before(cls, threshold: float) -> Self:
        """Of a run from before origins were kept, whose untuned thresholds were 0.5.

        >>> ThresholdOrigin.before(0.5).source, ThresholdOrigin.before(0.4).source
        ('default', 'validation')
        """
        return cls("" if threshold == UNTUNED else "f1")

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """From the fields as JSON has them.

        Raises:
            TypeError: They are others.
        """
        point = cls(**content)
        return replace(point, datasets=tuple(point.datasets))


def choose_thresholds(
    point: OperatingPoint,
    probability: Array,
    targets: Array,
    observed: Mask,
    datasets: Sequence[str] = (),
) -> tuple[Floats, tuple[ThresholdOrigin, ...]]:
    """A threshold for each finding, chosen on validation images.

    Args:
        point: The rule.
        probability: Probability of the n validation images, shape (n, K).
        targets: Shape (n, K), 0 or 1.
        observed: Shape (n, K), bool.
        datasets: That the images are of.

    Returns:
        Thresholds, shape (K,), 0.5 where these labels cannot tell; and their origins.
    """
    thresholds = np.full(targets.shape[1], UNTUNED)
    origins = []
    for k in range(targets.shape[1]):
        seen = observed[:, k]
        positive: npt.NDArray[np.bool_] = targets[seen, k] > 0
        score = probability[seen, k].astype(np.float64)
        known = not np.isnan(score).any()
        threshold = point.threshold(score, positive) if known else None
        if threshold is not None:
            thresholds[k] = threshold
        n_positive = int(positive.sum())
        origins.append(
            ThresholdOrigin(
                "" if threshold is None else str(point),
                n_positive,
                len(positive) - n_positive,
                tuple(datasets),
            )
        )
    return thresholds, tuple(origins)
