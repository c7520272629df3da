"""What a method is: something that learns tasks one after the other.

To add one, write a class with these members in one file and enter it in `METHODS`, or
name it in the entry-point group ``retune.methods`` of your package. The contract suite
in tests/pipeline/learn/methods/test_method_contract.py says what it must hold.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor

from retune.store.errors import ConfigurationError

from .config import TrainConfig
from .features import Features, Prompts
from .scenarios import Task
from .targets import Targets

__all__ = [
    "FamiliarModel",
    "Method",
    "Model",
    "Problem",
    "Scores",
    "read_options",
]

#: Difference, positive and probability, each of shape (B, K).
Scores = tuple[Tensor, Tensor, Tensor]
_Options = TypeVar("_Options")


@dataclass(frozen=True)
class Problem:
    """What a method works on; it reads test rows nowhere.

    Attributes:
        features: N images of D numbers with K findings.
        prompts: Descriptions of the K findings.
        targets: Targets of the N images. Of training rows only cells that a task shows
            may be looked at; of validation rows only findings that a task showed.
        config: How to learn.
        device: Where the arithmetic is done.
    """

    features: Features
    prompts: Prompts
    targets: Targets
    config: TrainConfig
    device: torch.device


class Model(Protocol):
    """What scores images; a `torch.nn.Module` in practice."""

    def scores(self, x: Tensor) -> Scores:
        """Scores of embeddings of shape (B, D): difference, positive, probability."""

    def state_dict(self) -> dict[str, Tensor]:
        """All that scoring needs, as tensors."""

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> object:
        """Take what `state_dict` gave."""

    def eval(self) -> object:
        """Be ready to score."""


@runtime_checkable
class FamiliarModel(Protocol):
    """A model that also knows how far to trust itself."""

    def uncertainty(self, x: Tensor) -> Tensor:
        """Standard deviation of the difference, shape (B, K), for x of (B, D)."""

    def distance(self, x: Tensor) -> Tensor:
        """From the images trained on, shape (B,); NaN if nothing was trained on."""

    def unlike_seen(self, distance: Tensor) -> Tensor:
        """Whether such distances are unlike those seen, shape (B,), bool."""


class Method(Protocol):
    """Learns tasks one after the other."""

    @property
    def model(self) -> Model:
        """Scores images with what has been learned so far."""

    def __init__(self, problem: Problem) -> None: ...

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> Model:
        """An untrained model that `load_state_dict` can fill."""

    def learn(self, task: Task) -> None:
        """Learn one task; only its observed cells may have an influence.

        Raises:
            TrainingError: It cannot be learned.
        """

    def state(self) -> dict[str, Tensor]:
        """All that is needed to go on learning, as tensors.

        Names that begin with ``local.`` are of use with the same images only: they are
        kept to resume an interrupted run, and left out of the file that can be carried
        elsewhere.
        """

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state of the same method, options and findings.

        Raises:
            TrainingError: The state does not fit.
        """


def read_options(
    options_type: type[_Options], config: TrainConfig, method: str
) -> _Options:
    """A method's options, from `TrainConfig.options`.

    Args:
        options_type: A dataclass whose fields all have defaults.
        config: With the options given.
        method: For messages.

    Raises:
        ConfigurationError: An option is unknown or its value of the wrong kind.

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Options:
    ...     budget: int = 500
    >>> read_options(Options, TrainConfig(options={"budget": 20.0}), "replay").budget
    20
    """
    defaults = vars(options_type())
    known = [field.name for field in fields(options_type)]  # type: ignore[arg-type]  # a dataclass
    given: dict[str, object] = {}
    for name, value in config.options.items():
        if name not in defaults:
            raise ConfigurationError(
                f"method {method} has no option '{name}'",
                f"It has {', '.join(known) or 'none'}.",
            )
        wanted = type(defaults[name])
        try:
            given[name] = wanted(value)
            exact = wanted is str or float(given[name]) == float(value)  # type: ignore[arg-type]  # a number
        except (TypeError, ValueError, OverflowError):
            exact = False
        if not exact:
            raise ConfigurationError(
                f"{name}={value} is no {_WORDS[wanted]}",
                f"The default is {name}={defaults[name]}.",
            )
    return options_type(**given)


_WORDS = {int: "whole number", float: "number", str: "word"}
