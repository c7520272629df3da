"""`l3a`: a weighted ridge with pseudo-labels (Zhang et al., ICML 2025), repaired."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import ConfigurationError, TrainingError

from ..problem.config import TrainConfig
from ..problem.contract import Problem, read_options
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..problem.targets import SOFT_TARGET
from ..training.threads import one_thread
from .analytic.model import AnalyticModel, require_mean_pooling
from .analytic.sums import add_sums, sum_rows
from .ranpac import RanPac, random_features

__all__ = ["L3a", "L3aOptions", "image_weights"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class L3aOptions:
    """Options of ``l3a``.

    Attributes:
        projection: Random features; 0: eight times the dimension, 4,096 at most.
        pseudo: Probability above which a finding of earlier tasks counts as present in
            an image of which its label is not shown.
    """

    projection: int = 0
    pseudo: float = 0.7


class L3a(RanPac):
    """`ranpac` with labels for what a task does not show, and weights of images.

    A task labels its images for the findings of earlier tasks by the model as it is;
    what is not shown otherwise counts as absent. Findings share one weighted Gram
    matrix. So earlier findings change with every task, and the order matters.
    """

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        n_findings = len(problem.features.findings)
        self._threshold = read_options(L3aOptions, problem.config, "l3a").pseudo
        self._shown = np.zeros(n_findings, dtype=bool)
        # Positive labels and labels that were shown.
        self._labels = np.zeros((2, n_findings))
        # Images with each finding, by labels and pseudo-labels; at the end: with none.
        self._frequency = np.zeros(n_findings + 1)

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AnalyticModel:
        """A model that scores as zero-shot does.

        Raises:
            ConfigurationError: Pooling is not ``mean``, or an option is wrong.
        """
        options = read_options(L3aOptions, config, "l3a")
        if not 0 < options.pseudo <= 1:
            raise ConfigurationError(
                f"pseudo={options.pseudo:g} is not a probability above 0",
                "Use pseudo=0.7; 1 for no pseudo-labels.",
            )
        require_mean_pooling(config, "l3a")
        return random_features(config, prompts, n_findings, dim, options.projection)

    @one_thread()
    def learn(self, task: Task) -> None:
        """Label what the task does not show, add its weighted sums, and solve."""
        value = np.where(task.mask, self._problem.targets.value[task.rows], 0)
        value = value.astype(np.float64)
        self._labels += np.stack([value.sum(axis=0), task.mask.sum(axis=0)])
        known = self._shown & self._heads.learned
        if known.any():
            x = torch.from_numpy(self._problem.features.embedding[task.rows]).float()
            with torch.inference_mode():
                chance = self.model.scores(x.to(self.model.weight.device))[2]
            believed = chance.cpu().numpy() > self._threshold
            value[believed & known & ~task.mask] = 1
        present = value > SOFT_TARGET
        self._frequency += np.append(present.sum(axis=0), (~present.any(axis=1)).sum())
        weights = image_weights(present, self._frequency)
        every = np.ones(value.shape, dtype=bool)
        self._sums = add_sums(
            self._sums,
            sum_rows(self._random, self._n_features, task.rows, value, every, weights),
        )
        self._shown |= task.mask.any(axis=0)
        positive, every_label = self._labels
        both = (positive > 0) & (positive < every_label)
        self._solve(np.flatnonzero(self._shown & both))
        self._heads.keep_zero_shot(self._shown)

    def _shown_labels(self, k: int) -> tuple[float, float]:
        return float(self._labels[0, k]), float(self._labels[1, k])

    def state(self) -> dict[str, Tensor]:
        """Heads, sums, and what was counted."""
        return super().state() | {
            "shown": torch.from_numpy(self._shown.copy()),
            "labels": torch.from_numpy(self._labels.copy()),
            "frequency": torch.from_numpy(self._frequency.copy()),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state.

        Raises:
            TrainingError: It does not fit.
        """
        super().restore(state)
        kept = {
            "shown": self._shown, "labels": self._labels, "frequency": self._frequency
        }  # fmt: skip
        for name, array in kept.items():
            given = state.get(name)
            if given is None or tuple(given.shape) != array.shape:
                raise TrainingError(
                    f"the state has no {name} that fits these findings",
                    "Continue with the options and findings that the run was made "
                    "with.",
                )
            array[:] = given.cpu().numpy()


def image_weights(present: npt.NDArray[np.bool_], frequency: Floats) -> Floats:
    """How much each image counts: the mean weight of its findings.

    A finding's weight is one over the root of its frequency, and they are scaled to a
    mean of 1. The authors divide by the number of findings of an image, which is 0 for
    most radiographs; here an image without any has the finding "none", whose frequency
    is that of such images.

    Args:
        present: Which findings an image has, shape (n, K).
        frequency: Images with each finding, at the end with none, shape (K + 1,).

    >>> present = np.array([[True, True], [True, False], [False, False]])
    >>> image_weights(present, np.array([4.0, 1.0, 16.0])).round(3).tolist()
    [1.286, 0.857, 0.429]
    """
    seen = frequency > 0
    weight = np.where(seen, 1 / np.sqrt(np.where(seen, frequency, 1)), 0)
    weight /= weight[seen].mean() if seen.any() else 1
    which = np.column_stack([present, ~present.any(axis=1)]).astype(np.float64)
    return np.asarray(which @ weight / which.sum(axis=1))
