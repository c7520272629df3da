"""RE-tune's update masks: small changes of weights are undone."""

from dataclasses import dataclass

import torch
from torch import Tensor

from retune.store.errors import ConfigurationError

from ..problem.config import TrainConfig
from ..problem.contract import read_options
from ..training.hook import Hook
from ..training.model import AdaptedModel
from ..training.optimiser import FlatAdam
from .finetune import Finetune

__all__ = ["MaskedFinetune", "UpdateMask", "UpdateMaskOptions"]


@dataclass(frozen=True)
class UpdateMaskOptions:
    """Options of ``mask``.

    Attributes:
        theta: Share of the range of a tensor's changes below which one is undone.
        per: ``batch`` or ``epoch``: what a change is counted over.
    """

    theta: float = 0.01
    per: str = "batch"


class UpdateMask(Hook):
    """RE-tune's update masks: small changes of weights are undone, from task 2 on.

    Per tensor, with d = |w − w_old|, entries with d < min d + θ(max d − min d) go back
    to w_old (docs/method.md, "mask").
    """

    def __init__(self, options: UpdateMaskOptions) -> None:
        if options.per not in ("batch", "epoch"):
            raise ConfigurationError(
                f"per={options.per} is unknown", "Use per=batch or per=epoch."
            )
        if not 0 <= options.theta <= 1:
            raise ConfigurationError(
                f"theta={options.theta:g} is not between 0 and 1", "Use theta=0.01."
            )
        self._options = options
        self._active = False
        self._before: Tensor | None = None

    def before_task(
        self, model: AdaptedModel, optimiser: FlatAdam, n_before: int
    ) -> None:
        """From the second task on."""
        self._active = n_before > 0
        self._before = optimiser.weights.clone()

    def before_step(self, optimiser: FlatAdam) -> None:
        """Remember the weights from before the batch."""
        if self._active and self._options.per == "batch":
            self._before = optimiser.weights.clone()

    def after_step(self, optimiser: FlatAdam) -> None:
        """Undo small changes of the batch."""
        if self._active and self._options.per == "batch":
            self._undo(optimiser)

    def after_pass(self, optimiser: FlatAdam) -> None:
        """Undo small changes of the epoch."""
        if self._active and self._options.per == "epoch":
            self._undo(optimiser)
            self._before = optimiser.weights.clone()

    def _undo(self, optimiser: FlatAdam) -> None:
        assert self._before is not None
        parts = zip(
            torch.split(optimiser.weights, optimiser.sizes),
            torch.split(self._before, optimiser.sizes),
            strict=True,
        )
        for now, before in parts:
            change = (now - before).abs()
            least, most = change.aminmax()
            small = change < least + self._options.theta * (most - least)
            now.copy_(torch.where(small, before, now))


class MaskedFinetune(Finetune):
    """With RE-tune's update masks."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return UpdateMask(read_options(UpdateMaskOptions, config, "mask"))
