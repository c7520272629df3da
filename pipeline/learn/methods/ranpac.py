"""`ranpac`: a ridge on random features alone (McDonnell et al., NeurIPS 2023)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import ConfigurationError

from ..problem.config import TrainConfig
from ..problem.contract import Problem, read_options
from ..problem.features import Prompts
from ..problem.scenarios import Task
from ..stats.calibration import Line
from ..training.threads import one_thread
from .analytic.model import AnalyticModel, require_mean_pooling, zero_shot_directions
from .analytic.sums import Sums, add_sums, sum_rows
from .heads import Heads

__all__ = ["PENALTIES", "RanPac", "RanPacOptions", "random_features"]

Floats = npt.NDArray[np.float64]
#: Candidates for λ, in units of the mean eigenvalue, so that they fit any scale.
PENALTIES = 10.0 ** np.arange(-6, 5)
_MOST_FEATURES = 4096


@dataclass(frozen=True)
class RanPacOptions:
    """Options of ``ranpac``.

    Attributes:
        projection: Random features; 0: eight times the dimension, 4,096 at most.
    """

    projection: int = 0


class RanPac:
    """Sums of random features, and the ridge with the λ that validation prefers.

    As `analytic`, it forgets no image: sums add up. Unlike it, the prior is 0 instead
    of zero-shot, and λ is what gives the least squared error on validation labels of
    the finding (the middle one where there are none). Findings that had no labels of
    both classes are zero-shot's.
    """

    #: An image that is added twice counts twice.
    counts_images = True
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
        self._problem, self._heads = problem, Heads(self.model, problem)
        self._dim = features.embedding.shape[1]
        self._n_features = self.model.weight.shape[1] - self._dim
        self._sums = Sums.none(len(features.findings), self._n_features)

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AnalyticModel:
        """A model that scores as zero-shot does.

        Raises:
            ConfigurationError: Pooling is not ``mean``, or an option is wrong.
        """
        options = read_options(RanPacOptions, config, "ranpac")
        require_mean_pooling(config, "ranpac")
        return random_features(config, prompts, n_findings, dim, options.projection)

    @one_thread()
    def learn(self, task: Task) -> None:
        """Add a task's sums, and solve for the findings that it shows."""
        values = self._problem.targets.value[task.rows]
        new = sum_rows(self._random, self._n_features, task.rows, values, task.mask)
        self._sums = add_sums(self._sums, new)
        self._solve(np.flatnonzero(task.mask.any(axis=0)))

    def _random(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._heads.features(rows)[:, self._dim :]

    def _solve(self, findings: npt.NDArray[np.int64]) -> None:
        """Give new weights to findings with labels of both classes."""
        shown = np.zeros(len(self._sums.group), dtype=bool)
        shown[findings] = True
        # Without both classes there is no need to take a matrix apart.
        findings = findings[self._has_both()[findings]]
        for group in np.unique(self._sums.group[findings]):
            gram = self._sums.grams[group]
            count = gram[-1, -1]
            if count < 2:
                continue
            mean = gram[:-1, -1] / count
            about = gram[:-1, :-1] - count * np.outer(mean, mean)
            values, vectors = np.linalg.eigh(about)
            for k in findings[self._sums.group[findings] == group]:
                self._solve_one(int(k), count, mean, np.maximum(values, 0), vectors)
        self._heads.keep_zero_shot(shown)

    def _has_both(self) -> npt.NDArray[np.bool_]:
        """Findings whose labels vary, shape (K,)."""
        positives = self._sums.moments[:, -1]
        counts = np.maximum(self._sums.grams[self._sums.group, -1, -1], 1)
        return np.asarray(self._sums.squares - positives**2 / counts > 1e-12 * counts)

    def _solve_one(
        self, k: int, count: float, mean: Floats, values: Floats, vectors: Floats
    ) -> None:
        """From the eigenvalues and vectors of the finding's centred Gram matrix."""
        moment = self._sums.moments[k]
        positives = moment[-1]
        data = vectors.T @ (moment[:-1] - mean * positives)
        penalty = PENALTIES * max(values.mean(), 1e-12)
        weights = vectors @ (data[:, None] / (values[:, None] + penalty))
        middle = positives / count
        strength = self._best(k, weights, middle - mean @ weights)
        chosen = np.concatenate([np.zeros(self._dim), weights[:, strength]])
        intercept = float(middle - mean @ weights[:, strength])
        line = Line.tangent(float((positives + 1) / (count + 2)))
        self._heads.put(k, chosen, intercept, line, self._shown_labels(k))

    def _shown_labels(self, k: int) -> tuple[float, float]:
        """Positive labels and labels that tasks have shown of a finding."""
        gram = self._sums.grams[self._sums.group[k]]
        return float(self._sums.moments[k, -1]), float(gram[-1, -1])

    def _best(self, k: int, weights: Floats, intercepts: Floats) -> int:
        """Which λ has the least squared error on validation labels."""
        targets = self._problem.targets
        rows = self._problem.features.rows("validation")
        rows = rows[targets.observed[rows, k]]
        if not len(rows):
            return len(PENALTIES) // 2
        left = (
            self._random(rows) @ weights + intercepts - targets.value[rows, k][:, None]
        )
        return int((left**2).mean(axis=0).argmin())

    def state(self) -> dict[str, Tensor]:
        """Heads and sums."""
        return self._heads.state() | self._sums.to_tensors("train")

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state.

        Raises:
            TrainingError: It does not fit.
        """
        self._heads.restore(state)
        self._sums = Sums.from_tensors("train", state)


def random_features(
    config: TrainConfig, prompts: Prompts, n_findings: int, dim: int, projection: int
) -> AnalyticModel:
    """A model on random features that scores as zero-shot does.

    Args:
        config: Its seed draws the features.
        prompts: Prompts of zero-shot.
        n_findings: K.
        dim: D.
        projection: Random features; 0: eight times D, 4,096 at most.

    Raises:
        ConfigurationError: `projection` is below 0.
    """
    if projection < 0:
        raise ConfigurationError(
            f"projection={projection} is below 0", "Use 0 or more."
        )
    size = projection or min(8 * dim, _MOST_FEATURES)
    drawn = np.random.default_rng(config.seed).standard_normal((dim, size))
    directions = zero_shot_directions(prompts, n_findings)
    return AnalyticModel(
        directions, torch.from_numpy(drawn.astype(np.float32)), config.scale
    )
