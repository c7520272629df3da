"""Scores of images, as arrays."""

from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError

__all__ = ["SCORES", "Prediction", "Score", "check_score"]

#: What AUROC ranks images by: s⁺ − s⁻, or s⁺ alone as the reference's code does.
#: Losses and decisions always use s⁺ − s⁻.
Score = Literal["difference", "positive"]
SCORES = get_args(Score)


@dataclass(frozen=True)
class Prediction:
    """Scores of N images for K findings.

    Attributes:
        difference: s⁺ − s⁻, shape (N, K), within [−2, 2].
        positive: s⁺, shape (N, K), within [−1, 1]; NaN where a method has none.
        probability: Calibrated on validation, shape (N, K).
        ranked_by: Which of the two scores AUROC is computed from.
        uncertainty: Standard deviation of `difference` for lack of training images like
            this one, shape (N, K); NaN for findings without labels of both classes.
            None if it was not asked for, or the method knows none.
        distance: From the images trained on, shape (N,), about 1 for one of them; None
            as above.
        out_of_distribution: Whether that is further than all but a stated share of
            validation images are, shape (N,), bool; None as above.
    """

    difference: npt.NDArray[np.float32]
    positive: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]
    ranked_by: Score = "difference"
    uncertainty: npt.NDArray[np.float32] | None = None
    distance: npt.NDArray[np.float32] | None = None
    out_of_distribution: npt.NDArray[np.bool_] | None = None

    @classmethod
    def none(cls, shape: tuple[int, ...]) -> "Prediction":
        """Nothing is known of N images and K findings: NaN.

        >>> Prediction.none((1, 2)).score.tolist()
        [[nan, nan]]
        """
        nothing = np.full(shape, np.nan, dtype=np.float32)
        return cls(nothing, nothing, nothing)

    @property
    def score(self) -> npt.NDArray[np.float32]:
        """The score that AUROC is computed from, shape (N, K).

        >>> one = np.zeros((1, 1), dtype=np.float32)
        >>> Prediction(one, one + 1, one, "positive").score.tolist()
        [[1.0]]
        """
        return self.positive if self.ranked_by == "positive" else self.difference

    def ranking_by(self, score: Score, method: str) -> "Prediction":
        """The same scores, ranked by one of them.

        Args:
            score: One of `SCORES`.
            method: For the message.

        Raises:
            ConfigurationError: The method does not give this score.
        """
        if score == "positive" and np.isnan(self.positive).any():
            raise ConfigurationError(
                f"method {method} gives no score s+", "Use score `difference`."
            )
        return replace(self, ranked_by=score)

    def image(self, row: int) -> "Prediction":
        """The scores of one image, as a table of one row."""

        def one(values: npt.NDArray[Any] | None) -> Any:
            return None if values is None else values[row : row + 1]

        return Prediction(
            self.difference[row : row + 1],
            self.positive[row : row + 1],
            self.probability[row : row + 1],
            self.ranked_by,
            one(self.uncertainty),
            one(self.distance),
            one(self.out_of_distribution),
        )

    def columns(self, places: list[int]) -> "Prediction":
        """The same for some findings, in the order given."""
        spread = self.uncertainty
        return replace(
            self,
            difference=self.difference[:, places],
            positive=self.positive[:, places],
            probability=self.probability[:, places],
            uncertainty=None if spread is None else spread[:, places],
        )


def check_score(score: str) -> None:
    """Refuse an unknown name.

    Raises:
        ConfigurationError: The name is none of `SCORES`.
    """
    if score not in SCORES:
        raise ConfigurationError(
            f"unknown `score` {score}", f"Use one of {', '.join(SCORES)}."
        )
