"""Mean test AUROC of methods by the number of patients that they learn from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch
from threadpoolctl import threadpool_limits

from retune.store.errors import ConfigurationError, TrainingError
from retune.store.plural import counted

from ...progress import Progress, ProgressCallback, silent
from ..linear.logistic import linear_scores
from ..linear.regression import logistic_regression
from ..methods.analytic.method import Analytic
from ..methods.analytic.model import AnalyticModel
from ..methods.registry import method_named
from ..problem.chosen_findings import choose_findings, select_findings, usable_findings
from ..problem.config import TrainConfig, untrained
from ..problem.contract import Problem
from ..problem.features import Features, Prompts
from ..problem.scenarios import Task
from ..problem.targets import (
    SOFT_TARGET,
    BlankPolicy,
    Targets,
    UncertainPolicy,
    make_targets,
)
from ..runs.saved_model import predict
from ..stats.evaluation import EvaluatedRows
from ..stats.intervals import PatientInfluence, logit_interval, patient_variance
from ..training.threads import few_threads
from ..training.trainer import build_model
from .draws import Draw, draws
from .exact import exact_weights

__all__ = ["LOGISTIC_REGRESSION", "ZERO_SHOT", "Curve", "CurveConfig", "measure_curve"]

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
#: Images whose products are worth sharing among cores.
_MANY = 20_000
ZERO_SHOT, LOGISTIC_REGRESSION = "zero-shot", "logistic-regression"
_EXACT = "analytic"


@dataclass(frozen=True)
class CurveConfig:
    """What to measure.

    Attributes:
        shots: Numbers of training patients, None for all.
        seeds: How many draws of patients.
        seed: Seed of the first draw; the others follow.
        methods: `ZERO_SHOT`, `LOGISTIC_REGRESSION`, or names of methods.
        findings: Only these; None for all with both classes among training images.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        min_positives: Test images of each class that a finding needs to count.
        train: How methods that train adaptors do it.
    """

    shots: tuple[int | None, ...] = (8, 16, 32, 64, 128, None)
    seeds: int = 5
    seed: int = 0
    methods: tuple[str, ...] = (ZERO_SHOT, "analytic", "finetune", LOGISTIC_REGRESSION)
    findings: tuple[str, ...] | None = None
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    min_positives: int = 5
    train: TrainConfig = field(default_factory=TrainConfig)


@dataclass(frozen=True)
class CurveScore:
    """Test AUROC of one finding, by one method, after one draw.

    Attributes:
        method: Its name.
        n_patients: Training patients; 0 for zero-shot.
        n_images: Their images.
        seed: Seed of the draw.
        finding: Its name.
        auroc: The figure.
    """

    method: str
    n_patients: int
    n_images: int
    seed: int
    finding: str
    auroc: float


@dataclass(frozen=True)
class CurvePoint:
    """Mean over findings and draws of one method with so many patients.

    Attributes:
        method: Its name.
        n_patients: Training patients; 0 for zero-shot.
        n_images: Their images, mean over draws.
        n_draws: Draws.
        auroc: Mean test AUROC.
        low: Lower end of its 95 % interval over test patients.
        high: Upper end. Which patients were drawn is not in it.
        spread: Standard deviation between draws; None with one draw.
    """

    method: str
    n_patients: int
    n_images: float
    n_draws: int
    auroc: float
    low: float
    high: float
    spread: float | None


@dataclass(frozen=True)
class Curve:
    """All points of all methods.

    Attributes:
        findings: Those in the means.
        excluded: Finding -> why it is in no mean.
        beyond: Numbers of patients that were asked for and are not there.
        points: Means with intervals, method by method.
        scores: What they are means of.
        influences: Method and number of patients -> what each test patient moves, draw
            by draw, for a comparison with another curve on the same images.
    """

    findings: tuple[str, ...]
    excluded: Mapping[str, str]
    beyond: tuple[int, ...]
    points: tuple[CurvePoint, ...]
    scores: tuple[CurveScore, ...]
    influences: Mapping[tuple[str, int], tuple[PatientInfluence, ...]] = field(
        default_factory=dict, repr=False, compare=False
    )


def measure_curve(
    features: Features,
    prompts: Prompts,
    config: CurveConfig,
    progress: ProgressCallback = silent,
) -> Curve:
    """Let each method learn from each draw, and score the test images.

    The patients of a draw are those of the smaller draws with the same seed and some
    more. Zero-shot stands in for a finding that has images of one class only in a
    draw. Methods choose what they choose on the drawn patients, `finetune` and its kin
    also on validation images.

    Args:
        features: The images.
        prompts: Descriptions of all their findings; or none at all, for an encoder
            that knows images only.
        config: What to measure.
        progress: Told after each draw.

    Raises:
        ConfigurationError: A method does not exist, or no number of patients fits.
        TrainingError: There are no training or test images, or no finding counts.
    """
    for name in config.methods:
        if name not in (ZERO_SHOT, LOGISTIC_REGRESSION):
            method_named(name)
    config = replace(config, methods=_without_texts(config.methods, prompts))
    measured = _prepare(features, prompts, config)
    rows = measured.features.rows("train")
    seeds = range(config.seed, config.seed + config.seeds)
    made, beyond = draws(measured.features.patient, rows, config.shots, seeds)
    if not made:
        raise ConfigurationError(
            f"there are no {min(beyond)} training patients", "Ask for fewer in `shots`."
        )
    influences: dict[tuple[str, int], list[tuple[Draw, PatientInfluence]]] = {}
    if ZERO_SHOT in config.methods:
        nothing = Draw(0, config.seed, rows[:0], True)
        influences[ZERO_SHOT, 0] = [(nothing, measured.influence(measured.zero_shot))]
    learning = [name for name in config.methods if name != ZERO_SHOT]
    # Threads that share small products wait for each other longer than they work.
    cores = {True: None, False: 1}
    with few_threads(config.train.batch_size, measured.features.embedding.shape):
        for number, draw in enumerate(made, start=1):
            with threadpool_limits(cores[len(draw.rows) > _MANY], "blas"):
                for name in learning:
                    scored = measured.influence(measured.learn(name, draw))
                    key = name, draw.n_patients
                    influences.setdefault(key, []).append((draw, scored))
            note = f"{counted(draw.n_patients, 'patient')}, seed {draw.seed}"
            progress(Progress("draws of patients", number, len(made), note))
    order = sorted(influences, key=lambda key: (config.methods.index(key[0]), key[1]))
    points = [measured.point(*key, influences[key]) for key in order]
    scores = [one for key in order for one in measured.scores(key[0], influences[key])]
    names = tuple(np.array(measured.features.findings, object)[measured.counted])
    excluded = measured.excluded
    moved = {key: tuple(one for _, one in influences[key]) for key in order}
    return Curve(names, excluded, tuple(beyond), tuple(points), tuple(scores), moved)


def _without_texts(methods: tuple[str, ...], prompts: Prompts) -> tuple[str, ...]:
    """The methods that can be had; without texts those of the default that need none.

    Raises:
        TrainingError: One was asked for that needs texts, and there are none.
    """
    needing = [name for name in methods if name not in (_EXACT, LOGISTIC_REGRESSION)]
    if prompts or not needing:
        return methods
    if methods != CurveConfig.methods:
        raise TrainingError(
            f"method {needing[0]} needs vectors of texts; this encoder knows images "
            "only",
            f"Use `methods` {_EXACT},{LOGISTIC_REGRESSION}.",
        )
    return (_EXACT, LOGISTIC_REGRESSION)


def _prepare(features: Features, prompts: Prompts, config: CurveConfig) -> "_Measured":
    for split in ("train", "test"):
        if not len(features.rows(split)):
            raise TrainingError(
                f"no image is in the {split} split",
                "Check the split column, or split anew with `split_seed`.",
            )

    def targets_of(one: Features) -> Targets:
        return make_targets(
            one.states,
            config.uncertain,
            config.blank,
            findings=one.findings,
            training=one.split == "train",
        )

    dropped = usable_findings(features, targets_of(features))
    names = choose_findings(features.findings, dropped, config.findings, None)
    features, prompts = select_findings(features, prompts, names)
    if prompts:
        prompts.check(features.findings)
    targets = targets_of(features)
    test = EvaluatedRows.of(features, targets, features.rows("test"))
    positives = (test.observed & (test.value > 0)).sum(axis=0)
    negatives = (test.observed & (test.value <= 0)).sum(axis=0)
    needed = max(1, config.min_positives)
    excluded = dict(dropped) | {
        name: f"{one} positive and {other} negative test images"
        for name, one, other in zip(names, positives, negatives, strict=True)
        if min(one, other) < needed
    }
    counted = np.flatnonzero(np.minimum(positives, negatives) >= needed)
    if not len(counted):
        raise TrainingError(
            f"no finding has {needed} positive and {needed} negative test images",
            "Lower `min_positives`, or use more images.",
        )
    return _Measured(features, prompts, targets, config, test, counted, excluded)


@dataclass(frozen=True)
class _Measured:
    """The images, and how a method's scores of the test images come about."""

    features: Features
    prompts: Prompts
    targets: Targets
    config: CurveConfig
    test: EvaluatedRows
    counted: Rows
    excluded: Mapping[str, str]
    _models: dict[str, AnalyticModel] = field(default_factory=dict)

    @property
    def _shape(self) -> tuple[int, int]:
        return len(self.features.findings), self.features.embedding.shape[1]

    def _problem(self, seed: int) -> Problem:
        return Problem(
            self.features,
            self.prompts,
            self.targets,
            replace(self.config.train, seed=seed),
            torch.device("cpu"),
        )

    @property
    def zero_shot(self) -> npt.NDArray[np.floating]:
        """Scores of the test images without learning, shape (n, K).

        Without texts there is nothing to score by, and all images are equal.
        """
        if not self.prompts:
            return np.zeros((len(self.test.rows), len(self.features.findings)))
        train = untrained(self.config.train)
        model = build_model(train, self.prompts, *self._shape)
        embedding = self.features.embedding
        return predict(model, embedding, rows=self.test.rows).score[self.test.rows]

    def learn(self, name: str, draw: Draw) -> npt.NDArray[np.floating]:
        """Scores of the test images after a draw, shape (n, K)."""
        if name == LOGISTIC_REGRESSION:
            return self._logistic_regression(draw)
        if name == "analytic":
            return self._exact(draw)
        method = method_named(name)(self._problem(draw.seed))
        mask = self.targets.observed[draw.rows]
        if mask.any():
            method.learn(Task(f"{draw.n_patients} patients", draw.rows, mask))
        prediction = predict(method.model, self.features.embedding, rows=self.test.rows)
        return prediction.score[self.test.rows]

    def _logistic_regression(self, draw: Draw) -> npt.NDArray[np.floating]:
        value = self.targets.value[draw.rows]
        observed = self.targets.observed[draw.rows] & (value != SOFT_TARGET)
        weights, intercepts, usable = logistic_regression(
            self.features.embedding,
            draw.rows,
            value > SOFT_TARGET,
            observed,
            self.features.patient[draw.rows],
            draw.seed,
        )
        scores = linear_scores(self.features.embedding, self.test.rows, weights)
        if usable.all():
            return scores + intercepts
        return np.where(usable, scores + intercepts, self.zero_shot)

    def _exact(self, draw: Draw) -> npt.NDArray[np.floating]:
        """As `Analytic`, by the same functions, without what a curve does not need."""
        if "analytic" not in self._models:
            model = Analytic.build_model(self.config.train, self.prompts, *self._shape)
            self._models["analytic"] = model
        model = self._models["analytic"]

        def features_of(rows: Rows) -> npt.NDArray[np.floating]:
            x = torch.from_numpy(self.features.embedding[rows])
            with torch.inference_mode():
                phi: npt.NDArray[np.floating] = model.features(x.float()).numpy()
            return phi

        weights = exact_weights(
            features_of,
            draw.rows,
            self.targets.value[draw.rows],
            self.targets.observed[draw.rows],
            model.weight.numpy(),
        )
        return features_of(self.test.rows).astype(np.float64) @ weights.T

    def influence(self, scores: npt.NDArray[np.floating]) -> PatientInfluence:
        """Of the findings that count, on the test images."""
        rows = replace(
            self.test,
            rows=np.arange(len(self.test.rows)),
            value=self.test.value[:, self.counted],
            observed=self.test.observed[:, self.counted],
        )
        return rows.influence(scores[:, self.counted])

    def point(
        self,
        method: str,
        n_patients: int,
        influences: Sequence[tuple[Draw, PatientInfluence]],
    ) -> CurvePoint:
        """The mean over draws."""
        rows = [one for _, one in influences]
        means = np.array([one.auroc.mean() for one in rows])
        mean, size = float(means.mean()), len(rows) * len(self.counted)
        weights = np.full((len(rows), len(self.counted)), 1 / size)
        low, high = 0.0, 1.0
        if 0 < mean < 1:
            low, high = logit_interval(mean, patient_variance(rows, weights))
        return CurvePoint(
            method,
            n_patients,
            float(np.mean([len(draw.rows) for draw, _ in influences])),
            len(rows),
            mean,
            low,
            high,
            float(means.std(ddof=1)) if len(rows) > 1 else None,
        )

    def scores(
        self, method: str, influences: Sequence[tuple[Draw, PatientInfluence]]
    ) -> list[CurveScore]:
        """Each finding after each draw."""
        names = [self.features.findings[k] for k in self.counted]
        return [
            CurveScore(
                method, draw.n_patients, len(draw.rows), draw.seed, name, float(value)
            )
            for draw, one in influences
            for name, value in zip(names, one.auroc, strict=True)
        ]
