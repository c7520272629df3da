"""Learning without forgetting: the old model's answers are targets."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retune.store.errors import ConfigurationError

from ..problem.config import TrainConfig
from ..problem.contract import read_options
from ..training.hook import Hook
from ..training.model import AdaptedModel
from ..training.optimiser import FlatAdam
from .finetune import Finetune

__all__ = ["Distillation", "DistillationOptions", "Lwf"]


@dataclass(frozen=True)
class DistillationOptions:
    """Options of ``lwf``.

    Attributes:
        weight: Weight of the distillation loss.
        temperature: By which both logits are divided.
    """

    weight: float = 1.0
    temperature: float = 2.0


class Distillation(Hook):
    """Learning without forgetting (Li & Hoiem 2018), for independent findings.

    On the rows of a new task, findings of earlier tasks that it does not show are held
    to the probabilities that the model gave before the task.
    """

    def __init__(self, options: DistillationOptions) -> None:
        if not (options.temperature > 0 and np.isfinite(options.weight)):
            raise ConfigurationError(
                f"weight={options.weight:g}, temperature={options.temperature:g} "
                "cannot be used",
                "Use a finite weight and a temperature above 0.",
            )
        self._options = options
        self._learned: Tensor | None = None
        self._old: AdaptedModel | None = None

    def before_task(
        self, model: AdaptedModel, optimiser: FlatAdam, n_before: int
    ) -> None:
        """Keep the model from before the task."""
        self._old = copy.deepcopy(model) if n_before else None

    def extra_loss(
        self, model: AdaptedModel, x: Tensor, logits: Tensor, observed: Tensor
    ) -> Tensor | None:
        """Cross-entropy to the old probabilities, averaged over the held cells."""
        if self._old is None or self._learned is None:
            return None
        held = self._learned.to(x.device) & ~observed
        with torch.no_grad():
            before = (self._old.logits(x) / self._options.temperature).sigmoid()
        cells = functional.binary_cross_entropy_with_logits(
            logits / self._options.temperature, before, reduction="none"
        )
        mean = (cells * held).sum() / held.sum().clamp(min=1)
        return self._options.weight * self._options.temperature**2 * mean

    def after_task(
        self,
        model: AdaptedModel,
        optimiser: FlatAdam,
        x: Tensor,
        targets: Tensor,
        rows: Tensor,
        mask: Tensor,
    ) -> None:
        """Remember which findings were shown."""
        shown = mask.any(dim=0)
        self._learned = shown if self._learned is None else self._learned | shown

    def state(self) -> dict[str, Tensor]:
        """Findings shown so far."""
        return {} if self._learned is None else {"learned": self._learned}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._learned = state["learned"].cpu() if "learned" in state else None


class Lwf(Finetune):
    """With the old model's answers as targets."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return Distillation(read_options(DistillationOptions, config, "lwf"))
