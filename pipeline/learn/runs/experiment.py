"""One run: learn a scenario, evaluate after each task, compare with the bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from retune.store import MetricValue
from retune.store.errors import TrainingError

from ...platform.memory import keep_freed_memory
from ...progress import Progress, ProgressCallback, silent
from ..methods.analytic.counted import check_new_images
from ..methods.calibrating import calibrate_model
from ..methods.registry import method_named
from ..problem.chosen_findings import (
    choose_findings,
    select_findings,
    usable_findings,
    with_findings,
)
from ..problem.config import untrained
from ..problem.contract import Method, Model, Problem
from ..problem.features import Features, Prompts
from ..problem.prediction import Prediction, check_score
from ..problem.scenarios import (
    Scenario,
    Task,
    merge_tasks,
    nothing_new,
    plan_scenario,
)
from ..problem.targets import (
    Targets,
    make_targets,
)
from ..stats.catalog_names import Bound, Metric
from ..stats.evaluation import EvaluatedRows, Evaluation, evaluate_predictions
from ..stats.incremental import summarise, summary_intervals
from ..stats.intervals import PatientInfluence, mean_auroc_interval
from ..stats.operating_point import (
    OperatingPoint,
    ThresholdOrigin,
    choose_thresholds,
)
from ..stats.subgroups import Groups
from ..training.model import AdaptedModel
from ..training.threads import few_threads
from ..training.trainer import build_model
from .checkpoints import Checkpoints
from .metric_rows import EvaluatedRun, run_values
from .record import ExperimentConfig
from .saved_model import predict
from .state import RunState

__all__ = [
    "Experiment",
    "ExperimentConfig",
    "run_experiment",
    "run_merge",
]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Experiment:
    """What a run gave; K findings, T tasks.

    Attributes:
        config: What the run was.
        findings: K names.
        scenario: The tasks.
        auroc: R, test AUROC after each task by the score that was asked for, shape
            (T+1, K); row 0 is zero-shot. NaN for findings with one class in the test
            split.
        auroc_positive: The same of s⁺ alone, the reference's score.
        final: Evaluation on the test split after the last task.
        bounds: Name -> test AUROC, shape (K,).
        summary: Incremental figures by name.
        summary_interval: The ends of their 95 % intervals over test patients.
        metrics: All figures as rows for the catalog.
        dropped: Finding -> why it was not trained.
        excluded: Finding -> why it has no figure.
        thresholds: Chosen on validation, shape (K,).
        origins: Where each threshold comes from.
        prevalence: Share of positives among training and validation labels, shape (K,);
            NaN where there are none.
        model: After the last task.
        prediction: Prediction of the final model; rows of training images are not
            scored and 0.
        prompts: The descriptions of the K findings.
        state: What the method needs to go on learning; empty for ``zero-shot``.
    """

    config: ExperimentConfig
    findings: tuple[str, ...]
    scenario: Scenario
    auroc: Floats
    auroc_positive: Floats
    final: Evaluation
    bounds: Mapping[str, Floats]
    summary: Mapping[str, float]
    summary_interval: Mapping[str, tuple[float, float]]
    metrics: tuple[MetricValue, ...]
    dropped: Mapping[str, str]
    excluded: Mapping[str, str]
    thresholds: Floats
    model: Model
    prediction: Prediction
    prompts: Prompts
    origins: tuple[ThresholdOrigin, ...] = ()
    prevalence: Floats | None = None
    state: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def __repr__(self) -> str:
        return (
            f"Experiment({self.config.scenario}, {self.config.method}: "
            f"{len(self.scenario.tasks)} tasks, {len(self.findings)} findings, "
            f"mean test AUROC {self.final.macro[0]:.3f})"
        )


def run_experiment(
    features: Features,
    prompts: Prompts,
    config: ExperimentConfig,
    progress: ProgressCallback = silent,
    *,
    start: RunState | None = None,
    checkpoints: Checkpoints | None = None,
    groups: Groups | None = None,
) -> Experiment:
    """Run a scenario and evaluate it.

    Thresholds and early stopping use validation rows only; test rows are scored, never
    used to choose.

    Args:
        features: The images.
        prompts: Descriptions of all their findings.
        config: What to run.
        progress: Told after each task.
        start: Go on from this run: its findings, descriptions and state.
        checkpoints: Where to keep the state after each task, and to find those that an
            interrupted run left.
        groups: Groups of all images, to give figures of each group too.

    Raises:
        ConfigurationError: An option names something that does not exist.
        TrainingError: The scenario cannot be run on these images.
    """
    if start is not None:
        check_new_images(start.tensors, features.image_id[features.rows("validation")])
    run, dropped = _prepare(features, prompts, config, start, checkpoints)
    names = run.features.findings
    scenario = plan_scenario(
        config.scenario,
        run.targets,
        run.features.patient,
        run.features.rows("train"),
        names,
        order=[names.index(name) for name in config.order] if config.order else None,
        n_tasks=config.n_tasks,
        visible=config.visible,
        seed=config.train.seed,
    )
    return _carry_out(run, scenario, dropped, progress, groups)


def run_merge(
    features: Features,
    prompts: Prompts,
    config: ExperimentConfig,
    merged: RunState,
    *,
    groups: Groups | None = None,
) -> Experiment:
    """Evaluate states that were added; no image is learned from.

    Args:
        features: The images to tune thresholds and to evaluate on.
        prompts: Descriptions of all their findings.
        config: How the states were made; its scenario is ``merge``.
        merged: The sum of the states.
        groups: Groups of all images, to give figures of each group too.

    Raises:
        TrainingError: The state does not fit these images.
    """
    run, dropped = _prepare(features, prompts, config, merged, None)
    return _carry_out(run, nothing_new(run.features.findings), dropped, silent, groups)


def _prepare(
    features: Features,
    prompts: Prompts,
    config: ExperimentConfig,
    start: RunState | None,
    checkpoints: Checkpoints | None,
) -> "tuple[_Run, dict[str, str]]":
    """The images and descriptions of the findings of a run; the findings left out."""
    keep_freed_memory()
    check_score(config.score)
    OperatingPoint.parse(config.operating_point)
    _check_splits(features, config.scenario)
    dropped = _unusable(features, config)
    if start is None:
        names = choose_findings(
            features.findings, dropped, config.findings, config.order
        )
        features, prompts = select_findings(features, prompts, names)
    else:
        names = list(start.findings)
        features, prompts = with_findings(features, names), start.prompts
        dropped = {name: why for name, why in dropped.items() if name not in names}
    if prompts:
        prompts.check(features.findings)
    else:
        _refuse_without_text(config)
    targets = _targets(features, config)
    return _Run(features, prompts, targets, config, start, checkpoints), dropped


def _refuse_without_text(config: ExperimentConfig) -> None:
    """What an encoder that knows images only cannot do.

    Raises:
        TrainingError: The scenario or the method compares images with sentences.
    """
    hint = (
        "Use `method` analytic, which learns from images alone, or import vectors of "
        "texts with `retune-cli import-vectors --texts`."
    )
    if config.scenario == "zero-shot":
        raise TrainingError(
            "scenario zero-shot needs vectors of texts, and this encoder has none", hint
        )
    if getattr(method_named(config.method), "needs_text", True):
        raise TrainingError(
            f"method {config.method} needs vectors of texts, and this encoder has none",
            hint,
        )


def _carry_out(
    run: "_Run",
    scenario: Scenario,
    dropped: Mapping[str, str],
    progress: ProgressCallback,
    groups: Groups | None,
) -> Experiment:
    with few_threads(run.config.train.batch_size, run.features.embedding.shape):
        model, predictions, method = run.sequence(scenario.tasks, progress)
        bounds = run.bounds(scenario) if run.config.with_bounds else {}
        experiment = _evaluate(
            run, scenario, model, predictions, bounds, dropped, groups
        )
    return replace(experiment, state=method.state() if method else {})


def _unusable(features: Features, config: ExperimentConfig) -> dict[str, str]:
    """Findings that cannot be trained, and why; zero-shot needs no training images."""
    if config.scenario == "zero-shot" and not len(features.rows("train")):
        return {}
    return usable_findings(features, _targets(features, config))


def _check_splits(features: Features, scenario: str) -> None:
    needed = ("test",) if scenario in ("zero-shot", "merge") else ("train", "test")
    for split in needed:
        if not len(features.rows(split)):
            raise TrainingError(
                f"no image is in the {split} split",
                "Check the split column, or split anew with `split_seed`.",
            )


def _targets(features: Features, config: ExperimentConfig) -> Targets:
    return make_targets(
        features.states,
        config.uncertain,
        config.blank,
        findings=features.findings,
        training=features.split == "train",
    )


@dataclass(frozen=True)
class _Run:
    """The images of a run, and how models are made and trained on them."""

    features: Features
    prompts: Prompts
    targets: Targets
    config: ExperimentConfig
    start: RunState | None = None
    checkpoints: Checkpoints | None = None

    def _problem(self) -> Problem:
        return Problem(
            self.features,
            self.prompts,
            self.targets,
            self.config.train,
            torch.device(self.config.device),
        )

    def _zero_shot(self) -> Model:
        dim = self.features.embedding.shape[1]
        train = untrained(self.config.train)
        return build_model(train, self.prompts, len(self.features.findings), dim)

    def sequence(
        self, tasks: Sequence[Task], progress: ProgressCallback = silent
    ) -> tuple[Model, list[Prediction], Method | None]:
        """Learn tasks in order; predictions before the first and after each."""
        if self.prompts:
            zero_shot = self._zero_shot()
            if not tasks:
                return self._calibrated(zero_shot)
            predictions = [self._predict(zero_shot)]
        else:
            predictions = [Prediction.none(self.targets.value.shape)]
        method = method_named(self.config.method)(self._problem())
        if self.start is not None:
            method.restore(self.start.tensors)
        for number, task in enumerate(tasks, start=1):
            self._learn(method, task, number)
            predictions.append(self._predict(method.model))
            progress(Progress("tasks", number, len(tasks), task.name))
        return method.model, predictions, method

    def _calibrated(
        self, model: Model
    ) -> tuple[Model, list[Prediction], Method | None]:
        """Zero-shot as a run of its own, which validation labels may calibrate."""
        assert isinstance(model, AdaptedModel)
        every = np.ones(len(self.features.findings), dtype=bool)
        calibrate_model(model, self._problem(), every)
        return model, [self._predict(model)], None

    @cached_property
    def _held(self) -> npt.NDArray[np.int64]:
        """Rows of validation and test."""
        held = (self.features.rows(split) for split in ("validation", "test"))
        return np.sort(np.concatenate([*held]))

    def _predict(self, model: Model) -> Prediction:
        """Scores of validation and test images; nothing is said of training images."""
        prediction = predict(model, self.features.embedding, rows=self._held)
        return prediction.ranking_by(self.config.score, self.config.method)

    def _learn(self, method: Method, task: Task, number: int) -> None:
        """Learn a task, or resume from the state that an interrupted run left."""
        if self.checkpoints is None:
            method.learn(task)
            return
        kept = self.checkpoints.find(number)
        if kept is not None:
            method.restore(kept)
            return
        method.learn(task)
        self.checkpoints.keep(number, method.state())

    def rows(self, split: str) -> EvaluatedRows:
        """The images of a split."""
        rows, least = self.features.rows(split), self.config.min_positives
        return EvaluatedRows.of(self.features, self.targets, rows, least)

    def prevalence(self) -> Floats:
        """Share of positives among training and validation labels, shape (K,)."""
        held = np.isin(self.features.split.astype(str), ("train", "validation"))
        observed = self.targets.observed & held[:, None]
        n = observed.sum(axis=0)
        share: Floats = np.full(len(n), np.nan)
        positive = np.where(observed, self.targets.value, 0).sum(axis=0)
        np.divide(positive, n, out=share, where=n > 0)
        return share

    def bounds(self, scenario: Scenario) -> dict[str, PatientInfluence]:
        """Test AUROC of what the scenario is compared with."""
        from .bounds import logistic_regression_scores

        influences: dict[str, PatientInfluence] = {}
        if not len(self.features.rows("train")):
            return influences
        every = plan_scenario(
            "joint",
            self.targets,
            self.features.patient,
            self.features.rows("train"),
            self.features.findings,
        )
        if scenario.name != "joint":
            influences[Bound.JOINT] = self._once(every.tasks[0])
        if scenario.name in ("class", "label"):
            merged = merge_tasks(scenario.tasks, len(self.features.image_id))
            influences[Bound.JOINT_OBSERVED] = self._once(merged)
        elif scenario.name == "data":
            influences[Bound.JOINT_OBSERVED] = influences[
                Bound.JOINT
            ]  # its parts are all cells
        if self.config.method != "analytic" and self.config.train.pooling == "mean":
            influences[Bound.ANALYTIC] = self._once(
                every.tasks[0], self._exact_config()
            )
        if isinstance(self.features.embedding, np.memmap):
            return (
                influences  # scikit-learn would need all vectors in memory, in float32
            )
        influences[Bound.LOGISTIC_REGRESSION] = self.rows("test").influence(
            logistic_regression_scores(self.features, self.targets)
        )
        return influences

    def _exact_config(self) -> ExperimentConfig:
        """How the exact method learns the same."""
        train = replace(self.config.train, options={})
        return replace(self.config, method="analytic", train=train, score="difference")

    def _once(
        self, task: Task, config: ExperimentConfig | None = None
    ) -> PatientInfluence:
        alone = replace(
            self, config=config or self.config, start=None, checkpoints=None
        )
        _, predictions, _ = alone.sequence([task])
        return self.rows("test").influence(predictions[-1].score)


def _evaluate(
    run: _Run,
    scenario: Scenario,
    model: Model,
    predictions: Sequence[Prediction],
    bounds: Mapping[str, PatientInfluence],
    dropped: Mapping[str, str],
    groups: Groups | None,
) -> Experiment:
    findings, images = run.features.findings, run.rows("test")
    held_out, point = (
        run.rows("validation"),
        OperatingPoint.parse(run.config.operating_point),
    )
    prevalence = run.prevalence()
    test, validation, thresholds = evaluate_predictions(
        images,
        held_out,
        predictions,
        run.config.train.seed,
        point=point,
        constant=prevalence,
    )
    counted = images.counted
    tasks = [one.influence.only(counted) for one in test]
    held = [
        bounds[name].only(counted) if name in bounds else None
        for name in (Bound.JOINT, Bound.JOINT_OBSERVED)
    ]
    summary = summarise(
        np.stack([one.auroc for one in tasks]),
        scenario.introduced,
        *(None if bound is None else bound.auroc for bound in held),
    )
    intervals = summary_intervals(tasks, scenario.introduced, *held)
    # Wherever the reference is compared, its own score is told too.
    positive = images.influence(predictions[-1].positive)
    summary[Metric.FINAL_AUROC_POSITIVE], *ends = mean_auroc_interval(positive, counted)
    intervals[Metric.FINAL_AUROC_POSITIVE] = (ends[0], ends[1])
    evaluated = EvaluatedRun(
        findings,
        scenario.introduced,
        test,
        validation,
        bounds,
        {name: (value, *intervals[name]) for name, value in summary.items()},
    )
    return Experiment(
        config=run.config,
        findings=findings,
        scenario=scenario,
        auroc=np.stack([one.auroc for one in test]),
        auroc_positive=np.stack([one.others[Metric.AUROC_POSITIVE] for one in test]),
        final=test[-1],
        bounds={name: bound.auroc for name, bound in bounds.items()},
        summary=summary,
        summary_interval=intervals,
        metrics=tuple(run_values(evaluated, images, predictions[-1], groups)),
        dropped=dropped,
        excluded={
            name: "one class only in the test split"
            for name, value in zip(findings, test[-1].auroc, strict=True)
            if np.isnan(value)
        },
        thresholds=thresholds,
        origins=choose_thresholds(
            point,
            predictions[-1].probability[held_out.rows],
            held_out.value,
            held_out.observed,
        )[1],
        prevalence=prevalence,
        model=model,
        prediction=predictions[-1],
        prompts=run.prompts,
    )
