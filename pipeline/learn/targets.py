"""Label states become targets and a mask of what was observed."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

__all__ = ["BlankPolicy", "Targets", "UncertainPolicy", "make_targets"]

UncertainPolicy = Literal["zeros", "ones", "ignore"]
BlankPolicy = Literal["negative", "ignore"]


@dataclass(frozen=True)
class Targets:
    """What a model is to predict.

    Attributes:
        value: Shape (N, K), float32, 0 or 1; 0 where nothing was observed.
        observed: Shape (N, K), bool; only these cells enter a loss or a figure.
    """

    value: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]


def make_targets(
    states: npt.NDArray[np.int8],
    uncertain: UncertainPolicy = "ignore",
    blank: BlankPolicy = "negative",
) -> Targets:
    """Apply the label policies.

    Args:
        states: Shape (N, K), codes of `retune.store.label_states`.
        uncertain: Count uncertain cells as negative (``zeros``), as positive
            (``ones``), or leave them out (``ignore``).
        blank: Count findings that were not mentioned as ``negative``, or leave them
            out (``ignore``). Findings that the image's dataset never labels are
            always left out.

    Raises:
        ConfigurationError: A policy is unknown.

    >>> targets = make_targets(np.array([[1, 0, -1, -2]], dtype=np.int8))
    >>> targets.value.tolist(), targets.observed.tolist()
    ([[1.0, 0.0, 0.0, 0.0]], [[True, True, False, True]])
    """
    for name, value, known in (
        ("uncertain", uncertain, get_args(UncertainPolicy)),
        ("blank", blank, get_args(BlankPolicy)),
    ):
        if value not in known:
            raise ConfigurationError(
                f"unknown policy --{name} {value}", f"Use one of {', '.join(known)}."
            )
    positive = states == POSITIVE
    observed = positive | (states == NEGATIVE)
    if uncertain != "ignore":
        observed |= states == UNCERTAIN
    if uncertain == "ones":
        positive = positive | (states == UNCERTAIN)
    if blank == "negative":
        observed |= states == ABSENT
    return Targets(positive.astype(np.float32), observed)
