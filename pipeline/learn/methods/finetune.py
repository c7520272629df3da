"""RE-tune's sequential training; other methods add a hook to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retune.store.errors import TrainingError

from ..problem.config import TrainConfig
from ..problem.contract import Problem, read_options
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..training.hook import Hook
from ..training.model import AdaptedModel
from ..training.threads import few_threads
from ..training.trainer import Trainer, build_model
from .calibrating import calibrate_model

__all__ = ["Finetune"]


@dataclass(frozen=True)
class _NoOptions:
    """Plain fine-tuning takes none."""


class Finetune:
    """Adaptors and optimiser carried on from task to task."""

    def __init__(self, problem: Problem) -> None:
        self.model: AdaptedModel = self.build_model(
            problem.config,
            problem.prompts,
            len(problem.features.findings),
            problem.features.embedding.shape[1],
        )
        self._problem = problem
        self._trainer = Trainer(self.model, problem, self._hook(problem.config))
        self._shown = np.zeros(len(problem.features.findings), dtype=bool)
        #: Positive labels and labels that tasks showed, shape (2, K).
        self._labels = np.zeros((2, len(problem.features.findings)))

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AdaptedModel:
        """An untrained model."""
        return build_model(config, prompts, n_findings, dim)

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        read_options(_NoOptions, config, "finetune")
        return Hook()

    def learn(self, task: Task) -> None:
        """Train on one task.

        Raises:
            TrainingError: The weights stopped being finite.
        """
        batch_size = self._problem.config.batch_size
        with few_threads(batch_size, self._problem.features.embedding.shape):
            self._trainer.learn(task)
            self._shown |= task.mask.any(axis=0)
            self._count(task)
            calibrate_model(self.model, self._problem, self._shown, self._labels)

    def _count(self, task: Task) -> None:
        """How frequent findings are in tasks that show both classes of them."""
        value = np.where(task.mask, self._problem.targets.value[task.rows], 0)
        counts = np.stack([value.sum(axis=0), task.mask.sum(axis=0)])
        self._labels += np.where((counts[0] > 0) & (counts[0] < counts[1]), counts, 0)

    def state(self) -> dict[str, Tensor]:
        """Weights, moments, the random generator, and what the hook keeps."""
        return self._trainer.state() | {
            "shown": torch.from_numpy(self._shown.copy()),
            "labels": torch.from_numpy(self._labels.copy()),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            TrainingError: The state does not fit.
        """
        try:
            self._trainer.restore(state)
            # States from before probabilities were calibrated have none.
            shown = state.get("shown", torch.zeros(len(self._shown), dtype=torch.bool))
            self._shown = shown.cpu().numpy().copy()
            labels = state.get("labels", torch.zeros(self._labels.shape))
            self._labels = labels.cpu().double().numpy().reshape(2, -1)
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"the state does not fit these adaptors: {error}",
                "Continue with the options and findings that the run was made with.",
            ) from error
