"""RE-tune's sequential training, and the comparators that add a hook to it."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from retune.store.errors import TrainingError

from .features import Prompts
from .hook import Hook
from .hooks import (
    Distillation,
    DistillationOptions,
    ElasticWeights,
    ElasticWeightsOptions,
    Replay,
    ReplayOptions,
    UpdateMask,
    UpdateMaskOptions,
)
from .method import Problem, read_options
from .model import AdaptedModel
from .scenarios import Task
from .threads import few_threads
from .train_config import TrainConfig
from .training import Trainer, build_model

__all__ = ["ElasticFinetune", "Finetune", "Lwf", "MaskedFinetune", "ReplayFinetune"]


@dataclass(frozen=True)
class _NoOptions:
    """Plain fine-tuning takes none."""


class Finetune:
    """Adaptors and optimiser carried on from task to task."""

    def __init__(self, problem: Problem) -> None:
        self.model = self.build_model(
            problem.config,
            problem.prompts,
            len(problem.features.findings),
            problem.features.embedding.shape[1],
        )
        self._problem = problem
        self._trainer = Trainer(self.model, problem, self._hook(problem.config))

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

    def state(self) -> dict[str, Tensor]:
        """Weights, moments, the random generator, and what the hook keeps."""
        return self._trainer.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            TrainingError: The state does not fit.
        """
        try:
            self._trainer.restore(state)
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"the state does not fit these adaptors: {error}",
                "Continue with the options and findings that the run was made with.",
            ) from error


class MaskedFinetune(Finetune):
    """With RE-tune's update masks."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return UpdateMask(read_options(UpdateMaskOptions, config, "mask"))


class ReplayFinetune(Finetune):
    """With stored embeddings of earlier tasks."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return Replay(read_options(ReplayOptions, config, "replay"), config.seed)


class Lwf(Finetune):
    """With the old model's answers as targets."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        return Distillation(read_options(DistillationOptions, config, "lwf"))


class ElasticFinetune(Finetune):
    """With a penalty on weights that earlier tasks need."""

    @staticmethod
    def _hook(config: TrainConfig) -> Hook:
        options = read_options(ElasticWeightsOptions, config, "ewc")
        return ElasticWeights(options, config.seed)
