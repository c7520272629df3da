"""`analytic`: an exact Bayesian head for each finding; nothing is forgotten.

What it keeps of a task are sums over its images (`Sums`); the weights follow from them
(ridge.py). After any sequence of tasks they are those of joint training on all cells
observed so far (docs/method.md). Related: ACIL, GACL, RanPAC, RAIL, L3A.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from retune.store.errors import ConfigurationError, TrainingError
from retune.store.vectors.mapped_pages import release_pages

from ...problem.config import TrainConfig
from ...problem.contract import Problem, read_options
from ...problem.features import Prompts
from ...problem.scenarios import Task
from ...stats.calibration import Line, calibrate, smoothed_share
from ...training.threads import one_thread
from .counted import images_digest
from .familiarity import alarm_limit, seen_images
from .model import AnalyticModel, require_mean_pooling, zero_shot_directions
from .ridge import Centred, Solution, centre, solve
from .sums import Sums, add_sums, sum_rows

__all__ = ["Analytic", "AnalyticOptions", "merge_states"]


#: Validation images that are scored together.
_BLOCK_ROWS = 16_384


@dataclass(frozen=True)
class AnalyticOptions:
    """Options of ``analytic``.

    Attributes:
        projection: Random features in addition to the embedding; 0 for none.
        alarm_rate: Share of images like those of validation that may be called unlike
            what was trained on.
    """

    projection: int = 0
    alarm_rate: float = 0.01


class Analytic:
    """Sums of tasks, and the ridge that follows from them."""

    #: An image that is added twice counts twice.
    counts_images = True
    #: Without descriptions its prior is 0: it learns from labels alone.
    needs_text = False
    #: Parts of `TrainConfig` that the sums do not depend on.
    ignored_options: tuple[str, ...] = (
        "preset", "adaptor", "placement", "epochs", "learning_rate", "batch_size",
        "patience", "learn_scale", "caution", "precision",
    )  # fmt: skip

    def __init__(self, problem: Problem) -> None:
        features = problem.features
        options = read_options(AnalyticOptions, problem.config, "analytic")
        self._alarm_rate = options.alarm_rate
        self.model: AnalyticModel = self.build_model(
            problem.config,
            problem.prompts,
            len(features.findings),
            features.embedding.shape[1],
        ).to(problem.device)
        self._problem = problem
        self._start = self.model.weight.double().cpu().numpy()
        n_features = self._start.shape[1]
        self._train = Sums.none(len(features.findings), n_features)
        self._validation = Sums.none(len(features.findings), n_features)
        # Findings whose validation sums are still to be taken: only a state needs them,
        # and those of all findings at once are one pass over the images.
        self._due = np.zeros(len(features.findings), dtype=bool)
        # Which images each finding's validation sums were last taken from.
        self._counted = np.zeros(len(features.findings), dtype=np.int64)
        self._known: dict[bytes, Centred | None] = {}
        self._validation_rows = features.rows("validation")
        self._here = images_digest(features.image_id[self._validation_rows])
        self._images = images_digest(features.image_id)
        self._seen = np.zeros_like(problem.targets.observed)
        self._calibrated = np.zeros(len(features.findings), dtype=bool)

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AnalyticModel:
        """A model that scores as zero-shot does.

        Raises:
            ConfigurationError: Pooling is not ``mean``, or an option is wrong.
        """
        options = read_options(AnalyticOptions, config, "analytic")
        if options.projection < 0:
            raise ConfigurationError(
                f"projection={options.projection} is below 0", "Use 0 or more."
            )
        if not 0 <= options.alarm_rate < 1:
            raise ConfigurationError(
                f"alarm_rate={options.alarm_rate:g} is not between 0 and 1",
                "Use alarm_rate=0.01.",
            )
        require_mean_pooling(config, "analytic")
        random = np.random.default_rng(config.seed)
        drawn = random.standard_normal((dim, options.projection))
        # So that all random features together weigh about as much as the embedding.
        drawn *= np.sqrt(2 / max(1, options.projection))
        projection = torch.from_numpy(drawn.astype(np.float32))
        directions = zero_shot_directions(prompts, n_findings)
        return AnalyticModel(directions, projection, config.scale)

    @one_thread()
    def learn(self, task: Task) -> None:
        """Add a task's sums and solve again.

        Raises:
            TrainingError: The sums stopped being finite.
        """
        # A cell that two tasks show counts once, as it does in joint training.
        new = task.mask & ~self._seen[task.rows]
        self._seen[task.rows] |= new
        self._train = add_sums(self._train, self._sum(task.rows, new))
        shown = task.mask.any(axis=0) & (self._counted != self._here)
        self._due |= shown
        self._counted[shown] = self._here
        if not np.isfinite(self._train.grams).all():
            raise TrainingError(
                "the sums of the images are no longer finite numbers",
                "Run `retune-cli verify`.",
            )
        self._solve()

    def _sum(self, rows: npt.NDArray[np.int64], mask: npt.NDArray[np.bool_]) -> Sums:
        values = self._problem.targets.value[rows]
        return sum_rows(self._features, self._start.shape[1], rows, values, mask)

    def _features(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """φ of some rows, as when scoring; sums over them are in float64."""
        x = torch.from_numpy(self._problem.features.embedding[rows])
        with torch.inference_mode():
            phi = self.model.features(x.to(self._problem.device).float())
        release_pages(self._problem.features.embedding)
        feature_rows: npt.NDArray[np.float32] = phi.cpu().numpy()
        return feature_rows

    def _solve(self) -> None:
        """Weights, their covariance and calibration from the sums."""
        # Matrices that the last task did not touch are not taken apart again.
        keys = [hashlib.blake2b(gram.data).digest() for gram in self._train.grams]
        self._known = {
            key: self._known[key] if key in self._known else centre(gram)
            for key, gram in zip(keys, self._train.grams, strict=True)
        }
        centred = [self._known[key] for key in keys]
        solution = solve(self._train, self._start, centred)
        before = self.model.weight.clone(), self.model.intercept.clone()
        self._take("weight", solution.weights)
        self._take("intercept", solution.intercepts)
        self._take_covariance(solution, centred)
        self.model.look_later(self._take_familiarity)
        moved = (self.model.weight != before[0]).any(dim=1)
        moved |= self.model.intercept != before[1]
        shown = self._train.grams[self._train.group, -1, -1] > 0
        due = shown & (moved.cpu().numpy() | ~self._calibrated)
        self._calibrate(due, solution)
        self._calibrated |= due

    def _take(self, name: str, values: npt.NDArray[Any]) -> None:
        """Make an array the model's buffer of this name, on its device."""
        tensor = torch.from_numpy(np.array(values))
        setattr(self.model, name, tensor.to(self._problem.device))

    def _take_covariance(
        self, solution: Solution, centred: list[Centred | None]
    ) -> None:
        size = self._start.shape[1]
        bases = [np.zeros((size, size)) if c is None else c.vectors for c in centred]
        parts = {
            "basis": np.stack(bases),
            "mean": solution.mean,
            "variance": solution.variance,
            "noise": solution.noise,
            "directions": solution.directions,
        }
        for name, values in parts.items():
            self._take(name, values.astype(np.float32))
        self._take("learned", solution.learned)
        self._take("group", self._train.group)

    @one_thread()
    def _take_familiarity(self) -> None:
        """The distribution of what was trained on, and how far validation lies."""
        seen = seen_images(self._train)
        if seen is None:
            return
        for name, values in (("centre", seen.mean), ("whitening", seen.whitening)):
            self._take(name, values.astype(np.float32))
        self.model.typical.fill_(seen.typical)
        distances = self._of_validation(self.model.distance)
        limit, rate = alarm_limit(distances, self._alarm_rate)
        self.model.distance_limit.fill_(limit)
        self.model.alarm_rate.fill_(rate)

    def _of_validation(
        self, answer: Callable[[Tensor], Tensor]
    ) -> npt.NDArray[np.float64]:
        """What the model says of the validation images, some at a time."""
        rows = self._validation_rows
        answers = []
        with torch.inference_mode():
            for start in range(0, max(1, len(rows)), _BLOCK_ROWS):
                part = rows[start : start + _BLOCK_ROWS]
                x = torch.from_numpy(self._problem.features.embedding[part])
                answers.append(
                    answer(x.to(self._problem.device).float()).double().cpu()
                )
                release_pages(self._problem.features.embedding)
        return torch.cat(answers).numpy()

    def _calibrate(self, due: npt.NDArray[np.bool_], solution: Solution) -> None:
        """The line from score to logit, on this store's validation images."""
        rows, targets = self._validation_rows, self._problem.targets
        values = self._of_validation(lambda x: self.model.scores(x)[0])
        totals = self._train.grams[self._train.group, -1, -1]
        for k in np.flatnonzero(due & ~np.isnan(values).any(axis=0)):
            seen = targets.observed[rows, k]
            positive = targets.value[rows[seen], k] > 0
            learned = bool(solution.learned[k])
            n_positive, n = float(positive.sum()), float(len(positive))
            if learned:  # labels of one class say nothing of how frequent it is
                n_positive, n = n_positive + self._train.moments[k, -1], n + totals[k]
            # The score of what was learned already estimates the probability.
            line = Line(self._problem.config.scale, 0.0)
            if learned:
                line = Line.tangent(float(solution.prevalence[k]))
            share = smoothed_share(n_positive, n)
            fitted = calibrate(values[seen, k], positive, share, line, trusted=learned)
            self.model.slope[k], self.model.offset[k] = fitted.slope, fitted.offset

    @one_thread()
    def state(self) -> dict[str, Tensor]:
        """The sums, the prior, and which validation images were counted."""
        rows = self._validation_rows
        cells = self._problem.targets.observed[rows] & self._due
        self._validation = add_sums(self._validation, self._sum(rows, cells))
        self._due[:] = False
        return {
            **self._train.to_tensors("train"),
            **self._validation.to_tensors("validation"),
            "prior": torch.from_numpy(self._start.copy()),
            "counted": torch.from_numpy(self._counted.copy()),
            "local.seen": torch.from_numpy(np.packbits(self._seen, axis=1)),
            "local.images": torch.tensor(self._images),
        }

    @one_thread()
    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state, of these images or of others.

        Raises:
            TrainingError: The state does not fit.
        """
        train = Sums.from_tensors("train", state)
        validation = Sums.from_tensors("validation", state)
        prior, counted = state.get("prior"), state.get("counted")
        shapes = {train.moments.shape, validation.moments.shape}
        if (
            prior is None
            or counted is None
            or shapes != {self._train.moments.shape}
            or counted.shape != self._counted.shape
            or not np.array_equal(prior.numpy(), self._start)
        ):
            raise TrainingError(
                "the state is of other findings, descriptions or features",
                "Continue with the options and findings that the run was made with.",
            )
        self._train, self._validation = train, validation
        self._due[:] = False
        self._counted = counted.numpy().astype(np.int64)
        self._seen[:] = False
        if int(state.get("local.images", torch.tensor(0))) == self._images:
            n_findings = self._seen.shape[1]
            packed = state["local.seen"].numpy()
            self._seen[:] = np.unpackbits(packed, axis=1, count=n_findings)
        self._solve()


def merge_states(states: list[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """One state from those of runs on different images.

    Args:
        states: All of the same findings, descriptions and options.

    Raises:
        TrainingError: They do not fit each other.
    """
    first = states[0]
    for other in states[1:]:
        same = other["prior"].shape == first["prior"].shape
        if not same or not torch.equal(other["prior"], first["prior"]):
            raise TrainingError(
                "the runs are of other findings, descriptions or features",
                "Merge runs with the same `findings`, `descriptions` and options.",
            )
    merged: dict[str, Tensor] = {}
    for part in ("train", "validation"):
        total = Sums.from_tensors(part, first)
        for other in states[1:]:
            total = add_sums(total, Sums.from_tensors(part, other))
        merged |= total.to_tensors(part)
    return merged | {"prior": first["prior"], "counted": first["counted"]}
