"""Training: a request becomes runs of the store."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from retune.store import FeatureStore, Run, choose_encoder, find_run
from retune.store.errors import ConfigurationError
from retune.store.plural import counted

from ..encode.concatenation import concatenated_encoder
from ..learn.erasing.marks import refuse_erased, refuse_superseded
from ..learn.methods.registry import method_named
from ..learn.problem.config import TrainConfig, preset, training_precision
from ..learn.problem.prediction import Score
from ..learn.problem.scenarios import SCENARIOS, Visible
from ..learn.problem.targets import BlankPolicy, UncertainPolicy
from ..learn.runs.experiment import Experiment, run_experiment
from ..learn.runs.learning_set import LearningSet, load_learning_set, named_findings
from ..learn.runs.record import ExperimentConfig, Lineage
from ..learn.runs.reopened import find_state
from ..learn.runs.saving import checkpoints_of, save_run
from ..learn.runs.seen_images import check_not_learned
from ..learn.runs.selection import Selection
from ..learn.runs.state import RunState, refuse_known
from ..learn.stats.operating_point import OperatingPoint
from ..learn.stats.subgroups import image_groups
from ..learn.stats.sufficiency import MIN_POSITIVES
from ..progress import ProgressCallback, silent

__all__ = ["TrainRequest", "TrainedRun", "train"]

#: Fields of a request that change how adaptors are trained.
_TRAINING = (
    "adaptor", "placement", "pooling", "epochs", "learning_rate", "batch_size",
    "patience", "learn_scale", "caution", "precision", "seed",
)  # fmt: skip
#: Fields that a state to go on from has settled.
_SETTLED = (
    "method", "options", "findings", "preset", *_TRAINING, "backbone", "fingerprint",
)  # fmt: skip


@dataclass(frozen=True)
class TrainRequest:
    """What to train. Fields that are None take the method's or preset's value.

    Attributes:
        scenario: ``zero-shot``, ``joint``, ``class``, ``label`` or ``data``.
        selection: Which images and descriptions.
        method: How tasks are learned; None: ``finetune``, or ``analytic`` where the
            encoder knows images only.
        options: The method's own options.
        findings: Only these; None for all that can be trained.
        order: The findings in the order of their tasks.
        tasks: Parts of the ``data`` scenario; None: 5.
        visible: Labels that a task of ``class`` or ``label`` shows: ``current`` (None)
            or ``cumulative``.
        preset: ``default`` (None) or ``reference``.
        adaptor: ``linear``, ``mlp`` or ``residual``.
        placement: ``image``, ``text``, ``both`` or ``shared``.
        pooling: Pooling of descriptions, ``mean`` or ``max``.
        epochs: Passes over the images of a task, at most.
        learning_rate: Learning rate of Adam.
        batch_size: Images in a step.
        patience: Passes without a better validation loss before a task ends.
        learn_scale: Whether the factor on the logit is learned.
        caution: A task of n labels, after m in the tasks before, moves the weights
            n/(n + m + caution) of the way that it trained them; 0: all the way.
        precision: ``auto`` (None), ``float32`` or ``bfloat16``.
        seed: Seed of weights, batches, parts and bootstrap.
        seeds: Number of runs, with seeds from `seed` on.
        score: What AUROC ranks images by.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        operating_point: How thresholds are chosen on validation: ``f1``, ``youden``,
            ``sensitivity=S`` or ``specificity=S``.
        min_positives: Test positives, and negatives, from which a finding enters means.
        backbone: Use the vectors of this backbone; ``A+B``: of both, side by side.
        fingerprint: Use the vectors of this encoder.
        continued: Go on from a run: its id, ``latest``, or a state file.
        resume: Keep the state after each task, and resume an interrupted run.
        predictions: Keep the scores of test images in the catalog.
        bounds: Also train what the scenario is compared with.
        stream: Leave vectors in a file instead of memory.
        device: ``cpu`` or ``cuda``.
    """

    scenario: str
    selection: Selection = field(default_factory=Selection)
    method: str | None = None
    options: Mapping[str, float | str] | None = None
    findings: tuple[str, ...] | None = None
    order: tuple[str, ...] | None = None
    tasks: int | None = None
    visible: Visible | None = None
    preset: str | None = None
    adaptor: str | None = None
    placement: str | None = None
    pooling: str | None = None
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int | None = None
    patience: int | None = None
    learn_scale: bool | None = None
    caution: float | None = None
    precision: str | None = None
    seed: int | None = None
    seeds: int = 1
    score: Score = "difference"
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    operating_point: str = "f1"
    min_positives: int = MIN_POSITIVES
    backbone: str | None = None
    fingerprint: str | None = None
    continued: str | None = None
    resume: bool = False
    predictions: bool = False
    bounds: bool = True
    stream: bool = False
    device: str = "cpu"


@dataclass(frozen=True)
class TrainedRun:
    """A run that was made now, with all that it gave."""

    run: Run
    experiment: Experiment
    learning_set: LearningSet

    def __repr__(self) -> str:
        final = self.experiment.final.macro[0]
        return (
            f"TrainedRun({self.run.run_id}: {self.run.scenario}, {self.run.method}, "
            f"{counted(len(self.experiment.findings), 'finding')}, mean AUROC "
            f"{final:.3f})"
        )


def train(
    store: FeatureStore, request: TrainRequest, progress: ProgressCallback = silent
) -> tuple[TrainedRun, ...]:
    """Train, evaluate and enter one run for each seed.

    Args:
        store: With vectors and labels.
        request: What to train.
        progress: Told after each task.

    Raises:
        ConfigurationError: A name is unknown, or an option would have no effect.
        LeakageError: Splits share patients or pictures.
        TrainingError: The scenario cannot be run on these images.
        StoreWriteError: The disk refused.
    """
    joined = concatenated_encoder(store, request.backbone, progress)
    if joined is not None and request.fingerprint is None:
        request = replace(request, backbone=None, fingerprint=joined)
    method = request.method or _usual_method(store, request)
    _check_names(request, method)
    start = None
    if request.continued is not None:
        _refuse_settled(request)
        start = find_state(store, request.continued)
        _refuse_erased(store, request.continued, start)
        method = start.method
    _refuse_without_effect(request, method)
    learning_set = load_learning_set(
        store,
        request.selection,
        backbone=request.backbone,
        fingerprint=start.fingerprint if start else request.fingerprint,
        stream=request.stream,
    )
    lineage = _lineage(store, request, start, learning_set)
    config = _config(request, method, start, learning_set)
    return tuple(
        _run(store, request, learning_set, one, start, lineage, progress)
        for one in _seeded(config, request.seeds)
    )


def _usual_method(store: FeatureStore, request: TrainRequest) -> str:
    """``finetune``, or what learns from images alone if there are no descriptions."""
    if request.continued is not None or request.scenario == "zero-shot":
        return "finetune"
    encoder = choose_encoder(
        store, backbone=request.backbone, fingerprint=request.fingerprint
    )
    return "analytic" if encoder.image_only else "finetune"


def _run(
    store: FeatureStore,
    request: TrainRequest,
    learning_set: LearningSet,
    config: ExperimentConfig,
    start: RunState | None,
    lineage: Lineage,
    progress: ProgressCallback,
) -> TrainedRun:
    """One run, entered into the store."""
    kept = checkpoints_of(store, learning_set, config) if request.resume else None
    started_at, started = datetime.now(UTC), time.perf_counter()
    experiment = run_experiment(
        learning_set.features,
        learning_set.prompts,
        config,
        progress,
        start=start,
        checkpoints=kept,
        groups=image_groups(learning_set.images),
    )
    run = save_run(
        store,
        learning_set,
        experiment,
        started_at=started_at.replace(tzinfo=None),
        seconds=time.perf_counter() - started,
        lineage=lineage,
        with_predictions=request.predictions,
    )
    if kept is not None:
        kept.remove()
    return TrainedRun(run, experiment, learning_set)


def _config(
    request: TrainRequest,
    method: str,
    start: RunState | None,
    learning_set: LearningSet,
) -> ExperimentConfig:
    known = learning_set.features.findings
    findings = start.findings if start else named_findings(request.findings, known)
    return ExperimentConfig(
        scenario=request.scenario,
        train=_train_config(request, start, learning_set),
        preset=request.preset or "default",
        method=method,
        findings=findings,
        order=named_findings(request.order, start.findings if start else known),
        n_tasks=request.tasks or 5,
        visible=request.visible or "current",
        uncertain=request.uncertain,
        blank=request.blank,
        score=request.score,
        operating_point=str(OperatingPoint.parse(request.operating_point)),
        min_positives=request.min_positives,
        with_bounds=request.bounds,
        device=request.device,
    )


def _train_config(
    request: TrainRequest, start: RunState | None, learning_set: LearningSet
) -> TrainConfig:
    """The preset with what was asked for; a state brings its own along."""
    if start is not None:
        config = start.config
    else:
        given = {name: getattr(request, name) for name in _TRAINING}
        automatic = request.precision in (None, "auto")
        if automatic:
            given["precision"] = None
        config = preset(
            request.preset or "default", **given, options=dict(request.options or {})
        )
        if automatic:
            shape = learning_set.features.embedding.shape
            precision = training_precision(config, shape, request.device)
            config = replace(config, precision=precision)
    return replace(config, shuffle="blocks") if request.stream else config


def _seeded(config: ExperimentConfig, seeds: int) -> list[ExperimentConfig]:
    train = config.train
    return [
        replace(config, train=replace(train, seed=train.seed + index))
        for index in range(seeds)
    ]


def _lineage(
    store: FeatureStore,
    request: TrainRequest,
    start: RunState | None,
    learning_set: LearningSet,
) -> Lineage:
    """What the run goes on from; images that a state of sums has counted are refused.

    Raises:
        TrainingError: Images would count twice.
    """
    if start is None:
        return Lineage()
    if getattr(method_named(start.method), "counts_images", False):
        refuse_known(learning_set.provenance.contributions, start.contributions)
        check_not_learned(store, learning_set.listed, start.contributions)
    return Lineage(str(request.continued), (), start.contributions)


def _refuse_erased(store: FeatureStore, continued: str, start: RunState) -> None:
    """Refuse to go on from what depends on somebody who is erased.

    Raises:
        ErasedDataError: It does.
    """
    if not Path(continued).exists():
        run_id = find_run(store, continued).run_id
        refuse_erased(store, run_id, allow_erased=False)
    refuse_superseded(store, start.contributions)


def _given(request: TrainRequest, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(request, name) not in (None, {}, ())]


def _refuse_settled(request: TrainRequest) -> None:
    settled = _given(request, _SETTLED)
    if request.seeds > 1:
        settled.append("seeds")
    if settled:
        raise ConfigurationError(
            f"`{settled[0]}` cannot be given with `continued`",
            "A run goes on with the options and findings that it was made with.",
        )


def _refuse_without_effect(request: TrainRequest, method: str) -> None:
    """An option that would change nothing is a mistake of whoever gave it.

    Raises:
        ConfigurationError: Names the option.
    """
    ignored = dict.fromkeys(
        getattr(method_named(method), "ignored_options", ()), f"method {method}"
    )
    if request.scenario != "data":
        ignored["tasks"] = f"scenario {request.scenario}"
    if request.scenario not in ("class", "label"):
        ignored["visible"] = f"scenario {request.scenario}"
    for name in _given(request, tuple(ignored)):
        raise ConfigurationError(
            f"`{name}` has no effect with {ignored[name]}", f"Leave out `{name}`."
        )


def _check_names(request: TrainRequest, method: str) -> None:
    """Refuse unknown names before any feature is read."""
    method_named(method)
    OperatingPoint.parse(request.operating_point)
    for option, value, known in (
        ("scenario", request.scenario, SCENARIOS),
        ("device", request.device, ("cpu", "cuda")),
    ):
        if value not in known:
            raise ConfigurationError(
                f"unknown `{option}` {value}", f"Use one of {', '.join(known)}."
            )
    if request.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigurationError(
                "this machine has no usable CUDA device", "Use `device` cpu."
            )
