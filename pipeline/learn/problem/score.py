"""The score that figures are of: s⁺ − s⁻, or s⁺ alone as the reference has it.

Losses and decisions are always of s⁺ − s⁻ (METHOD §2 of the project's design).
"""

from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from retune.store.errors import ConfigurationError

from ..problem.prediction import Prediction

__all__ = ["SCORES", "Score", "check_score", "with_score"]

Score = Literal["difference", "positive"]
SCORES = get_args(Score)


def check_score(score: str) -> None:
    """Refuse a name that is none.

    Raises:
        ConfigurationError: It is unknown.
    """
    if score not in SCORES:
        raise ConfigurationError(
            f"unknown --score {score}", f"Use one of {', '.join(SCORES)}."
        )


def with_score(prediction: Prediction, score: str, method: str) -> Prediction:
    """The prediction with this score in the place of s⁺ − s⁻.

    Args:
        prediction: As the model gives it.
        score: One of `SCORES`.
        method: For the message.

    Raises:
        ConfigurationError: The model has no such score.
    """
    if score == "difference":
        return prediction
    if np.isnan(prediction.positive).any():
        raise ConfigurationError(
            f"method {method} has no score s+", "Use --score difference."
        )
    return replace(prediction, difference=prediction.positive)
