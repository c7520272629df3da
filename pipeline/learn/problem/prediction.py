"""Scores of images, as arrays."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Prediction"]


@dataclass(frozen=True)
class Prediction:
    """Scores of N images for K findings.

    Attributes:
        difference: s⁺ − s⁻, shape (N, K), within [−2, 2].
        positive: s⁺, shape (N, K), within [−1, 1].
        probability: Sigmoid of the logit, shape (N, K). It is calibrated no better than
            training made it.
    """

    difference: npt.NDArray[np.float32]
    positive: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]
