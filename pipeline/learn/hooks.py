"""What the comparators add to the one trainer; each is a few lines of its paper."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from retune.store.errors import ConfigurationError

from .hook import Hook
from .model import AdaptedModel, masked_loss
from .optimiser import FlatAdam
from .threads import one_thread

__all__ = [
    "Distillation",
    "DistillationOptions",
    "ElasticWeights",
    "ElasticWeightsOptions",
    "Replay",
    "ReplayOptions",
    "UpdateMask",
    "UpdateMaskOptions",
]


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
    to w_old (METHOD §4).
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
        """Remember the weights of before the batch."""
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


@dataclass(frozen=True)
class ReplayOptions:
    """Options of ``replay``.

    Attributes:
        budget: Stored embeddings in all.
        weight: Of the loss on them.
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
        self._generator = torch.Generator().manual_seed(seed)
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
        """Give the new task its share; the others give up an equal part of theirs."""
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
            place = torch.cat(
                [
                    torch.nonzero(self._kept["task"] == task)[:share, 0]
                    for task in range(number)
                ]
            )
            new = {
                name: torch.cat([tensor[place], new[name]])
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


@dataclass(frozen=True)
class DistillationOptions:
    """Options of ``lwf``.

    Attributes:
        weight: Of the distillation loss.
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
        """Keep the model of before the task."""
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
        self._generator = torch.Generator().manual_seed(seed)
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
        for place in picked:
            row = rows[place].to(targets.device).reshape(1)
            observed = mask[place].to(targets.device).reshape(1, -1)
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
