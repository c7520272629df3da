"""`make results`: what methods reach on real radiographs that the backbone never saw.

    python tests/benchmarks/results.py STORE [--datasets nih-320] [--splits 20]

STORE holds the dataset, encoded by the mini of `make mini-benchmark`. Patients are
divided anew for each split. A figure is the mean test AUROC over findings with at least
20 positive images, of them at least 5 in the split's test part, and then over splits.
Few training patients are drawn several times in each split. Intervals are over test
patients: what a patient adds to a figure of all splits is added up before it is
squared; those of differences are paired. The chance of other training patients is not
in them.

Every method chooses on training and validation patients only. Logistic regression
chooses C by five folds of its training patients.

The calibration error is given four times: ECE (15 bins) is the mean over splits and
findings; "of chance" is the same for labels drawn from the probabilities; "of all
splits" is that of the predictions of all splits together, in which chance is small;
"debiased" is the root of the mean of `reliability.squared_error`, from which chance is
taken off by a formula.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import reliability
import torch
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.preprocessing import StandardScaler

from retune.pipeline.datasets.splits import resplit
from retune.pipeline.learn.methods.registry import method_named
from retune.pipeline.learn.problem.chosen_findings import (
    select_findings,
    usable_findings,
)
from retune.pipeline.learn.problem.config import preset, untrained
from retune.pipeline.learn.problem.contract import Model, Problem
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.prediction import Prediction
from retune.pipeline.learn.problem.scenarios import Task, plan_scenario
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.pipeline.learn.runs.learning_set import load_learning_set
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.runs.selection import Selection
from retune.pipeline.learn.stats.intervals import PatientInfluence, patient_influence
from retune.pipeline.learn.stats.metrics import auroc, calibration_error
from retune.pipeline.learn.training.trainer import build_model
from retune.store import FeatureStore

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]
SHOTS = (8, 16, 32, 64, 128)
SCENARIOS = ("joint", "label", "class", "data")
METHODS = ("analytic", "finetune", "linear", "ranpac", "l3a")
MIN_POSITIVES, MIN_TEST_POSITIVES = 20, 5
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass
class Figure:
    """Means of splits, and what each patient moves their mean by."""

    values: list[float] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)
    #: Further figures of the same predictions.
    others: dict[str, "Figure"] = field(default_factory=dict)
    #: Finding -> probability, label and patient of the test images of each split.
    answers: dict[str, list[tuple[Floats, Floats, Names]]] = field(default_factory=dict)
    #: Whether values are squares: their root is shown.
    squared: bool = False

    def __str__(self) -> str:
        if not self.values:
            return "-"
        mean, half = float(np.mean(self.values)), self._half_width()
        ends = np.array([mean, mean - half, mean + half])
        if self.squared:
            ends = np.sqrt(np.maximum(ends, 0))
        return "{:.3f} ({:.3f} to {:.3f})".format(*ends)

    def add(self, value: float, names: Names, moved: Floats) -> None:
        """The figure of one more split, and what its patients move it by."""
        self.values.append(value)
        for name, one in zip(names, moved, strict=True):
            self.moved[name] = self.moved.get(name, 0.0) + float(one)

    def other(self, name: str, squared: bool = False) -> "Figure":
        """A further figure, made when it is first asked for."""
        return self.others.setdefault(name, Figure(squared=squared))

    def _half_width(self) -> float:
        total = sum(one**2 for one in self.moved.values())
        return float(1.96 * np.sqrt(total) / len(self.values))

    def pooled(self) -> "Figure":
        """The calibration error of the predictions of all splits together."""
        figure = Figure([0.0])
        for parts in self.answers.values():
            chance, label = (np.concatenate([p[i] for p in parts]) for i in (0, 1))
            names, number = np.unique(
                np.concatenate([p[2] for p in parts]), return_inverse=True
            )
            value, moved = reliability.calibration_error(chance, label, number)
            share = 1 / len(self.answers)
            figure.values[0] += share * value
            for name, one in zip(names, moved, strict=True):
                figure.moved[name] = figure.moved.get(name, 0.0) + share * float(one)
        return figure

    def less(self, other: "Figure") -> "Figure":
        """The difference to another of the same splits, with its paired interval."""
        moved = {
            name: self.moved.get(name, 0.0) - other.moved.get(name, 0.0)
            for name in self.moved | other.moved
        }
        values = [a - b for a, b in zip(self.values, other.values, strict=True)]
        return Figure(values, moved)


@dataclass(frozen=True)
class Split:
    """One division of the patients."""

    features: Features
    prompts: Prompts
    targets: Targets
    counted: npt.NDArray[np.int64]
    seed: int

    @property
    def test(self) -> npt.NDArray[np.int64]:
        """Test rows."""
        return self.features.rows("test")

    def problem(self, **changes: object) -> Problem:
        """For methods."""
        config = preset("default", seed=self.seed, **changes)
        parts = (self.features, self.prompts, self.targets, config)
        return Problem(*parts, torch.device("cpu"))

    @cached_property
    def patients(self) -> tuple[Names, npt.NDArray[np.int64]]:
        """Names of the test patients, and the number of each test row's."""
        ids = self.features.patient_id[self.test].astype(str)
        names, number = np.unique(ids, return_inverse=True)
        return names, number

    def cells(self, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Test rows and counted findings of a table of all images and findings."""
        return np.asarray(table[np.ix_(self.test, self.counted)])

    def influence(self, scores: npt.NDArray[np.floating]) -> PatientInfluence:
        """AUROC of the counted findings; scores of all rows."""
        value, observed = map(self.cells, (self.targets.value, self.targets.observed))
        return patient_influence(self.cells(scores), value, observed, self.patients[1])

    def enter(
        self, figure: Figure, scores: Floats, probability: Floats | None = None
    ) -> None:
        """Add the figures of this split."""
        one, (names, number) = self.influence(scores), self.patients
        figure.add(float(one.auroc.mean()), names, one.moved.mean(axis=1))
        if probability is None:
            return
        train = self.features.rows("train")
        share = self.targets.value[train].mean(axis=0)[self.counted]
        label = self.cells(self.targets.value).astype(np.float64)
        chance = self.cells(probability).astype(np.float64)
        for column, k in enumerate(self.counted):
            part = chance[:, column], label[:, column], names[number]
            figure.answers.setdefault(self.features.findings[k], []).append(part)
        constant = np.broadcast_to(share, chance.shape).astype(np.float64)
        for name, rule, said in (
            ("ECE", reliability.calibration_error, chance),
            ("ECE debiased", reliability.squared_error, chance),
            ("Brier", reliability.brier, chance),
            ("Brier of the constant", reliability.brier, constant),
        ):
            of_findings = [
                rule(said[:, k], label[:, k], number) for k in range(len(share))
            ]
            value = float(np.mean([one.value for one in of_findings]))
            moved = np.mean([one.moved for one in of_findings], axis=0)
            figure.other(name, name == "ECE debiased").add(value, names, moved)
        drawn = np.random.default_rng(self.seed).random((20, *chance.shape)) < chance
        every = np.ones(chance.shape, dtype=bool)
        by_chance = [calibration_error(chance, one, every) for one in drawn]
        figure.other("ECE of chance").values.append(float(np.mean(by_chance)))


def leave_out(features: Features, listed: Path) -> Features:
    """Without the patients that a backbone's list names, one a line."""
    lines = listed.read_text(encoding="utf-8").splitlines()
    seen = [line for line in lines if line and not line.startswith("#")]
    return only(
        features, ~np.isin([name.split("/")[-1] for name in features.patient_id], seen)
    )


def only(features: Features, kept: npt.NDArray[np.bool_]) -> Features:
    """Some of the images."""
    return replace(
        features,
        **{
            name: getattr(features, name)[kept]
            for name in ("image_id", "patient_id", "split", "embedding", "states")
        },
    )


def splits(features: Features, prompts: Prompts, n_splits: int) -> Iterator[Split]:
    """Divisions in which at least one finding can be counted."""
    for seed in range(n_splits):
        split = divided(features, prompts, seed)
        if split is not None:  # else it is the split that the backbone was trained by
            yield split


def divided(features: Features, prompts: Prompts, seed: int) -> Split | None:
    """One division of the patients; None if no finding can be counted."""
    positives = dict(
        zip(features.findings, (features.states == 1).sum(axis=0), strict=True)
    )
    ids = np.array([name.split("/")[-1] for name in features.patient_id])
    anew = replace(features, split=np.asarray(resplit(ids, seed=seed), object))
    dropped = usable_findings(anew, make_targets(anew.states))
    names = [name for name in anew.findings if name not in dropped]
    if not names:
        return None
    kept, texts = select_findings(anew, prompts, names)
    targets = make_targets(kept.states)
    value = targets.value[kept.rows("test")]
    enough = np.array([positives[name] >= MIN_POSITIVES for name in names])
    enough &= value.sum(axis=0) >= MIN_TEST_POSITIVES
    enough &= (1 - value).sum(axis=0) >= MIN_TEST_POSITIVES
    if not enough.any():
        return None
    return Split(kept, texts, targets, np.flatnonzero(enough), seed)


def logistic_regression(split: Split, rows: npt.NDArray[np.int64]) -> Floats:
    """Decision values of all rows for the counted findings; zero-shot's where it fails.

    C by the mean AUROC of five folds of patients, or as many as there are positives.
    """
    x = split.features.embedding.astype(np.float64)
    x = StandardScaler().fit(x[rows]).transform(x)
    scores = zero_shot(split).difference.astype(np.float64)
    patients = split.features.patient[rows]
    for k in split.counted:
        label = split.targets.value[rows, k]
        rarer = int(min(label.sum(), (1 - label).sum()))
        if not rarer:
            continue
        n_folds = min(5, rarer, len(np.unique(patients)))
        best = _STRENGTHS[2]
        if n_folds > 1:
            folds = list(StratifiedGroupKFold(n_folds).split(x[rows], label, patients))
            quality = [_of_folds(x[rows], label, folds, c) for c in _STRENGTHS]
            best = _STRENGTHS[int(np.argmax(quality))]
        scores[:, k] = _fitted(x[rows], label, best).decision_function(x)
    return scores


def _fitted(x: Floats, label: Floats, strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=500).fit(x, label)


def _of_folds(x: Floats, label: Floats, folds: list, strength: float) -> float:  # type: ignore[type-arg]  # scikit-learn's
    aurocs = []
    for fitted, held in folds:
        if len(np.unique(label[fitted])) == len(np.unique(label[held])) == 2:
            score = _fitted(x[fitted], label[fitted], strength).decision_function(
                x[held]
            )
            observed = np.ones((len(held), 1), dtype=bool)
            aurocs.append(float(auroc(score[:, None], label[held, None], observed)[0]))
    return float(np.mean(aurocs)) if aurocs else 0.0


def scored(split: Split, model: Model) -> Prediction:
    """Scores of test rows; the others are 0."""
    return predict(model, split.features.embedding, rows=split.test)


def zero_shot(split: Split) -> Prediction:
    """Without adaptors."""
    config = untrained(preset("default"))
    shape = len(split.features.findings), split.features.embedding.shape[1]
    return scored(split, build_model(config, split.prompts, *shape))


def learned(
    split: Split, name: str, tasks: tuple[Task, ...], introduced: npt.NDArray[np.int64]
) -> tuple[Prediction, reliability.Moved]:
    """The final scores of a method, and how much it forgot of the counted findings."""
    method = method_named(name)(split.problem())
    table = []
    prediction = scored(split, method.model)
    for task in tasks:
        method.learn(task)
        prediction = scored(split, method.model)
        table.append(split.influence(prediction.difference))
    reached, since = np.array([one.auroc for one in table]), introduced[split.counted]
    lost, moved = [0.0], [np.zeros(len(split.patients[0]))]
    for k in np.flatnonzero(since < len(tasks)):
        best = since[k] - 1 + int(reached[since[k] - 1 : -1, k].argmax())
        lost.append(reached[best, k] - reached[-1, k])
        moved.append(table[best].moved[:, k] - table[-1].moved[:, k])
    share = 1 / max(1, len(lost) - 1)
    return prediction, reliability.Moved(sum(lost) * share, sum(moved) * share)


def shots(split: Split, n_patients: int, draw: int) -> Task:
    """The first so many training patients in a random order, all their labels."""
    rows = split.features.rows("train")
    patients = np.unique(split.features.patient[rows])
    random = np.random.default_rng([split.seed, draw])
    chosen = random.permutation(patients)[:n_patients]
    few = rows[np.isin(split.features.patient[rows], chosen)]
    return Task(f"{n_patients} patients", few, split.targets.observed[few])


def measure(
    features: Features,
    prompts: Prompts,
    n_splits: int,
    methods: Sequence[str],
    n_draws: int,
) -> dict[str, Figure]:
    """All figures by name."""
    metrics: dict[str, Figure] = {}

    def enter(name: str, scores: Floats, chance: Floats | None = None) -> Figure:
        figure = metrics.setdefault(name, Figure())
        split.enter(figure, scores, chance)
        return figure

    for split in splits(features, prompts, n_splits):
        started = time.perf_counter()
        rows, names = split.features.rows("train"), split.features.findings
        enter("zero-shot", zero_shot(split).difference)
        enter("logistic regression", logistic_regression(split, rows))
        for scenario in SCENARIOS:
            plan = plan_scenario(
                scenario, split.targets, split.features.patient, rows, names,
                seed=split.seed,
            )  # fmt: skip
            for name in methods:
                last, lost = learned(split, name, plan.tasks, plan.introduced)
                title = f"{name}, {scenario}"
                figure = enter(title, last.difference, last.probability)
                figure.other("forgetting").add(
                    lost.value, split.patients[0], lost.moved
                )
        n_patients = len(np.unique(split.features.patient[rows]))
        for count in [n for n in SHOTS if n < n_patients]:
            first = np.ones(len(names), int)
            for draw in range(n_draws):
                task = shots(split, count, draw)
                scores = logistic_regression(split, task.rows)
                enter(f"{count:>3} patients, logistic regression", scores)
                enter(f"{count:>3} patients, zero-shot", zero_shot(split).difference)
                last, _ = learned(split, "analytic", (task,), first)
                enter(f"{count:>3} patients, analytic", last.difference)
        seconds = time.perf_counter() - started
        sys.stderr.write(f"split {split.seed}: {seconds:.0f} s\n")
    return metrics


def differences(metrics: Mapping[str, Figure]) -> Iterator[tuple[str, str]]:
    """Pairs of figures of which the goals speak: a method, and what it must reach."""
    for name in metrics:
        method, _, rest = name.partition(", ")
        if rest == "analytic":
            yield name, f"{method}, logistic regression"
            yield name, f"{method}, zero-shot"
        elif rest in SCENARIOS:
            yield name, "zero-shot"
            if rest == "joint":
                yield name, "logistic regression"
            if method != "analytic" and f"analytic, {rest}" in metrics:
                yield f"analytic, {rest}", name


def table(metrics: Mapping[str, Figure]) -> Iterator[tuple[str, Figure]]:
    """All figures, differences with them, by title."""
    for name, figure in metrics.items():
        yield name, figure
        for title, other in figure.others.items():
            yield f"{name}: {title}", other
        if figure.answers:
            yield f"{name}: ECE of all splits", figure.pooled()
            constant = figure.others["Brier of the constant"]
            yield f"{name}: Brier less constant", figure.others["Brier"].less(constant)
    for name, other in differences(metrics):
        yield f"{name} less {other}", metrics[name].less(metrics[other])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--datasets", default="nih-320")
    parser.add_argument("--without-patients", type=Path, help="a backbone's list")
    parser.add_argument("--backbone", default="local-dir:build/mini-benchmark/mini")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--draws", type=int, default=5, help="of few patients")
    given = parser.parse_args()
    # Logistic regression may stop at its limit of steps where it is hardly regularised.
    warnings.simplefilter("ignore", ConvergenceWarning)
    torch.set_num_threads(1)
    store = FeatureStore(given.store)
    # Patients are divided anew below, and those to leave out are named.
    datasets = tuple(given.datasets.split(","))
    selection = Selection(datasets, allow_contaminated=True)
    read = load_learning_set(store, selection, backbone=given.backbone)
    features = read.features
    if given.without_patients is not None:
        features = leave_out(features, given.without_patients)
    methods = given.methods.split(",")
    metrics = measure(features, read.prompts, given.splits, methods, given.draws)
    for name, figure in table(metrics):
        sys.stdout.write(f"{name:<52} {figure}  [{len(figure.values)}]\n")


if __name__ == "__main__":
    main()
