"""`make choose-prior`: the prior of `analytic`, chosen without any test patient.

    python tests/benchmarks/choose_prior.py CLEAN SHIPPED [--splits 20]

Data sets: `unknown` is nih-320 in the store CLEAN with the mini of `make
mini-benchmark`, on which zero-shot is chance; `known` are the patients in the store
SHIPPED that the shipped mini never saw; `drawings` are those of the demo in CLEAN;
`synthetic` are drawn here, with descriptions that point half in the right direction.

In each split of `make results` the test patients are set aside. Of the others three of
ten are held out, and the rules learn from the rest: from all, from 8 to 128 patients,
and as in `label`, each finding from its own part of the patients. A figure is the mean
AUROC over findings and splits. A rule's shortfall is how far it stays below the better
of zero-shot and logistic regression (in `label`: below zero-shot), and 0 where it does
not. The rule of choice, stated before any figure was seen: the least mean shortfall
over data sets and points; rules within 0.001 of it count as equal, and of these the
base, which was in use before, is kept, else the one with the highest mean AUROC is
taken. Rules that let images of other tasks, or labels of other findings, move a finding
are measured and cannot be chosen: forgetting in `label` would not be 0. Nor can those
that need images again: of merged hospitals there are none. (These exceptions were added
after a first run without `drawings`; they changed nothing about its choice.)

All patients of nih-320 are training patients of some split. So that this lends nothing
to the figures of `make results`, `--nested` chooses in each split anew by `unknown`'s
patients that are not its test patients (with the other data sets), and prints what the
rules chosen so reach on the test patients, beside the rule in use.
"""

import argparse
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
from results import MIN_POSITIVES, leave_out

from retune.pipeline.datasets.splits import resplit
from retune.pipeline.learn.linear.regression import logistic_regression
from retune.pipeline.learn.methods.analytic.model import zero_shot_directions
from retune.pipeline.learn.methods.analytic.ridge import (
    CORRELATIONS,
    RATIOS,
    feature_scale,
)
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.learn.runs.learning_set import load_learning_set
from retune.pipeline.learn.runs.selection import Selection
from retune.pipeline.learn.stats.metrics import auroc
from retune.store import FeatureStore

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]
POINTS: tuple[int | str, ...] = (8, 16, 32, 64, 128, "all", "label")
_HELD, _LEAST_HELD = 0.3, 3
_EQUAL = 0.001
#: The prior before this choice, which is kept where nothing is better; and the chosen.
_BASE, _IN_USE = "base", "base, r scale 0.2"
#: From a zero-shot score to its logit.
_SCALE = 30.0


@dataclass(frozen=True)
class Pool:
    """Images of a data set with the directions of zero-shot; φ is normalised."""

    phi: Floats
    label: Floats
    patient: npt.NDArray[np.object_]
    start: Floats

    @staticmethod
    def of(features: Features, prompts: Prompts) -> "Pool":
        """The findings with enough positive images; what is uncertain is negative."""
        x = features.embedding.astype(np.float64)
        phi = x / np.linalg.norm(x, axis=1, keepdims=True)
        start = zero_shot_directions(prompts, len(features.findings)).double().numpy()
        targets = make_targets(features.states, "zeros")
        positives = targets.value.sum(axis=0)
        kept = np.minimum(positives, len(x) - positives) >= MIN_POSITIVES
        kept &= targets.observed.all(axis=0)
        label = targets.value[:, kept].astype(np.float64)
        patient = np.array([one.split("/")[-1] for one in features.patient_id], object)
        return Pool(phi, label, patient, start[kept])


def synthetic(n_images: int = 700, dim: int = 128, n_findings: int = 6) -> Pool:
    """Findings are directions in a cone; zero-shot's are at about 60° to them."""
    random = np.random.default_rng(0)
    true = random.standard_normal((n_findings, dim)) / np.sqrt(dim)
    noise = random.standard_normal((n_findings, dim)) / np.sqrt(dim)
    patient = np.arange(n_images) // 2
    common = random.standard_normal((n_images // 2 + 1, dim))[patient]
    spread = np.exp(0.7 * random.standard_normal(dim))
    x = 0.5 * common + random.standard_normal((n_images, dim))
    chance = 1 / (1 + np.exp(-(1.2 * x @ true.T - random.uniform(0.5, 2, n_findings))))
    label = (random.random(chance.shape) < chance).astype(np.float64)
    phi = 3 * random.standard_normal(dim) + x * spread
    phi /= np.linalg.norm(phi, axis=1, keepdims=True)
    start = (0.5 * true + 0.85 * noise) / spread
    return Pool(phi, label, patient.astype(str).astype(object), start)


@dataclass(frozen=True)
class Few:
    """Images to learn from, of findings with both classes, and images to score."""

    phi: Floats
    label: Floats
    patient: Rows
    start: Floats
    held: Floats
    #: All training images, also those without labels.
    seen: Floats

    @cached_property
    def own_scale(self) -> Floats:
        """S of `analytic`: the spread of features in these images."""
        return feature_scale(self.phi.var(axis=0), len(self.phi))

    def grids(self, turned: "Callable[[Few], Floats]") -> "list[Grid]":
        """Candidates of each finding in features `φ @ turned`; made once."""
        known = self.__dict__.setdefault("_grids", {})
        if turned not in known:
            basis = Basis.of(self, turned(self))
            known[turned] = [
                Grid(basis, label, towards)
                for label, towards in zip(self.label.T, basis.towards, strict=True)
            ]
        return list(known[turned])

    def zero_shot(self, phi: Floats) -> Floats:
        """Scores of images."""
        return np.asarray(phi @ self.start.T)


@dataclass(frozen=True)
class Basis:
    """Features about their mean in a basis in which their covariance is diagonal."""

    values: Floats
    fitted: Floats  # images to learn from, shape (n, F)
    held: Floats
    towards: Floats  # w0, shape (K, F)

    @staticmethod
    def of(few: Few, turned: Floats) -> "Basis":
        """The prior of w is isotropic in the features `φ @ turned`."""
        mean = few.phi.mean(axis=0)
        x, held = (few.phi - mean) @ turned, (few.held - mean) @ turned
        start = np.linalg.solve(turned, few.start.T).T
        if len(x) < x.shape[1]:  # what no image varies in matters for w0 alone
            rows = np.concatenate([x, start])
            span = np.linalg.qr(rows.T)[0]
            x, held, start = x @ span, held @ span, start @ span
            held = held.copy()
        values, vectors = np.linalg.eigh(x.T @ x)
        return Basis(
            np.maximum(values, 0), x @ vectors, held @ vectors, start @ vectors
        )

    @cached_property
    def ratio(self) -> Floats:
        """τ²/σ² of each h, shape (H, 1)."""
        return RATIOS[:, None] * len(self.fitted) / self.values.sum()

    @cached_property
    def shrunk(self) -> Floats:
        """1/(1 + v·τ²/σ²), shape (H, F)."""
        return np.asarray(1 / (1 + self.values * self.ratio))

    def residuals(self, patient: Rows) -> list[Floats]:
        """What makes labels residuals without their patient, (n, n) for each h."""
        if "_residuals" not in self.__dict__:
            n = len(self.fitted)
            groups = [np.flatnonzero(patient == one) for one in np.unique(patient)]
            matrices = []
            for ratio, shrunk in zip(self.ratio, self.shrunk, strict=True):
                hat = (self.fitted * (ratio * shrunk)) @ self.fitted.T + 1 / n
                left = np.eye(n) - hat
                for rows in groups:
                    alone = left[np.ix_(rows, rows)] + 1e-9 * np.eye(len(rows))
                    left[rows] = np.linalg.solve(alone, left[rows])
                matrices.append(left)
            self.__dict__["_residuals"] = matrices
        return list(self.__dict__["_residuals"])


@dataclass(frozen=True)
class Grid:
    """Candidates (h, r) of one finding."""

    basis: Basis
    label: Floats
    towards: Floats

    @cached_property
    def about(self) -> Floats:
        """Labels about their mean."""
        return np.asarray(self.label - self.label.mean())

    @cached_property
    def shares(self) -> Floats:
        """α of each r."""
        along = float((self.basis.values * self.towards**2).sum())
        if along <= 0:
            return np.zeros(len(CORRELATIONS))
        return np.asarray(CORRELATIONS * np.sqrt((self.about**2).sum() / along))

    @cached_property
    def evidence(self) -> Floats:
        """Log marginal likelihood, shape (H, R)."""
        n, v = len(self.label), self.basis.values
        ratio, shrunk = self.basis.ratio, self.basis.shrunk
        data = self.basis.fitted.T @ self.about
        of_labels = (self.about**2).sum()
        of_labels = of_labels - (data**2 * ratio * shrunk).sum(axis=1)
        of_both = (data * self.towards * shrunk).sum(axis=1)
        of_scores = (v * self.towards**2 * shrunk).sum(axis=1)
        squares = of_labels[:, None] - 2 * of_both[:, None] * self.shares
        squares = squares + of_scores[:, None] * self.shares**2
        squares = np.maximum(squares, 1e-9 * (self.about**2).sum())
        log = 0.5 * np.log(shrunk).sum(axis=1)[:, None]
        return np.asarray(log - 0.5 * (n - 1) * np.log(squares))

    def left_out(self, patient: Rows) -> Floats:
        """Log of the likelihood of residuals that leave out their patient, (H, R)."""
        both = np.stack([self.about, self.basis.fitted @ self.towards], axis=1)
        table = np.zeros((len(RATIOS), len(CORRELATIONS)))
        for h, residuals in enumerate(self.basis.residuals(patient)):
            left = residuals @ both
            squares = ((left[:, :1] - left[:, 1:] * self.shares) ** 2).sum(axis=0)
            table[h] = -0.5 * len(both) * np.log(squares)
        return table

    def scores(self, chance: Floats) -> Floats:
        """Of the held images, by the mean of the weights."""
        chance = np.exp(chance - chance.max())
        chance /= chance.sum()
        data = self.basis.fitted.T @ self.about
        ratio, shrunk = self.basis.ratio, self.basis.shrunk
        fitted, kept = data * ratio * shrunk, self.towards * shrunk
        mean = chance.sum(axis=1) @ fitted + (chance @ self.shares) @ kept
        return np.asarray(self.basis.held @ mean)


Rule = Callable[[Few], Floats]
#: What the names of rules that cannot be chosen begin with.
_NOT_FROM_OWN_SUMS = (
    "strength shared", "a fifth of it shared", "spread of all", "covariance of all",
    "patients left out", "after ",
)  # fmt: skip


def prior(
    useless: float,
    scale: float,
    zero_shot: float,
    middle: float,
    width: float,
    *,
    rare: bool = False,
) -> Callable[[float], Floats]:
    """As `ridge.log_prior`; the mean of log10 h depends on the positives if `rare`."""

    def log_chance(prevalence: float) -> Floats:
        less = np.log10(4 * prevalence * (1 - prevalence)) if rare else 0.0
        far = (np.log10(RATIOS[1:]) - middle - less) / width
        of_ratio = np.exp(-0.5 * far**2)
        of_ratio = np.r_[zero_shot, (1 - zero_shot) * of_ratio / of_ratio.sum()]
        of_share = np.exp(-0.5 * (CORRELATIONS[1:] / scale) ** 2)
        of_share = np.r_[useless, (1 - useless) * of_share / of_share.sum()]
        table = np.outer(of_ratio, of_share)
        table[0, 0] = 0
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(table))

    return log_chance


def near(**changes: float) -> Callable[[float], Floats]:
    """The base with one of its numbers changed."""
    numbers = {
        "useless": 0.3, "scale": 0.12, "zero_shot": 0.1, "middle": -0.375, "width": 0.25
    }  # fmt: skip
    return prior(**(numbers | changes), rare=True)


def flat(_prevalence: float) -> Floats:
    """All candidates alike."""
    table = np.zeros((len(RATIOS), len(CORRELATIONS)))
    table[0, 0] = -np.inf
    return table


def grid(
    log_chance: Callable[[float], Floats],
    *,
    evidence: float = 0.5,
    turned: Callable[[Few], Floats] | None = None,
    best: bool = False,
    shared: float = 0.0,
    left_out: float = 0.0,
) -> Rule:
    """The ridge of `analytic` with another prior, evidence or features."""

    def rule(few: Few) -> Floats:
        grids = few.grids(turned or own)
        # What the labels of all findings say of h.
        common = sum(
            np.logaddexp.reduce(one.evidence, axis=1, keepdims=True) for one in grids
        )
        columns = []
        for one in grids:
            own_share = np.logaddexp.reduce(one.evidence, axis=1, keepdims=True)
            chance = evidence * one.evidence + shared * (common - own_share)
            if left_out:
                chance = chance + left_out * one.left_out(few.patient)
            n = len(one.label)
            chance = chance + log_chance((one.label.sum() + 1) / (n + 2))
            if best:
                chance = np.where(chance == chance.max(), 0.0, -np.inf)
            columns.append(one.scores(chance))
        return np.stack(columns, axis=1)

    return rule


def own(few: Few) -> Floats:
    """Divided by their own spread."""
    return np.diag(1 / few.own_scale)


def of_all_seen(few: Few) -> Floats:
    """Divided by the spread in all training images, labelled or not."""
    return np.diag(1 / feature_scale(few.seen.var(axis=0), len(few.seen)))


def whitened(power: float) -> Callable[[Few], Floats]:
    """By a power of the covariance of all training images, with a floor of a tenth."""

    def turned(few: Few) -> Floats:
        covariance = np.cov(few.seen.T, bias=True)
        values, vectors = np.linalg.eigh(covariance)
        values = values / values.mean() + 0.1
        return np.asarray((vectors * values**-power) @ vectors.T)

    return turned


def random_features(rule: Rule, n_random: int = 256) -> Rule:
    """A rule on the embedding and as many ReLUs of random directions (RanPAC)."""

    def wider(few: Few) -> Floats:
        random = np.random.default_rng(0)
        drawn = random.standard_normal((few.phi.shape[1], n_random))
        drawn *= np.sqrt(2 / n_random)

        def lift(phi: Floats) -> Floats:
            return np.concatenate([phi, np.maximum(phi @ drawn, 0)], axis=1)

        start = np.pad(few.start, ((0, 0), (0, n_random)))
        return rule(
            replace(
                few, phi=lift(few.phi), held=lift(few.held), seen=lift(few.seen),
                start=start,
            )
        )  # fmt: skip

    return wider


def clap(few: Few) -> Floats:
    """After CLAP: a logistic regression held at w0, the more the better w0 is here."""
    every = np.ones(few.label.shape, dtype=bool)
    good = auroc(few.zero_shot(few.phi), few.label, every)
    columns = []
    for k in range(few.label.shape[1]):
        x = few.phi - few.phi.mean(axis=0)
        hold = len(x) * float(good[k])
        weights = few.start[k].copy()
        offset = np.log(few.label[:, k].mean() / (1 - few.label[:, k].mean()))
        for _ in range(12):
            chance = 1 / (1 + np.exp(-np.clip(_SCALE * x @ weights + offset, -30, 30)))
            bend = _SCALE**2 * (x.T * (chance * (1 - chance))) @ x
            bend += 2 * hold * np.eye(x.shape[1])
            slope = _SCALE * x.T @ (few.label[:, k] - chance)
            slope -= 2 * hold * (weights - few.start[k])
            step = np.linalg.solve(bend, slope)
            # A whole Newton step may overshoot: no logit moves by more than 5 at once.
            weights += step * min(1.0, 5 / max(1e-12, np.abs(_SCALE * x @ step).max()))
        columns.append(few.held @ weights)
    return np.stack(columns, axis=1)


def lp_plus(few: Few) -> Floats:
    """After LP++: 300 steps on weights and on the share of zero-shot, no penalty."""
    x = few.phi - few.phi.mean(axis=0)
    held = few.held - few.phi.mean(axis=0)
    columns = []
    for k in range(few.label.shape[1]):
        wide = np.column_stack([x, x @ few.start[k]]) * _SCALE
        label = few.label[:, k]
        step = 4 * len(x) / np.linalg.norm(wide, 2) ** 2
        line = np.zeros(wide.shape[1])
        line[-1] = 1.0
        offset = np.log(label.mean() / (1 - label.mean()))
        for _ in range(300):
            chance = 1 / (1 + np.exp(-(wide @ line + offset)))
            line += step * wide.T @ (label - chance) / len(x)
        columns.append(np.column_stack([held, held @ few.start[k]]) @ line)
    return np.stack(columns, axis=1)


def rail(few: Few) -> Floats:
    """After RAIL: a kernel ridge, 0.8, and zero-shot, 0.2, both standardised."""

    def squares(a: Floats, b: Floats) -> Floats:
        sizes = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
        return np.asarray(sizes - 2 * a @ b.T)

    apart = squares(few.phi, few.phi)
    width = apart.mean()
    kernel = np.exp(-apart / width) + np.eye(len(apart))
    about = few.label - few.label.mean(axis=0)
    scores = np.exp(-squares(few.held, few.phi) / width) @ np.linalg.solve(
        kernel, about
    )
    return _mixed(scores, few, 0.2)


def mixed(rule: Rule, share: float) -> Rule:
    """A rule's scores and zero-shot's, both standardised."""
    return lambda few: _mixed(rule(few), few, share)


def _mixed(scores: Floats, few: Few, share: float) -> Floats:
    start = few.zero_shot(few.held)
    parts = [(one - one.mean(axis=0)) / one.std(axis=0) for one in (scores, start)]
    return np.asarray((1 - share) * parts[0] + share * parts[1])


_BEFORE = prior(0.0, 0.3, 0.2, -1.0, 0.5)
_BOLD = prior(0.3, 0.15, 0.01, -0.5, 0.5)
_ALONE = prior(1 - 1e-9, 0.15, 0.01, -0.5, 0.5)
#: By what the table calls them.
RULES: Mapping[str, Rule] = {
    _BASE: grid(near()),
    "base, the whole evidence": grid(near(), evidence=1.0),
    "base, a quarter of the evidence": grid(near(), evidence=0.25),
    "evidence alone, mean of all": grid(flat, evidence=1.0),
    "evidence alone, MacKay's best": grid(flat, evidence=1.0, best=True),
    "half of the evidence alone": grid(flat),
    "the first prior": grid(_BEFORE, evidence=1.0),
    "r scale 0.15, log10 h about -0.5 ± 0.5": grid(_BOLD, evidence=1.0),
    "the same, half of the evidence": grid(_BOLD),
    "r = 0: a ridge without zero-shot": grid(_ALONE),
    **{
        f"base, {title}": grid(near(**changes))
        for title, changes in {
            "r = 0 with chance 0.15": {"useless": 0.15},
            "r = 0 with chance 0.5": {"useless": 0.5},
            "r scale 0.08": {"scale": 0.08},
            "r scale 0.2": {"scale": 0.2},
            "h = 0 with chance 0.02": {"zero_shot": 0.02},
            "h = 0 with chance 0.3": {"zero_shot": 0.3},
            "log10 h about -0.625": {"middle": -0.625},
            "log10 h about -0.125": {"middle": -0.125},
            "log10 h ± 0.5": {"width": 0.5},
        }.items()
    },
    "strength shared between findings": grid(near(), shared=0.5),
    "a fifth of it shared": grid(near(), shared=0.1),
    "spread of all images seen": grid(near(), turned=of_all_seen),
    "covariance of all images, root": grid(near(), turned=whitened(0.25)),
    "covariance of all images, whitened": grid(near(), turned=whitened(0.5)),
    "patients left out instead of evidence": grid(near(), evidence=0.0, left_out=1.0),
    "patients left out, half of it": grid(near(), evidence=0.0, left_out=0.5),
    "patients left out alone, the best": grid(
        flat, evidence=0.0, left_out=1.0, best=True
    ),
    "random features beside the embedding": random_features(grid(near())),
    "after CLAP": clap,
    "after LP++": lp_plus,
    "after RAIL": rail,
    "base 0.7, zero-shot 0.3": mixed(grid(near()), 0.3),
}


def division(pool: Pool, rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Rows of patients to learn from and of those held out."""
    names = np.unique(pool.patient[rows].astype(str))
    random = np.random.default_rng([seed, 1])
    held = random.permutation(names)[: round(_HELD * len(names))]
    inside = np.isin(pool.patient[rows].astype(str), held)
    return rows[~inside], rows[inside]


def parts(pool: Pool, rows: Rows, point: int | str, seed: int) -> list[Rows]:
    """Rows that each finding has labels of; none where there are not so many."""
    names = pool.patient[rows].astype(str)
    order = np.random.default_rng([seed, 2]).permutation(np.unique(names))
    n_findings = pool.label.shape[1]
    if point == "label":
        return [rows[np.isin(names, order[k::n_findings])] for k in range(n_findings)]
    if isinstance(point, int) and point >= len(order):
        return []
    chosen = order if point == "all" else order[: int(point)]
    return [rows[np.isin(names, chosen)]] * n_findings


def quality(
    pool: Pool, learn: Rows, held: Rows, point: int | str, seed: int,
    rules: Mapping[str, Rule],
) -> dict[str, float]:  # fmt: skip
    """Mean AUROC of each rule, zero-shot and logistic regression; empty if none."""
    rows_of = parts(pool, learn, point, seed)
    label = pool.label[held]
    counts = np.minimum(label.sum(axis=0), (1 - label).sum(axis=0))
    counted = np.flatnonzero(counts >= _LEAST_HELD)
    if not rows_of or not len(counted):
        return {}
    start = pool.phi[held] @ pool.start.T
    tables = {name: start.copy() for name in ("zero-shot", "logistic", *rules)}
    together = rows_of[0] is rows_of[-1]
    for findings in (
        [counted] if together else [counted[[i]] for i in range(len(counted))]
    ):
        rows = rows_of[findings[0]]
        label_here = pool.label[np.ix_(rows, findings)]
        both = (label_here.sum(axis=0) > 0) & (label_here.sum(axis=0) < len(rows))
        findings, label_here = findings[both], label_here[:, both]
        if not len(findings):
            continue
        _, patient = np.unique(pool.patient[rows].astype(str), return_inverse=True)
        few = Few(
            pool.phi[rows], label_here, patient, pool.start[findings],
            pool.phi[held], pool.phi[learn],
        )  # fmt: skip
        for name, rule in rules.items():
            tables[name][:, findings] = rule(few)
        weights, _, usable = logistic_regression(
            pool.phi.astype(np.float32), rows, label_here > 0,
            np.ones(label_here.shape, dtype=bool), patient, seed,
        )  # fmt: skip
        tables["logistic"][:, findings[usable]] = pool.phi[held] @ weights[:, usable]
    every = np.ones(label.shape, dtype=bool)
    return {
        name: float(auroc(scores, label, every)[counted].mean())
        for name, scores in tables.items()
    }


Table = dict[str, dict[tuple[str, int | str], list[float]]]


def measure(pools: Mapping[str, Pool], n_splits: int) -> Table:
    """AUROC of each rule by data set and point, one for each split."""
    table: Table = {}
    for name, pool in pools.items():
        for seed, rows, _ in outer(name, pool, n_splits):
            learn, held = division(pool, rows, seed)
            for point in POINTS:
                reached = quality(pool, learn, held, point, seed, RULES)
                for rule, value in reached.items():
                    cells = table.setdefault(rule, {})
                    cells.setdefault((name, point), []).append(value)
        sys.stderr.write(f"{name}\n")
    return table


def outer(name: str, pool: Pool, n_splits: int) -> Iterator[tuple[int, Rows, Rows]]:
    """Seed, rows that may be used, and test rows; of `unknown` those of `results`."""
    for seed in range(n_splits):
        every = np.arange(len(pool.phi))
        if name != "unknown":
            yield seed, every, every[:0]
            continue
        test = np.asarray(resplit(pool.patient, seed=seed)) == "test"
        yield seed, every[~test], every[test]


def shortfalls(table: Table, split: int | None = None) -> dict[str, float]:
    """Mean shortfall of each rule; of `unknown` in one split only, if it is given."""

    def mean(rule: str, cell: tuple[str, int | str]) -> float:
        values = table[rule][cell]
        if split is None or cell[0] != "unknown":
            return float(np.mean(values))
        return values[split]

    short = {}
    for rule in RULES:
        below = []
        for cell in table[rule]:
            peers = ("zero-shot",) if cell[1] == "label" else ("zero-shot", "logistic")
            goal = max(mean(peer, cell) for peer in peers)
            below.append(max(0.0, goal - mean(rule, cell)))
        short[rule] = float(np.mean(below))
    return short


def chosen(table: Table, split: int | None = None) -> str:
    """The rule that the rule of choice chooses."""
    short = shortfalls(table, split)
    open_to = [rule for rule in RULES if not rule.startswith(_NOT_FROM_OWN_SUMS)]
    least = min(short[rule] for rule in open_to)
    equal = [rule for rule in open_to if short[rule] <= least + _EQUAL]
    if _BASE in equal:
        return _BASE

    def height(rule: str) -> float:
        return float(np.mean([np.mean(values) for values in table[rule].values()]))

    return max(equal, key=height)


def print_table(table: Table) -> None:
    """A line for each rule and data set, then the shortfalls."""
    out = sys.stdout.write
    for name in dict.fromkeys(cell[0] for cell in table[_BASE]):
        out(f"{name:<40}" + "".join(f"{point!s:>7}" for point in POINTS) + "\n")
        for rule, cells in table.items():
            values = [cells.get((name, point)) for point in POINTS]
            shown = [f"{np.mean(one):7.3f}" if one else "      -" for one in values]
            out(f"  {rule:<38}{''.join(shown)}\n")
    out("mean shortfall\n")
    for rule, value in sorted(shortfalls(table).items(), key=lambda one: one[1]):
        out(f"  {rule:<38}{value:7.4f}\n")
    out(f"chosen: {chosen(table)}\n")


def nested(table: Table, pool: Pool, n_splits: int) -> None:
    """What the rules chosen without each split's test patients reach on these."""
    out = sys.stdout.write
    picked = [chosen(table, split) for split in range(n_splits)]
    for rule in dict.fromkeys(picked):
        out(f"chosen in {picked.count(rule)} of {n_splits} splits: {rule}\n")
    for point in POINTS:
        rows = []
        for seed, rest, test in outer("unknown", pool, n_splits):
            rules = {name: RULES[name] for name in {picked[seed], _BASE, _IN_USE}}
            reached = quality(pool, rest, test, point, seed, rules)
            if reached:
                rows.append(
                    [
                        reached[one]
                        for one in (
                            picked[seed],
                            _BASE,
                            _IN_USE,
                            "zero-shot",
                            "logistic",
                        )
                    ]
                )
        names = ("chosen so", _BASE, _IN_USE, "zero-shot", "logistic")
        means = zip(names, np.mean(rows, axis=0), strict=True)
        out(f"test patients, {point!s:>5}: ")
        out("  ".join(f"{name} {value:.3f}" for name, value in means) + "\n")


def read(
    store: Path, datasets: tuple[str, ...], backbone: str, seen: Path | None = None
) -> tuple[Features, Prompts]:
    """Images of a store, without the patients of a list."""
    selection = Selection(datasets, allow_contaminated=True)
    read_set = load_learning_set(FeatureStore(store), selection, backbone=backbone)
    features = read_set.features
    if seen is not None:
        features = leave_out(features, seen)
    return features, read_set.prompts


def read_radiographs(
    clean: Path, shipped: Path, backbone: str
) -> dict[str, tuple[Features, Prompts]]:
    """Radiographs whose zero-shot is chance, and others on which it is good."""
    folder = Path(__file__).resolve().parents[2] / "pipeline/encode/backbones"
    listed = folder / "mini-patients.txt"
    return {
        "unknown": read(clean, ("nih-320",), backbone),
        "known": read(shipped, ("nih-320", "nih-64"), "mini", listed),
    }


def read_pools(clean: Path, shipped: Path, backbone: str) -> dict[str, Pool]:
    """The data sets, by name."""
    radiographs = read_radiographs(clean, shipped, backbone)
    return {
        **{name: Pool.of(*one) for name, one in radiographs.items()},
        "drawings": Pool.of(*read(clean, ("demo",), backbone)),
        "synthetic": synthetic(),
    }


def stores_parser(description: str | None, splits: int) -> argparse.ArgumentParser:
    """What every script of `make choose-prior` is given."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("clean", type=Path)
    parser.add_argument("shipped", type=Path)
    parser.add_argument("--splits", type=int, default=splits)
    parser.add_argument("--backbone", default="local-dir:build/mini-benchmark/mini")
    return parser


def main() -> None:
    """Print the table and the choice."""
    parser = stores_parser(__doc__, 20)
    parser.add_argument("--nested", action="store_true")
    given = parser.parse_args()
    pools = read_pools(given.clean, given.shipped, given.backbone)
    table = measure(pools, given.splits)
    print_table(table)
    if given.nested:
        nested(table, pools["unknown"], given.splits)


if __name__ == "__main__":
    main()
