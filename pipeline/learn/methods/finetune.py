"""RE-tune's sequential training; other methods add a hook to it."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from retune.store.errors import TrainingError
from retune.store.queries.bulk import release_pages

from ..problem.config import TrainConfig
from ..problem.contract import Problem, read_options
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..stats.calibration import Line, platt
from ..training.hook import Hook
from ..training.model import AdaptedModel
from ..training.threads import few_threads
from ..training.trainer import Trainer, build_model

__all__ = ["Finetune"]

#: Rows that are turned into float32 at a time.
_BLOCK = 16_384
#: The logit as it was trained, which a fit to few labels stays near.
_AS_TRAINED = Line(1.0, 0.0)


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
        self._shown = np.zeros(len(problem.features.findings), dtype=bool)

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
            self._calibrate()

    def _calibrate(self) -> None:
        """Probabilities by validation labels of the findings that were shown so far."""
        features, targets = self._problem.features, self._problem.targets
        rows, model = features.rows("validation"), self.model
        x = torch.from_numpy(features.embedding[rows]).to(self._problem.device)
        release_pages(features.embedding)
        model.eval()
        with torch.inference_mode():
            parts = [model.logits(part.float()) for part in torch.split(x, _BLOCK)]
        logits = torch.cat(parts).double().cpu().numpy()
        for k in np.flatnonzero(self._shown):
            seen = targets.observed[rows, k]
            positive = targets.value[rows[seen], k] > 0
            line = platt(logits[seen, k], positive, _AS_TRAINED)
            model.slope[k], model.offset[k] = line.slope, line.offset

    def state(self) -> dict[str, Tensor]:
        """Weights, moments, the random generator, and what the hook keeps."""
        return self._trainer.state() | {"shown": torch.from_numpy(self._shown.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state.

        Raises:
            TrainingError: The state does not fit.
        """
        try:
            self._trainer.restore(state)
            # States of before probabilities were calibrated have none.
            shown = state.get("shown", torch.zeros(len(self._shown), dtype=torch.bool))
            self._shown = shown.cpu().numpy().copy()
        except (KeyError, RuntimeError, ValueError, IndexError) as error:
            raise TrainingError(
                f"the state does not fit these adaptors: {error}",
                "Continue with the options and findings that the run was made with.",
            ) from error
