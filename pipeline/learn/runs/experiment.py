"""One run: learn a scenario, evaluate after each task, compare with the bounds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import torch

from retune.store import MetricValue
from retune.store.plural import counted

from ...progress import ProgressCallback, silent
from ..methods.analytic.counted import check_new_images
from ..problem.contract import Model
from ..problem.features import Features, Prompts
from ..problem.prediction import Prediction
from ..problem.scenarios import (
    Scenario,
    nothing_new,
    plan_scenario,
)
from ..stats.catalog_names import Bound, Metric
from ..stats.evaluation import Evaluation, evaluate_predictions
from ..stats.incremental import summarise, summary_intervals
from ..stats.intervals import PatientInfluence, mean_auroc_interval
from ..stats.operating_point import (
    OperatingPoint,
    ThresholdOrigin,
    choose_thresholds,
)
from ..stats.subgroups import Groups
from ..training.threads import few_threads
from .bounds import measure_bounds
from .checkpoints import Checkpoints
from .metric_rows import EvaluatedRun, run_values
from .record import ExperimentConfig
from .run_problem import RunProblem, prepare_run
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
            f"{counted(len(self.scenario.tasks), 'task')}, "
            f"{counted(len(self.findings), 'finding')}, "
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
    run, dropped = prepare_run(features, prompts, config, start, checkpoints)
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
    run, dropped = prepare_run(features, prompts, config, merged, None)
    return _carry_out(run, nothing_new(run.features.findings), dropped, silent, groups)


def _carry_out(
    run: RunProblem,
    scenario: Scenario,
    dropped: Mapping[str, str],
    progress: ProgressCallback,
    groups: Groups | None,
) -> Experiment:
    with few_threads(run.config.train.batch_size, run.features.embedding.shape):
        model, predictions, method = run.sequence(scenario.tasks, progress)
        bounds = measure_bounds(run, scenario) if run.config.with_bounds else {}
        experiment = _evaluate(
            run, scenario, model, predictions, bounds, dropped, groups
        )
    return replace(experiment, state=method.state() if method else {})


def _evaluate(
    run: RunProblem,
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
