"""What `linear`, `ranpac` and `l3a` have in common: a linear model, and its state."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import TrainingError

from ..problem.contract import Problem
from ..stats.calibration import Line, calibrate, smoothed_share
from .analytic.model import AnalyticModel

__all__ = ["Heads"]

Floats = npt.NDArray[np.float64]


class Heads:
    """Weights of K findings: zero-shot's until a finding has learned something.

    Args:
        model: Scores as zero-shot does.
        problem: What is learned.
    """

    def __init__(self, model: AnalyticModel, problem: Problem) -> None:
        self.model: AnalyticModel = model.to(problem.device)
        self._problem = problem
        self._validation = problem.features.rows("validation")
        self.learned: npt.NDArray[np.bool_] = np.zeros(
            len(problem.features.findings), dtype=bool
        )

    def features(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """φ of some rows, shape (n, F)."""
        x = torch.from_numpy(self._problem.features.embedding[rows])
        with torch.inference_mode():
            phi = self.model.features(x.to(self._problem.device).float())
        feature_rows: npt.NDArray[np.float32] = phi.cpu().numpy()
        return feature_rows

    def put(
        self,
        k: int,
        weights: Floats,
        intercept: float,
        line: Line,
        labels: tuple[float, float],
    ) -> None:
        """Give a finding new weights, and calibrate it as all methods are.

        Args:
            k: Number of the finding.
            weights: Shape (F,).
            intercept: b.
            line: From score to logit, as expected without validation labels.
            labels: Positive training labels, and training labels, from which the
                weights come.
        """
        self.model.weight[k] = torch.from_numpy(weights)
        # The model takes weights that are all 0 for a finding without any answer; this
        # answer, the same for all images, is one.
        constant = not weights.any() and intercept == 0
        self.model.intercept[k] = 1e-30 if constant else intercept
        self.learned[k] = True
        self._calibrate(k, line, labels)

    def keep_zero_shot(self, shown: npt.NDArray[np.bool_]) -> None:
        """Calibrate findings that were shown and have learned nothing.

        Labels of one class give no head, and say nothing of how frequent a finding is.
        Validation labels do, for these probabilities too.

        Args:
            shown: Findings of the task, shape (K,).
        """
        line = Line(self._problem.config.scale, 0.0)
        for k in np.flatnonzero(shown & ~self.learned):
            self._calibrate(int(k), line, (0.0, 0.0))

    def _calibrate(self, k: int, line: Line, labels: tuple[float, float]) -> None:
        rows, targets = self._validation, self._problem.targets
        seen = rows[targets.observed[rows, k]]
        if not len(seen) and not self.learned[k]:
            return
        weights = self.model.weight[k].cpu().numpy()
        scores = self.features(seen) @ weights + float(self.model.intercept[k])
        positive = targets.value[seen, k] > 0
        n_positive, n = labels
        share = smoothed_share(n_positive + positive.sum(), n + len(positive))
        fitted = calibrate(
            np.asarray(scores, dtype=np.float64), positive, float(share), line
        )
        self.model.slope[k], self.model.offset[k] = fitted.slope, fitted.offset

    def state(self) -> dict[str, Tensor]:
        """All that was learned."""
        names = ("weight", "intercept", "slope", "offset")
        kept = {name: getattr(self.model, name).cpu().clone() for name in names}
        return kept | {"learned": torch.from_numpy(self.learned.copy())}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Resume from a state.

        Raises:
            TrainingError: It does not fit.
        """
        for name in ("weight", "intercept", "slope", "offset", "learned"):
            known = (
                torch.from_numpy(self.learned)
                if name == "learned"
                else getattr(self.model, name)
            )
            given = state.get(name)
            if given is None or given.shape != known.shape:
                raise TrainingError(
                    f"the state has no {name} that fits these findings and features",
                    "Continue with the options and findings that the run was made "
                    "with.",
                )
            known.copy_(given)
