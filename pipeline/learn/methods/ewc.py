"""Elastic weight consolidation: weights that mattered are held."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from retune.store.errors import ConfigurationError

from ..problem.config import TrainConfig
from ..problem.contract import read_options
from ..problem.seeds import stream_seed
from ..training.hook import Hook
from ..training.model import AdaptedModel, masked_loss
from ..training.optimiser import FlatAdam
from ..training.threads import one_thread
from .finetune import Finetune

__all__ = ["ElasticFinetune", "ElasticWeights", "ElasticWeightsOptions"]


@dataclass(frozen=True)
class ElasticWeightsOptions:
    """Options of ``ewc``.

    Attributes:
        strength: λ of the penalty.
        rows: Rows of a task from which the Fisher information is estimated.
    """

    strength: float = 100.0
    rows: int = 256


class ElasticWeights(Hook):
    """Elastic weight consolidation (Kirkpatrick et al. 2017).

    Penalty λ/2 Σ_t F_t (w − w_t)², F_t the diagonal of the empirical Fisher information
    after task t. Its gradient is λ(w ΣF_t − ΣF_t w_t), so two sums are all that is
    kept, whatever the number of tasks.
    """

    def __init__(self, options: ElasticWeightsOptions, seed: int) -> None:
        if options.rows < 1 or not 0 <= options.strength < float("inf"):
            raise ConfigurationError(
                f"strength={options.strength:g}, rows={options.rows} cannot be used",
                "Use a finite strength of at least 0 and at least one row.",
            )
        self._options = options
        self._generator = torch.Generator().manual_seed(stream_seed(seed, "fisher"))
        self._sums: dict[str, Tensor] = {}

    def before_step(self, optimiser: FlatAdam) -> None:
        """Add the penalty's gradient."""
        if self._sums:
            pull = optimiser.weights * self._sums["fisher"] - self._sums["anchored"]
            optimiser.gradient.add_(pull, alpha=self._options.strength)

    @one_thread()  # a row at a time is too little to share
    def after_task(
        self,
        model: AdaptedModel,
        optimiser: FlatAdam,
        x: Tensor,
        targets: Tensor,
        rows: Tensor,
        mask: Tensor,
    ) -> None:
        """Add the task's Fisher information: mean squared gradient of a row's loss."""
        useful = torch.nonzero(mask.any(dim=1))[:, 0]
        picked = useful[torch.randperm(len(useful), generator=self._generator)]
        picked = picked[: self._options.rows]
        fisher = torch.zeros_like(optimiser.weights)
        for index in picked:
            row = rows[index].to(targets.device).reshape(1)
            observed = mask[index].to(targets.device).reshape(1, -1)
            # The log-likelihood of a row is a sum over its cells, not their mean.
            loss = masked_loss(
                model.logits(x[row.to(x.device)].to(row.device).float()),
                targets[row],
                observed,
            )
            (loss * observed.sum()).backward()  # type: ignore[no-untyped-call]  # torch
            fisher += optimiser.gradient.square() / len(picked)
            optimiser.gradient.zero_()
        added = {"fisher": fisher, "anchored": fisher * optimiser.weights}
        self._sums = {
            name: self._sums[name] + sums if self._sums else sums
            for name, sums in added.items()
        }

    def state(self) -> dict[str, Tensor]:
        """The two sums and the generator."""
        return self._sums | {"random": self._generator.get_state()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._generator.set_state(state["random"].cpu())
        self._sums = {k: v for k, v in state.items() if k != "random"}


class ElasticFinetune(Finetune):
    """With a penalty on weights that earlier tasks need."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        options = read_options(ElasticWeightsOptions, config, "ewc")
        return ElasticWeights(options, config.seed)
