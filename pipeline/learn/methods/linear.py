"""`linear`: a logistic regression for each finding and task, the floor to beat."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..linear.regression import logistic_regression
from ..problem.config import TrainConfig
from ..problem.contract import Problem, read_options
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..problem.targets import SOFT_TARGET
from ..stats.calibration import Line
from ..training.threads import one_thread
from .analytic.model import AnalyticModel, require_mean_pooling, zero_shot_directions
from .heads import Heads

__all__ = ["Linear"]


@dataclass(frozen=True)
class _NoOptions:
    """It takes none."""


class Linear:
    """Each task fits anew the heads of the findings that it shows in both classes.

    A head knows the images of one task alone: nothing is carried over in `data`, and
    nothing is lost in `label`. Embeddings are normalised, then standardised; C is
    chosen by folds of the task's patients. Findings without a head are zero-shot's.
    """

    #: Parts of `TrainConfig` that it does not depend on.
    ignored_options: tuple[str, ...] = (
        "preset", "adaptor", "placement", "epochs", "learning_rate", "batch_size",
        "patience", "learn_scale", "precision",
    )  # fmt: skip

    def __init__(self, problem: Problem) -> None:
        features = problem.features
        self.model: AnalyticModel = self.build_model(
            problem.config,
            problem.prompts,
            len(features.findings),
            features.embedding.shape[1],
        )
        self._problem = problem
        self._heads = Heads(self.model, problem)

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AnalyticModel:
        """A model that scores as zero-shot does.

        Raises:
            ConfigurationError: Pooling is not ``mean``, or an option is given.
        """
        read_options(_NoOptions, config, "linear")
        require_mean_pooling(config, "linear")
        directions = zero_shot_directions(prompts, n_findings)
        return AnalyticModel(directions, torch.zeros(dim, 0), config.scale)

    @one_thread()
    def learn(self, task: Task) -> None:
        """Fit the heads that the task has images of both classes for."""
        value = np.where(task.mask, self._problem.targets.value[task.rows], 0)
        # It takes no target in between; those of an uncertain label are left out.
        observed = task.mask & (value != SOFT_TARGET)
        phi = self._heads.features(task.rows)
        weights, intercepts, usable = logistic_regression(
            phi,
            np.arange(len(phi)),
            value > SOFT_TARGET,
            observed,
            self._problem.features.patient[task.rows],
            self._problem.config.seed,
        )
        counts = (observed & (value > SOFT_TARGET)).sum(axis=0), observed.sum(axis=0)
        for k in np.flatnonzero(usable):
            line = Line(1.0, 0.0)  # it is a logit already
            labels = float(counts[0][k]), float(counts[1][k])
            self._heads.put(int(k), weights[:, k], float(intercepts[k]), line, labels)
        self._heads.keep_zero_shot(np.asarray(task.mask.any(axis=0)))

    def state(self) -> dict[str, Tensor]:
        """The heads."""
        return self._heads.state()

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state.

        Raises:
            TrainingError: It does not fit.
        """
        self._heads.restore(state)
