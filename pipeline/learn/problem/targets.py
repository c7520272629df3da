"""Label states become targets and a mask of what was observed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal, get_args

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

__all__ = [
    "PER_FINDING",
    "SOFT_TARGET",
    "BlankPolicy",
    "Targets",
    "UncertainPolicy",
    "make_targets",
]

UncertainPolicy = Literal["zeros", "ones", "ignore", "soft", "per-finding"]
BlankPolicy = Literal["negative", "ignore"]

#: What ``soft`` makes of an uncertain cell of a training image.
SOFT_TARGET: Final = 0.5
#: What ``per-finding`` makes of uncertain cells: the map that is usual for CheXpert's
#: five competition findings (Irvin et al., AAAI 2019, table 3, chose ones for the first
#: two); all others are ignored.
PER_FINDING: Final[Mapping[str, str]] = MappingProxyType(
    {
        "Atelectasis": "ones",
        "Edema": "ones",
        "Cardiomegaly": "zeros",
        "Consolidation": "zeros",
        "Pleural Effusion": "zeros",
    }
)


@dataclass(frozen=True)
class Targets:
    """What a model is to predict.

    Attributes:
        value: Shape (N, K), float32, 0 or 1; `SOFT_TARGET` for uncertain cells of
            training images if the policy is ``soft``; 0 where nothing was observed.
        observed: Shape (N, K), bool; only these cells enter a loss or a figure.
    """

    value: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]


def make_targets(
    states: npt.NDArray[np.int8],
    uncertain: UncertainPolicy = "ignore",
    blank: BlankPolicy = "negative",
    *,
    findings: Sequence[str] = (),
    training: npt.NDArray[np.bool_] | None = None,
) -> Targets:
    """Apply the label policies.

    Args:
        states: Shape (N, K), codes of `retune.store.label_states`.
        uncertain: Count uncertain cells as negative (``zeros``), as positive
            (``ones``), or leave them out (``ignore``); ``soft``: half of each in
            training, left out of figures; ``per-finding``: by `PER_FINDING`.
        blank: Count findings that were not mentioned as ``negative``, or leave them
            out (``ignore``). Findings that the image's dataset never labels are
            always left out.
        findings: K names; only ``per-finding`` looks at them.
        training: Shape (N,): the images that are trained on; only ``soft`` looks at it.
            None: none are.

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
                f"unknown policy `{name}` {value}", f"Use one of {', '.join(known)}."
            )
    positive = states == POSITIVE
    value = positive.astype(np.float32)
    observed = positive | (states == NEGATIVE)
    unsure = states == UNCERTAIN
    if uncertain == "soft":
        unsure &= False if training is None else training[:, np.newaxis]
        value[unsure] = SOFT_TARGET
        observed |= unsure
    else:
        rule = np.array(
            [PER_FINDING.get(name, "ignore") for name in findings]
            if uncertain == "per-finding"
            else [uncertain] * states.shape[1]
        )
        value[unsure & (rule == "ones")] = 1.0
        observed |= unsure & (rule != "ignore")
    if blank == "negative":
        observed |= states == ABSENT
    return Targets(value, observed)
