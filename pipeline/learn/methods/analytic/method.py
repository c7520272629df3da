"""`analytic`: an exact masked ridge head for each finding; nothing is forgotten.

What it keeps of a task are sums over its images (`Sums`); the weights follow from them.
After any sequence of tasks they are those of joint training on all cells observed so
far (METHOD §4 of the project's design). Related: ACIL, GACL, RanPAC, RAIL, L3A.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from retune.store.errors import ConfigurationError, TrainingError

from ...problem.config import TrainConfig
from ...problem.contract import Problem, Scores, read_options
from ...problem.features import Prompts
from ...problem.scenarios import Task
from ...stats.calibration import platt
from ...training.threads import one_thread
from .counted import images_digest
from .ridge import Centred, centre, solve
from .sums import Sums, add_sums, sum_rows

__all__ = ["Analytic", "AnalyticModel", "AnalyticOptions", "merge_states"]


@dataclass(frozen=True)
class AnalyticOptions:
    """Options of ``analytic``.

    Attributes:
        projection: Random features beside the embedding itself; 0 for none.
    """

    projection: int = 0


class AnalyticModel(nn.Module):
    """Linear in φ(x): the normalised embedding and, if asked for, random features.

    Args:
        zero_shot: t⁺ − t⁻ of each finding, shape (K, D).
        projection: Fixed random directions, shape (D, M); M may be 0.
        scale: Factor from a zero-shot score to its logit.
    """

    def __init__(self, zero_shot: Tensor, projection: Tensor, scale: float) -> None:
        super().__init__()
        n_findings, n_random = len(zero_shot), projection.shape[1]
        weight = functional.pad(zero_shot, (0, n_random))
        self.weight: Tensor
        self.intercept: Tensor
        self.slope: Tensor
        self.offset: Tensor
        self.projection: Tensor
        self.register_buffer("weight", weight)
        self.register_buffer("intercept", torch.zeros(n_findings))
        self.register_buffer("slope", torch.full((n_findings,), scale))
        self.register_buffer("offset", torch.zeros(n_findings))
        # Drawn from the seed again, so that no file need hold it.
        self.register_buffer("projection", projection, persistent=False)

    def features(self, x: Tensor) -> Tensor:
        """φ of embeddings of shape (B, D): shape (B, D + M)."""
        direction = functional.normalize(x, dim=-1)
        if not self.projection.shape[1]:
            return direction
        random = functional.relu(direction @ self.projection)
        return torch.cat([direction, random], dim=-1)

    def scores(self, x: Tensor) -> Scores:
        """The ridge's answer, NaN for s⁺ which it has not, and the probability.

        The answer estimates P(finding) where there were labels, and is s⁺ − s⁻ of
        zero-shot where there were none.
        """
        difference = self.features(x) @ self.weight.T + self.intercept
        probability = (difference * self.slope + self.offset).sigmoid()
        return difference, torch.full_like(difference, torch.nan), probability


def _zero_shot(prompts: Prompts, n_findings: int) -> Tensor:
    """t⁺ − t⁻ with mean pooling, shape (K, D): the zero-shot score is its product."""
    vectors = torch.from_numpy(prompts.embedding).double()
    finding = torch.from_numpy(prompts.finding)
    positive = torch.from_numpy(prompts.positive)
    rows = []
    for k in range(n_findings):
        means = [
            functional.normalize(
                vectors[(finding == k) & (positive == wanted)].mean(dim=0), dim=0
            )
            for wanted in (True, False)
        ]
        rows.append(means[0] - means[1])
    return torch.stack(rows).float()


class Analytic:
    """Sums of tasks, and the ridge that follows from them."""

    #: An image that is added twice counts twice.
    counts_images = True
    #: Parts of `TrainConfig` that the sums do not depend on.
    ignored_options = (
        "preset", "adaptor", "placement", "epochs", "learning_rate", "batch_size",
        "patience", "learn_scale", "precision",
    )  # fmt: skip

    def __init__(self, problem: Problem) -> None:
        features = problem.features
        self.model = self.build_model(
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
        if config.pooling != "mean":
            raise ConfigurationError(
                "method analytic knows only --pooling mean",
                "With max, zero-shot is no linear function that it could start from.",
            )
        random = np.random.default_rng(config.seed)
        drawn = random.standard_normal((dim, options.projection))
        # So that all random features together weigh about as much as the embedding.
        drawn *= np.sqrt(2 / max(1, options.projection))
        projection = torch.from_numpy(drawn.astype(np.float32))
        return AnalyticModel(_zero_shot(prompts, n_findings), projection, config.scale)

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
        cells = self._problem.targets.observed[self._validation_rows] & shown
        self._validation = add_sums(
            self._validation, self._sum(self._validation_rows, cells)
        )
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
        found: npt.NDArray[np.float32] = phi.cpu().numpy()
        return found

    def _solve(self) -> None:
        """Weights, intercepts and calibration from the sums."""
        # Matrices that the last task did not touch are not taken apart again.
        keys = [hashlib.blake2b(gram.data).digest() for gram in self._train.grams]
        self._known = {
            key: self._known[key] if key in self._known else centre(gram)
            for key, gram in zip(keys, self._train.grams, strict=True)
        }
        centred = [self._known[key] for key in keys]
        prior = self._start * (self._problem.config.scale / 4)
        found = solve(self._train, self._validation, prior, centred)
        learned = np.isfinite(found.strength)
        weights = np.where(learned[:, None], found.weights, self._start)
        before = self.model.weight.clone(), self.model.intercept.clone()
        self.model.weight.copy_(torch.from_numpy(weights))
        self.model.intercept.copy_(torch.from_numpy(found.intercepts))
        moved = (self.model.weight != before[0]).any(dim=1)
        moved |= self.model.intercept != before[1]
        due = learned & (moved.cpu().numpy() | ~self._calibrated)
        self._calibrate(due)
        self._calibrated |= due

    def _calibrate(self, learned: npt.NDArray[np.bool_]) -> None:
        """Platt's line from score to logit, on this store's validation images."""
        rows, targets = self._validation_rows, self._problem.targets
        x = torch.from_numpy(self._problem.features.embedding[rows])
        with torch.inference_mode():
            scores = self.model.scores(x.to(self._problem.device).float())[0]
        values = scores.double().cpu().numpy()
        for k in np.flatnonzero(learned):
            seen = targets.observed[rows, k]
            slope, offset = platt(values[seen, k], targets.value[rows[seen], k] > 0)
            self.model.slope[k], self.model.offset[k] = slope, offset

    def state(self) -> dict[str, Tensor]:
        """The sums, the prior, and which validation images were counted."""
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
                "Merge runs with the same --findings, --descriptions and options.",
            )
    merged: dict[str, Tensor] = {}
    for part in ("train", "validation"):
        total = Sums.from_tensors(part, first)
        for other in states[1:]:
            total = add_sums(total, Sums.from_tensors(part, other))
        merged |= total.to_tensors(part)
    return merged | {"prior": first["prior"], "counted": first["counted"]}
