"""RE-tune's sequential training; other methods add a hook to it."""

from collections.abc import Mapping
from dataclasses import dataclass

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

__all__ = ["Finetune"]


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
