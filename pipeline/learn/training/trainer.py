"""One trainer for every scenario; methods hook into it."""

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn

from retune.store.vectors.mapped_pages import release_pages

from ..problem.config import PRESETS, TrainConfig, preset, untrained
from ..problem.contract import Problem
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..problem.seeds import generator
from ..problem.targets import SOFT_TARGET, Targets
from .adaptors import ResidualAdaptor, build_adaptors
from .hook import Hook
from .model import AdaptedModel, loss_gradient, masked_loss
from .optimiser import FlatAdam, diverged
from .random_state import random_from_tensor, random_to_tensor
from .shuffling import shuffled

__all__ = [
    "PRESETS",
    "TrainConfig",
    "Trainer",
    "build_model",
    "preset",
    "untrained",
]


#: Rows that are turned into float32 at a time.
_BLOCK = 16_384


def build_model(
    config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
) -> AdaptedModel:
    """An untrained model; with `residual` adaptors it is the zero-shot model."""
    adaptors = build_adaptors(config.adaptor, config.placement, dim, config.seed)
    return AdaptedModel(
        adaptors,
        prompts,
        n_findings,
        pooling=config.pooling,
        scale=config.scale,
        learn_scale=config.learn_scale,
        learn_bias=config.learn_bias,
    )


def look_at(model: AdaptedModel, x: Tensor, rows: Tensor) -> None:
    """Show the first task's embeddings and the descriptions to adaptors that ask."""
    image, text = model.adaptors.image, model.adaptors.text
    if isinstance(image, ResidualAdaptor):
        image.look_at(x, rows)
    if isinstance(text, ResidualAdaptor) and text is not image:
        text.look_at(model.prompts, torch.arange(len(model.prompts)))


def starts_as_zero_shot(model: AdaptedModel) -> bool:
    """Whether the untrained adaptors change nothing."""
    kinds = (ResidualAdaptor, nn.Identity)
    return all(isinstance(one, kinds) for one in model.adaptors.children())


def telling_labels(task: Task, targets: Targets) -> float:
    """How many labels a task has to tell the classes apart by.

    Twice those of the rarer class, added up over the findings that the task shows: of
    balanced labels all, of labels of one class none.

    >>> targets = Targets(np.array([[1.0], [0], [0], [0]], "f4"), np.ones((4, 1), bool))
    >>> telling_labels(Task("all", np.arange(4), targets.observed), targets)
    2.0
    """
    value = np.where(task.mask, targets.value[task.rows], SOFT_TARGET)
    positives = (value > SOFT_TARGET).sum(axis=0)
    negatives = (value < SOFT_TARGET).sum(axis=0)
    return float(2 * np.minimum(positives, negatives).sum())


class Trainer:
    """Learns task after task; adaptors and optimiser are carried on.

    Args:
        model: What is trained.
        problem: What it is trained on.
        hook: What the method adds; None: nothing.
    """

    def __init__(
        self, model: AdaptedModel, problem: Problem, hook: Hook | None = None
    ) -> None:
        self.model: AdaptedModel = model.to(problem.device)
        self._problem = problem
        self._config = problem.config
        self._device = problem.device
        self._precision: torch.dtype = getattr(torch, problem.config.precision)
        self._hook = hook or Hook()
        features, targets = problem.features, problem.targets
        # As stored, often float16: a float32 copy would be twice as large. What lies in
        # a file stays there, and a batch at a time goes to the device.
        in_file = isinstance(features.embedding, np.memmap)
        self._x = torch.from_numpy(features.embedding)
        self._x = self._x if in_file else self._x.to(self._device)
        self._targets = torch.from_numpy(targets.value).to(self._device)
        self._observed = torch.from_numpy(targets.observed)
        self._validation = torch.from_numpy(features.rows("validation"))
        self._optimiser = FlatAdam(
            model,
            learning_rate=self._config.learning_rate,
            weight_decay=self._config.weight_decay,
        )
        self._random = generator(self._config.seed, "batches")
        self._tasks_learned = 0
        self._labels_learned = 0.0

    def learn(self, task: Task) -> int:
        """Train on one task.

        Early stopping looks at validation rows, and there only at the findings that
        the task itself shows: labels of earlier tasks are not needed again.

        Args:
            task: The rows and cells.

        Returns:
            The number of passes.

        Raises:
            TrainingError: The weights stopped being finite.
        """
        rows = torch.from_numpy(task.rows)
        mask = torch.from_numpy(task.mask)
        if not self._tasks_learned:
            look_at(self.model, self._x, rows)
        self._hook.before_task(self.model, self._optimiser, self._tasks_learned)
        shown = torch.from_numpy(task.mask.any(axis=0))
        start = self._optimiser.weights.clone()
        best_loss, best_weights, best_epoch = self._validation_loss(shown), None, 0
        if best_loss is not None:
            best_weights = start
        epoch = 0
        for epoch in range(1, self._config.epochs + 1):
            self._pass_over(rows, mask)
            loss = self._validation_loss(shown)
            if loss is None or best_loss is None:
                continue
            if loss < best_loss:
                best_loss, best_epoch = loss, epoch
                best_weights = self._optimiser.weights.clone()
            elif epoch - best_epoch >= self._config.patience:
                break
        if best_weights is not None:
            self._optimiser.weights.copy_(best_weights)
        n_labels = telling_labels(task, self._problem.targets)
        self._blend(start, n_labels)
        self._tasks_learned += 1
        self._labels_learned += n_labels
        self._hook.after_task(
            self.model, self._optimiser, self._x, self._targets, rows, mask
        )
        return epoch

    def _blend(self, start: Tensor, n_labels: float) -> None:
        """Go back towards the weights from before the task.

        The further, the fewer labels it had beside those of the tasks before.
        """
        if not self._config.caution:
            return
        # Half of the way back to random weights is no better than either end.
        if not self._tasks_learned and not starts_as_zero_shot(self.model):
            return
        others = self._config.caution + self._labels_learned
        share = n_labels / (n_labels + others)
        self._optimiser.weights.lerp_(start, 1 - share)

    def _pass_over(self, rows: Tensor, mask: Tensor) -> None:
        order = torch.from_numpy(
            shuffled(self._random, len(rows), self._config.shuffle)
        )
        batches = torch.split(order, self._config.batch_size)[
            : self._config.epoch_steps
        ]
        self.model.train()
        for batch in batches:
            in_batch = rows.index_select(0, batch)
            chosen = in_batch.to(self._device)
            # By way of float32: from float16 to bfloat16 torch has no fast conversion.
            x = self._take(in_batch).float().to(self._precision)
            seen = mask.index_select(0, batch).to(self._device)
            logits = self.model.logits(x)
            targets = self._targets.index_select(0, chosen)
            slope = loss_gradient(logits.detach(), targets, seen)
            extra = self._hook.extra_loss(self.model, x, logits, seen)
            if extra is None:
                logits.backward(slope)  # type: ignore[no-untyped-call]  # torch
            else:
                ends = [slope, torch.ones_like(extra)]
                torch.autograd.backward([logits, extra], ends)
            self._hook.before_step(self._optimiser)
            self._optimiser.step()
            self._hook.after_step(self._optimiser)
        self._hook.after_pass(self._optimiser)
        self.model.eval()
        # Early stopping would hide this by going back to the untrained weights.
        if not self._optimiser.weights.isfinite().all():
            raise diverged(self._config.learning_rate)

    def _take(self, rows: Tensor) -> Tensor:
        """Embeddings of some rows on the device."""
        images = self._x.index_select(0, rows.to(self._x.device)).to(self._device)
        release_pages(self._problem.features.embedding)
        return images

    def _validation_loss(self, shown: Tensor) -> float | None:
        """Loss on the shown findings' validation cells; None without early stopping."""
        if not self._config.patience:
            return None
        observed = self._observed[self._validation] & shown
        if not observed.any():
            return None
        chosen = self._validation.to(self._device)
        with torch.no_grad():
            logits = torch.cat(
                [
                    self.model.logits(self._take(part).float())
                    for part in torch.split(self._validation, _BLOCK)
                ]
            )
            loss = masked_loss(logits, self._targets[chosen], observed.to(self._device))
        return float(loss)

    def state(self) -> dict[str, Tensor]:
        """Weights, moments, the random generator, and what the hook keeps."""
        parts = {
            "model": self.model.state_dict(),
            "adam": self._optimiser.state(),
            "hook": self._hook.state(),
        }
        state_tensors = {
            f"{part}.{name}": tensor.detach().cpu().clone()
            for part, tensors in parts.items()
            for name, tensor in tensors.items()
        }
        state_tensors["random"] = random_to_tensor(self._random)
        state_tensors["tasks_learned"] = torch.tensor(self._tasks_learned)
        labels = torch.tensor(self._labels_learned, dtype=torch.float64)
        state_tensors["labels_learned"] = labels
        return state_tensors

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            KeyError: A part is missing.
            RuntimeError: A part has another shape.
        """

        def part(name: str) -> dict[str, Tensor]:
            return {
                key.removeprefix(f"{name}."): tensor.to(self._device)
                for key, tensor in state.items()
                if key.startswith(f"{name}.")
            }

        self.model.load_state_dict(part("model"))
        self._optimiser.restore(part("adam"))
        self._hook.restore(part("hook"))
        self._random = random_from_tensor(state["random"])
        self._tasks_learned = int(state["tasks_learned"])
        # States from before labels were counted have none.
        self._labels_learned = float(state.get("labels_learned", 0.0))
