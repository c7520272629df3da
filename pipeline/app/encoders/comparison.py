"""Encoders compared on the same images and patients."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

from ...encode.concatenation import encoder_named
from ...learn.problem.config import TrainConfig
from ...learn.problem.targets import BlankPolicy, UncertainPolicy
from ...learn.runs.experiment import ExperimentConfig
from ...learn.runs.learning_set import load_learning_set, named_findings
from ...learn.runs.selection import Selection
from ...progress import Progress, ProgressCallback, silent
from .backbones import list_backbones
from .side_by_side import (
    Candidate,
    Scored,
    common_images,
    concatenated,
    few_patients,
    less_few,
    score_all,
)

__all__ = [
    "BackboneScore",
    "BackboneShots",
    "CompareBackbones",
    "ComparedBackbones",
    "compare_backbones",
    "draw_comparison",
]

_SCENARIOS = ("zero-shot", "joint", "label")


@dataclass(frozen=True)
class CompareBackbones:
    """Which encoders to hold against each other, and on what.

    Attributes:
        names: Backbones by name or fingerprint, ``A+B`` for vectors side by side; None
            for all of the store.
        selection: Which images and descriptions.
        findings: Only these; None for all that can be trained.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        seed: Seed of parts and bootstrap.
    """

    names: tuple[str, ...] | None = None
    selection: Selection = field(default_factory=Selection)
    findings: tuple[str, ...] | None = None
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    seed: int = 0


@dataclass(frozen=True)
class BackboneScore:
    """Mean test AUROC of an encoder in one scenario; differences are to the first.

    Attributes:
        backbone: Its name.
        dim: D.
        scenario: ``zero-shot``, ``joint`` or ``label``.
        auroc: Mean over findings.
        low: Lower end of its 95 % interval over patients.
        high: Upper end.
        difference: Less that of the first encoder; None for the first itself, or where
            there is nothing to compare.
        difference_low: Lower end of its paired interval.
        difference_high: Upper end.
        p: p of the paired test.
    """

    backbone: str
    dim: int
    scenario: str
    auroc: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    p: float | None = None


@dataclass(frozen=True)
class BackboneShots:
    """Mean test AUROC of an encoder after learning from few patients.

    Attributes:
        backbone: Its name.
        n_patients: Training patients.
        auroc: Mean over findings and over three draws of patients.
        low: Lower end of its 95 % interval over test patients.
        high: Upper end.
        difference: Less that of the first encoder; None for the first itself.
        difference_low: Lower end of its paired 95 % interval over test patients.
        difference_high: Upper end.
    """

    backbone: str
    n_patients: int
    auroc: float
    low: float
    high: float
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None


@dataclass(frozen=True)
class ComparedBackbones:
    """Encoders on exactly the same images.

    Attributes:
        scores: One per encoder and scenario.
        findings: Names.
        n_train: Training images.
        n_test: Test images.
        n_patients: Their patients.
        advice: Which one to take, and how sure that is.
        shots: The data-efficiency curve of each encoder, by the exact method.
    """

    scores: tuple[BackboneScore, ...]
    findings: tuple[str, ...]
    n_train: int
    n_test: int
    n_patients: int
    advice: str
    shots: tuple[BackboneShots, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return vars(self) | {
            "scores": [vars(one) for one in self.scores],
            "shots": [vars(one) for one in self.shots],
        }


def compare_backbones(
    store: FeatureStore,
    request: CompareBackbones,
    progress: ProgressCallback = silent,
) -> ComparedBackbones:
    """Score encoders on exactly the same images and patients; no run is entered.

    All learn with the method `analytic`, which also takes encoders that know images
    only; those have no figure in zero-shot.

    Raises:
        ConfigurationError: A name is unknown, or encoders share no images.
        TrainingError: A scenario cannot be run on these images.
    """
    names = request.names or tuple(one.backbone for one in list_backbones(store))
    if len(set(names)) != len(names):
        raise ConfigurationError(
            f"a backbone stands twice in {', '.join(names)}",
            "Name encoders by their fingerprints (first digits suffice).",
        )
    if len(names) < 2:
        raise ConfigurationError(
            f"a comparison needs two backbones; there is {', '.join(names) or 'none'}",
            "Encode or import vectors of another one.",
        )
    candidates = _candidates(store, request, names, progress)
    known = candidates[0].features.findings
    config = ExperimentConfig(
        scenario="joint",
        train=TrainConfig(seed=request.seed),
        preset="default",
        method="analytic",
        findings=named_findings(request.findings, known),
        uncertain=request.uncertain,
        blank=request.blank,
        with_bounds=False,
    )
    scored = score_all(candidates, _SCENARIOS, config, progress)
    features = candidates[0].features
    test = features.rows("test")
    return ComparedBackbones(
        tuple(row for one in scored for row in _rows(one)),
        scored[0].experiments["joint"].findings,
        len(features.rows("train")),
        len(test),
        len(set(features.patient_id[test].tolist())),
        _advice(scored),
        _shots(scored, config),
    )


def _shots(
    scored: Sequence[Scored], config: ExperimentConfig
) -> tuple[BackboneShots, ...]:
    """The curve of each encoder over the findings of the mean in joint training."""
    joint = scored[0].experiments["joint"]
    findings = [
        name
        for name, counts in zip(joint.findings, joint.final.counted, strict=True)
        if counts
    ]
    curves = [few_patients(one.candidate, findings, config) for one in scored]
    return tuple(
        BackboneShots(
            one.candidate.name,
            point.n_patients,
            point.auroc,
            point.low,
            point.high,
            *(less_few(curve, curves[0], point) if curve is not curves[0] else ()),
        )
        for one, curve in zip(scored, curves, strict=True)
        for point in curve.points
    )


def _candidates(
    store: FeatureStore,
    request: CompareBackbones,
    names: Sequence[str],
    progress: ProgressCallback,
) -> list[Candidate]:
    singles = list(dict.fromkeys(part for name in names for part in name.split("+")))
    sets = {}
    for name in singles:
        progress(Progress("reading vectors", 0, 0, name))
        sets[name] = load_learning_set(
            store, request.selection, fingerprint=encoder_named(store, name).fingerprint
        )
    images_of = {one.name: one for one in common_images(sets)}
    return [
        images_of[name]
        if name in images_of
        else concatenated(name, [images_of[part] for part in name.split("+")])
        for name in names
    ]


def _rows(scored: Scored) -> list[BackboneScore]:
    rows = []
    for scenario, experiment in scored.experiments.items():
        less = scored.less_first.get(scenario)
        rows.append(
            BackboneScore(
                scored.candidate.name,
                scored.candidate.dim,
                scenario,
                *experiment.final.macro,
                *((less.difference, less.low, less.high, less.p) if less else ()),
            )
        )
    return rows


def _advice(scored: Sequence[Scored]) -> str:
    """The best in joint training, and whether the first falls short of it."""
    best = max(scored, key=lambda one: one.experiments["joint"].final.macro[0])
    name, auroc = best.candidate.name, best.experiments["joint"].final.macro[0]
    if best is scored[0]:
        rivals = [one for one in scored[1:] if one.less_first["joint"].high >= 0]
        others = ", ".join(one.candidate.name for one in rivals)
    else:
        others = scored[0].candidate.name if best.less_first["joint"].low <= 0 else ""
    if not others:
        return f"take {name}: joint AUROC {auroc:.3f}; the paired interval excludes 0"
    small = min(scored, key=lambda one: one.candidate.dim)
    return (
        f"take {name} (joint AUROC {auroc:.3f}), but these test patients do not show a "
        f"difference to {others}; the smallest is {small.candidate.name} "
        f"(D={small.candidate.dim})"
    )


def draw_comparison(compared: ComparedBackbones, file: Path) -> None:
    """Draw the figures with their intervals.

    Raises:
        ConfigurationError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigurationError(
            "a picture needs matplotlib", "pip install 'retune-cli[report]'"
        ) from error
    names = list(dict.fromkeys(one.backbone for one in compared.scores))
    height = max(3.2, 1.2 + 0.6 * len(names))
    figure = Figure(figsize=(11, height), layout="constrained")
    axes, curves = figure.subplots(1, 2)
    for name in names:
        points = [one for one in compared.shots if one.backbone == name]
        patients = [one.n_patients for one in points]
        curves.plot(patients, [one.auroc for one in points], marker="o", label=name)
    curves.set_xscale("log")
    curves.set_xlabel("training patients")
    curves.set_ylabel("mean test AUROC")
    curves.legend(loc="best", frameon=False)
    colours = {"zero-shot": "#0072B2", "joint": "#D55E00", "label": "#009E73"}
    for index, (scenario, colour) in enumerate(colours.items()):
        rows = [one for one in compared.scores if one.scenario == scenario]
        heights = [names.index(one.backbone) + 0.2 * (index - 1) for one in rows]
        middle = [one.auroc for one in rows]
        ends = [
            [one.auroc - one.low for one in rows],
            [one.high - one.auroc for one in rows],
        ]
        axes.errorbar(middle, heights, xerr=ends, fmt="o", color=colour, label=scenario)
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlabel("mean test AUROC, 95 % over patients")
    axes.legend(loc="best", frameon=False)
    metadata = {"Description": json.dumps(compared.as_json())}
    figure.savefig(file, metadata=metadata if file.suffix == ".png" else None)
