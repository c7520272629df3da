"""What a run learns from, and how: images, labels, models, tasks in order."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch

from retune.store.errors import TrainingError

from ...platform.memory import keep_freed_memory
from ...progress import Progress, ProgressCallback, silent
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
from ..problem.scenarios import Task
from ..problem.targets import Targets, make_targets
from ..stats.evaluation import EvaluatedRows
from ..stats.intervals import PatientInfluence
from ..stats.operating_point import OperatingPoint
from ..training.model import AdaptedModel
from ..training.trainer import build_model
from .checkpoints import Checkpoints
from .record import ExperimentConfig
from .saved_model import predict
from .state import RunState

__all__ = ["RunProblem", "prepare_run"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class RunProblem:
    """The images of a run, and how models are made and trained on them.

    Attributes:
        features: The images, with the findings of the run only.
        prompts: Descriptions of these findings; none if the encoder knows images only.
        targets: Their labels under the run's policies.
        config: What to run.
        start: The run to go on from.
        checkpoints: Where the state after each task is kept.
    """

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

    def learned_at_once(
        self, task: Task, config: ExperimentConfig | None = None
    ) -> PatientInfluence:
        """Test AUROC after a single task, learned from the start.

        Args:
            task: What to learn.
            config: How; None: as this run.
        """
        alone = replace(
            self, config=config or self.config, start=None, checkpoints=None
        )
        _, predictions, _ = alone.sequence([task])
        return self.rows("test").influence(predictions[-1].score)


def prepare_run(
    features: Features,
    prompts: Prompts,
    config: ExperimentConfig,
    start: RunState | None,
    checkpoints: Checkpoints | None,
) -> tuple[RunProblem, dict[str, str]]:
    """The images and descriptions of the findings of a run; the findings left out.

    Args:
        features: All images, with all their findings.
        prompts: Descriptions of these.
        config: What to run.
        start: Go on from this run.
        checkpoints: Where to keep the state after each task.

    Raises:
        ConfigurationError: An option names something that does not exist.
        TrainingError: The scenario cannot be run on these images.
    """
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
    return RunProblem(features, prompts, targets, config, start, checkpoints), dropped


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
