"""Rehearsal: stored embeddings of earlier tasks are trained on again."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retune.store.errors import ConfigurationError

from ..problem.config import TrainConfig
from ..problem.contract import read_options
from ..problem.seeds import stream_seed
from ..training.hook import Hook
from ..training.model import AdaptedModel, masked_loss
from ..training.optimiser import FlatAdam
from .finetune import Finetune

__all__ = ["Replay", "ReplayFinetune", "ReplayOptions"]


@dataclass(frozen=True)
class ReplayOptions:
    """Options of ``replay``.

    Attributes:
        budget: Stored embeddings in all.
        weight: Weight of the loss on them.
    """

    budget: int = 500
    weight: float = 1.0


class Replay(Hook):
    """Rehearsal from a budget of stored embeddings with the labels that were shown.

    The store and the state then hold vectors of patients of earlier tasks, which the
    other methods do not need. Every task has an equal share of the budget.
    """

    def __init__(self, options: ReplayOptions, seed: int) -> None:
        if options.budget < 1 or not np.isfinite(options.weight):
            raise ConfigurationError(
                f"budget={options.budget}, weight={options.weight:g} cannot be used",
                "Use a budget of at least 1 and a finite weight.",
            )
        self._options = options
        self._generator = torch.Generator().manual_seed(stream_seed(seed, "replay"))
        self._kept: dict[str, Tensor] = {}

    def extra_loss(
        self, model: AdaptedModel, x: Tensor, logits: Tensor, observed: Tensor
    ) -> Tensor | None:
        """Loss on as many remembered rows as the batch has."""
        if not self._kept:
            return None
        size = (min(len(x), len(self._kept["task"])),)
        chosen = torch.randint(len(self._kept["task"]), size, generator=self._generator)
        old = {name: tensor[chosen].to(x.device) for name, tensor in self._kept.items()}
        again = model.logits(old["x"].float().to(x.dtype))
        loss = masked_loss(again, old["targets"], old["observed"])
        return self._options.weight * loss

    def after_task(
        self,
        model: AdaptedModel,
        optimiser: FlatAdam,
        x: Tensor,
        targets: Tensor,
        rows: Tensor,
        mask: Tensor,
    ) -> None:
        """Give the new task its share; the others lose an equal part of theirs."""
        useful = torch.nonzero(mask.any(dim=1))[:, 0]
        number = int(self._kept["task"].max()) + 1 if self._kept else 0
        share = max(1, self._options.budget // (number + 1))
        picked = torch.randperm(len(useful), generator=self._generator)[:share]
        picked = useful[picked]
        chosen = rows[picked].to(x.device)
        observed = mask[picked]
        new = {
            "x": x[chosen].cpu(),
            # Labels that were not shown are not kept, whatever they are.
            "targets": torch.where(observed, targets[chosen].cpu(), torch.tensor(0.0)),
            "observed": observed,
            "task": torch.full((len(picked),), number),
        }
        if self._kept:
            # Rows of a task lie in random order: its first ones are a random part.
            kept_rows = torch.cat(
                [
                    torch.nonzero(self._kept["task"] == task)[:share, 0]
                    for task in range(number)
                ]
            )
            new = {
                name: torch.cat([tensor[kept_rows], new[name]])
                for name, tensor in self._kept.items()
            }
        self._kept = {
            name: tensor[: self._options.budget] for name, tensor in new.items()
        }

    def state(self) -> dict[str, Tensor]:
        """The stored rows and the generator."""
        return self._kept | {"random": self._generator.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._generator.set_state(state["random"].cpu())
        self._kept = {k: v.cpu() for k, v in state.items() if k != "random"}


class ReplayFinetune(Finetune):
    """With stored embeddings of earlier tasks."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return Replay(read_options(ReplayOptions, config, "replay"), config.seed)
