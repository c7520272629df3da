"""`make results`: what methods reach on real radiographs that the backbone never saw.

    python tests/benchmarks/results.py STORE [--datasets nih-320] [--splits 20]

STORE holds the dataset, encoded by the mini of `make mini-benchmark`. Patients are
divided anew for each split. A figure is the mean test AUROC over findings with at least
20 positive images, of them at least 5 in the split's test part, and then over splits.
Few training patients are drawn several times in each split. Intervals are over test
patients: what a patient adds to the AUROCs of all splits is added up before it is
squared; those of differences are paired. The chance of other training patients is not
in them.

Every method chooses on training and validation patients only. Logistic regression
chooses C by five folds of its training patients.

The calibration error (ECE, 15 bins) is given three times: the mean over splits and
findings; the same for labels drawn from the probabilities, which is what chance alone
gives; and that of the predictions of all splits together, in which chance is small.
"""

import argparse
import sys
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
from retune.pipeline.learn.stats.intervals import patient_influence
from retune.pipeline.learn.stats.metrics import auroc, brier_score, calibration_error
from retune.pipeline.learn.training.trainer import build_model
from retune.store import FeatureStore

Floats = npt.NDArray[np.float64]
SHOTS = (8, 16, 32, 64, 128)
SCENARIOS = ("joint", "label", "class", "data")
MIN_POSITIVES, MIN_TEST_POSITIVES = 20, 5
_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@dataclass
class Figure:
    """Means of splits, and what each patient moves their mean by."""

    values: list[float] = field(default_factory=list)
    moved: dict[str, float] = field(default_factory=dict)
    others: dict[str, list[float]] = field(default_factory=dict)
    #: Finding -> probabilities and labels of the test images of each split.
    answers: dict[str, list[Floats]] = field(default_factory=dict)

    def __str__(self) -> str:
        n = len(self.values)
        if not n:
            return "-"
        half = self._half_width()
        values = {name: float(np.mean(v)) for name, v in self.others.items()}
        if self.answers:
            values["ECE of all splits"] = self._pooled_error()
        others = "  ".join(f"{name} {value:.3f}" for name, value in values.items())
        mean = np.mean(self.values)
        return f"{mean:.3f} ({mean - half:.3f} to {mean + half:.3f})  {others}"

    def _half_width(self) -> float:
        total = sum(one**2 for one in self.moved.values())
        return float(1.96 * np.sqrt(total) / len(self.values))

    def _pooled_error(self) -> float:
        errors = []
        for parts in self.answers.values():
            chance, value = np.concatenate(parts, axis=1)[:, :, None]
            seen = np.ones(value.shape, dtype=bool)
            errors.append(calibration_error(chance, value, seen)[0])
        return float(np.mean(errors))

    def less(self, other: "Figure") -> str:
        """The difference to another of the same splits, with its paired interval."""
        moved = {
            name: self.moved.get(name, 0.0) - other.moved.get(name, 0.0)
            for name in self.moved | other.moved
        }
        values = [a - b for a, b in zip(self.values, other.values, strict=True)]
        return str(Figure(values, moved))


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

    def auroc(self, scores: Floats) -> Floats:
        """Of the counted findings; scores of all rows."""
        rows = np.ix_(self.test, self.counted)
        return auroc(
            scores[rows], self.targets.value[rows], self.targets.observed[rows]
        )

    def enter(self, figure: Figure, scores: Floats, probability: Floats | None) -> None:
        """Add the figures of this split."""
        rows, patients = np.ix_(self.test, self.counted), self.features.patient_id
        value, observed = self.targets.value[rows], self.targets.observed[rows]
        names, number = np.unique(patients[self.test].astype(str), return_inverse=True)
        influence = patient_influence(scores[rows], value, observed, number)
        figure.values.append(float(influence.auroc.mean()))
        for name, moved in zip(names, influence.moved.mean(axis=1), strict=True):
            figure.moved[name] = figure.moved.get(name, 0.0) + float(moved)
        if probability is None:
            return
        chance = probability[rows]
        for column, k in enumerate(self.counted):
            pair = np.stack([chance[:, column], value[:, column]])
            figure.answers.setdefault(self.features.findings[k], []).append(pair)
        train = self.features.rows("train")
        constant = np.repeat(
            self.targets.value[train].mean(axis=0)[None], len(chance), 0
        )
        drawn = np.random.default_rng(self.seed).random((20, *chance.shape)) < chance
        by_chance = [calibration_error(chance, one, observed) for one in drawn]
        for name, one in (
            ("ECE", calibration_error(chance, value, observed)),
            ("ECE of chance", np.mean(by_chance, axis=0)),
            ("Brier", brier_score(chance, value, observed)),
            ("constant", brier_score(constant[:, self.counted], value, observed)),
        ):
            figure.others.setdefault(name, []).append(float(np.nanmean(one)))


def leave_out(features: Features, listed: Path) -> Features:
    """Without the patients that a backbone's list names, one a line."""
    lines = listed.read_text(encoding="utf-8").splitlines()
    seen = [line for line in lines if line and not line.startswith("#")]
    kept = ~np.isin([name.split("/")[-1] for name in features.patient_id], seen)
    return replace(
        features,
        **{
            name: getattr(features, name)[kept]
            for name in ("image_id", "patient_id", "split", "embedding", "states")
        },
    )


def splits(features: Features, prompts: Prompts, n_splits: int) -> Iterator[Split]:
    """Divisions in which at least one finding can be counted."""
    positives = dict(
        zip(features.findings, (features.states == 1).sum(axis=0), strict=True)
    )
    ids = np.array([name.split("/")[-1] for name in features.patient_id])
    for seed in range(n_splits):
        anew = replace(features, split=np.asarray(resplit(ids, seed=seed), object))
        dropped = usable_findings(anew, make_targets(anew.states))
        names = [name for name in anew.findings if name not in dropped]
        if not names:  # the split that the backbone was trained by
            continue
        kept, texts = select_findings(anew, prompts, names)
        targets = make_targets(kept.states)
        value = targets.value[kept.rows("test")]
        enough = np.array([positives[name] >= MIN_POSITIVES for name in names])
        enough &= value.sum(axis=0) >= MIN_TEST_POSITIVES
        enough &= (1 - value).sum(axis=0) >= MIN_TEST_POSITIVES
        if enough.any():
            yield Split(kept, texts, targets, np.flatnonzero(enough), seed)


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
) -> tuple[Prediction, float]:
    """The final scores of a method, and how much it forgot of the counted findings."""
    method = method_named(name)(split.problem())
    table = []
    prediction = scored(split, method.model)
    for task in tasks:
        method.learn(task)
        prediction = scored(split, method.model)
        table.append(split.auroc(prediction.difference))
    reached, since = np.array(table), introduced[split.counted]
    lost = [
        reached[since[k] - 1 : -1, k].max() - reached[-1, k]
        for k in range(len(since))
        if since[k] < len(tasks)
    ]
    return prediction, float(np.mean(lost)) if lost else 0.0


def shots(split: Split, n_patients: int, draw: int) -> Task:
    """The first so many training patients in a random order, all their labels."""
    rows = split.features.rows("train")
    patients = np.unique(split.features.patient[rows])
    random = np.random.default_rng([split.seed, draw])
    chosen = random.permutation(patients)[:n_patients]
    few = rows[np.isin(split.features.patient[rows], chosen)]
    return Task(f"{n_patients} patients", few, split.targets.observed[few])


def measure(
    features: Features, prompts: Prompts, n_splits: int, n_trained: int, n_draws: int
) -> dict[str, Figure]:
    """All figures by name; `finetune` on the first `n_trained` splits only."""
    metrics: dict[str, Figure] = {}

    def enter(name: str, scores: Floats, chance: Floats | None = None) -> Figure:
        figure = metrics.setdefault(name, Figure())
        split.enter(figure, scores, chance)
        return figure

    for split in splits(features, prompts, n_splits):
        started = time.perf_counter()
        rows = split.features.rows("train")
        start, peer = zero_shot(split).difference, logistic_regression(split, rows)
        for name in ("analytic", "finetune"):
            if name == "finetune" and split.seed >= n_trained:
                continue
            enter(f"zero-shot on the splits of {name}", start)
            enter(f"logistic regression on the splits of {name}", peer)
            for scenario in SCENARIOS:
                plan = plan_scenario(
                    scenario, split.targets, split.features.patient, rows,
                    split.features.findings, seed=split.seed,
                )  # fmt: skip
                last, lost = learned(split, name, plan.tasks, plan.introduced)
                title = f"{name}, {scenario}"
                figure = enter(title, last.difference, last.probability)
                figure.others.setdefault("forgetting", []).append(lost)
        n_patients = len(np.unique(split.features.patient[rows]))
        for count in [n for n in SHOTS if n < n_patients]:
            first = np.ones(len(split.features.findings), int)
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
        elif method in ("analytic", "finetune"):
            yield name, f"zero-shot on the splits of {method}"
            if rest == "joint":
                yield name, f"logistic regression on the splits of {method}"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--datasets", default="nih-320")
    parser.add_argument("--without-patients", type=Path, help="a backbone's list")
    parser.add_argument("--backbone", default="local-dir:build/mini-benchmark/mini")
    parser.add_argument("--splits", type=int, default=20)
    parser.add_argument("--trained-splits", type=int, default=20)
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
    metrics = measure(
        features, read.prompts, given.splits, given.trained_splits, given.draws
    )
    for name, figure in metrics.items():
        sys.stdout.write(f"{name:<40} {figure}  [{len(figure.values)}]\n")
    for name, other in differences(metrics):
        less = metrics[name].less(metrics[other])
        sys.stdout.write(f"{name:<26} less {other:<40} {less}\n")


if __name__ == "__main__":
    main()
