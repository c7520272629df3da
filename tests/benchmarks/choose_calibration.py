"""How scores become probabilities, chosen without any test patient.

    python tests/benchmarks/choose_calibration.py CLEAN SHIPPED [--splits 20]

The data sets `unknown` and `known`, and the patients held out, are those of `make
choose-prior`; of the other patients a fifth are validation. Scores are zero-shot's (as
in `class`) and those of `analytic` from all training patients and, as in `label`, from
a part of them for each finding. The rule of choice, stated before any figure was seen:
the least mean Brier score over data sets and scores; rules within 0.0003 of it count
as equal, and of these the one that was in use before is kept, else the one with the
least calibration error ("debiased" in `make results`) is taken. Rules that need images
of earlier tasks again, which a method that keeps sums does not have, are measured and
cannot be chosen.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import reliability
from choose_prior import (
    Few,
    Floats,
    Grid,
    Pool,
    Rows,
    division,
    outer,
    own,
    parts,
    read_pools,
    stores_parser,
)
from sklearn.isotonic import IsotonicRegression

from retune.pipeline.learn.methods.analytic.ridge import log_prior
from retune.pipeline.learn.stats import calibration
from retune.pipeline.learn.stats.calibration import Line, calibrate, smoothed_share

_EQUAL = 0.0003
#: What was in use before this choice, and is kept where nothing is better.
_BEFORE = "before"
_SCORES = ("zero-shot", "analytic", "analytic, label")


@dataclass(frozen=True)
class Case:
    """Scores of one finding, with what is known of its labels."""

    score: Floats  # of validation images
    label: Floats
    held: Floats
    left_out: Floats  # of training images, from a model without their patient
    trained: Floats  # their labels
    learned: bool

    @property
    def share(self) -> float:
        """Smoothed share of positives among all labels that may be known."""
        n_positive, n = self.label.sum(), len(self.label)
        if self.learned:
            n_positive, n = n_positive + self.trained.sum(), n + len(self.trained)
        return smoothed_share(float(n_positive), float(n))

    @property
    def expected(self) -> Line:
        """The line without validation labels."""
        if not self.learned:
            return Line(30.0, 0.0)
        return Line.tangent(smoothed_share(self.trained.sum(), len(self.trained)))


Rule = Callable[[Case], Floats]


def line(
    *,
    slope: tuple[float, float] | None = None,
    trusted: float = 1.0,
    height: float = 0.1,
    left_out: bool = False,
    factor: float = 1.0,
) -> Rule:
    """`calibrate` with other numbers, or with scores of training images as well."""
    changes = {"_HEIGHT_SCALE": height, "_TRUSTED_SPREAD": trusted}
    if slope is not None:
        changes |= {"_SLOPE": slope[0], "_SLOPE_SPREAD": slope[1]}

    def rule(case: Case) -> Floats:
        before = {name: getattr(calibration, name) for name in changes}
        vars(calibration).update(changes)
        try:
            score, label = case.score, case.label
            if left_out and case.learned:
                score = np.concatenate([score, case.left_out])
                label = np.concatenate([label, case.trained])
            expected = case.expected
            expected = Line(expected.slope * factor, expected.offset)
            fitted = calibrate(
                score, label > 0, case.share, expected, trusted=case.learned
            )
        finally:
            vars(calibration).update(before)
        return _sigmoid(fitted.slope * case.held + fitted.offset)

    return rule


def beta(case: Case) -> Floats:
    """Beta calibration (Kull 2017) of the expected line, near it: 1 ± 0.5 each."""
    if not case.learned:
        return RULES[_BEFORE](case)

    def terms(score: Floats) -> Floats:
        p = np.clip(score, 0.005, 0.995)
        return np.column_stack([np.log(p), -np.log(1 - p), np.ones(len(p))])

    design, about = terms(case.score), np.array([1.0, 1.0, 0.0])
    pull = np.array([0.5, 0.5, 0.3]) ** -2.0
    weights = about.copy()
    for _ in range(20):
        chance = _sigmoid(design @ weights)
        bend = (design.T * (chance * (1 - chance))) @ design + np.diag(pull)
        slope = design.T @ (case.label - chance) - pull * (weights - about)
        weights += np.linalg.solve(bend, slope)
    weights[:2] = np.maximum(weights[:2], 0.05)
    return _sigmoid(terms(case.held) @ weights)


def platt_alone(case: Case) -> Floats:
    """Platt's line with smoothed targets and nothing else."""
    fitted = calibration.platt(case.score, case.label > 0)
    return _sigmoid(fitted.slope * case.held + fitted.offset)


def isotonic(case: Case) -> Floats:
    """The rising step function nearest to the labels."""
    rising = IsotonicRegression(y_min=0.001, y_max=0.999, out_of_bounds="clip")
    return np.asarray(rising.fit(case.score, case.label).predict(case.held))


def constant(case: Case) -> Floats:
    """The share of positives."""
    return np.full(len(case.held), case.share)


def _sigmoid(logit: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(logit, -30, 30))))


RULES: Mapping[str, Rule] = {
    "a constant": constant,
    _BEFORE: line(),
    "slope 0.3 ± 0.3": line(slope=(0.3, 0.3)),
    "slope 0.25 ± 0.25": line(slope=(0.25, 0.25)),
    "slope 0.25 ± 0.5": line(slope=(0.25, 0.5)),
    "slope 0.2 ± 0.2": line(slope=(0.2, 0.2)),
    "slope 0.1 ± 0.3": line(slope=(0.1, 0.3)),
    "tangent × (1 ± 0.5)": line(trusted=0.5),
    "tangent × (1 ± 0.2)": line(trusted=0.2),
    "tangent × 0.7 (1 ± 0.5)": line(trusted=0.5, factor=0.7),
    "tangent × 0.7 (1 ± 1)": line(factor=0.7),
    "height scale 0.05": line(height=0.05),
    "height scale 0.02": line(height=0.02),
    "height scale 0.2": line(height=0.2),
    "height scale 0.3": line(height=0.3),
    "height scale 0.5": line(height=0.5),
    "height scale 1": line(height=1.0),
    "height scale 2": line(height=2.0),
    "tangent × (1 ± 0.5), height scale 0.3": line(trusted=0.5, height=0.3),
    "tangent × (1 ± 0.5), height scale 0.5": line(trusted=0.5, height=0.5),
    "tangent × 0.7 (1 ± 1), height scale 0.3": line(factor=0.7, height=0.3),
    "tangent × 0.7 (1 ± 1), height scale 0.5": line(factor=0.7, height=0.5),
    "tangent × 0.7 (1 ± 0.5), height scale 0.3": line(
        trusted=0.5, factor=0.7, height=0.3
    ),
    "tangent × 0.7 (1 ± 0.5), height scale 0.5": line(
        trusted=0.5, factor=0.7, height=0.5
    ),
    "slope 0.3 ± 0.3, height scale 0.2": line(slope=(0.3, 0.3), height=0.2),
    "slope 0.2 ± 0.2, height scale 0.2": line(slope=(0.2, 0.2), height=0.2),
    "slope 0.2 ± 0.2, height scale 0.3": line(slope=(0.2, 0.2), height=0.3),
    "patients left out too": line(left_out=True),
    "patients left out too, height scale 0.2": line(left_out=True, height=0.2),
    "Platt's line alone": platt_alone,
    "isotonic": isotonic,
    "Beta calibration, near the line": beta,
}


def fitted(few: Few, k: int, validation: Floats, held: Floats) -> tuple[Floats, ...]:
    """Scores of `analytic` and of training images without their patient."""
    grid: Grid = few.grids(own)[k]
    label = grid.label
    chance = 0.5 * grid.evidence + log_prior((label.sum() + 1) / (len(label) + 2))
    chance = np.exp(chance - chance.max())
    chance /= chance.sum()
    basis, middle = grid.basis, label.mean()
    turned = (np.concatenate([validation, held]) - few.phi.mean(axis=0)) / few.own_scale
    start = few.start[k] * few.own_scale
    # Of each candidate: fitted values are linear in labels and in zero-shot's scores.
    score = basis.fitted @ grid.towards
    smooth = np.zeros((len(label), len(label)))
    rest = np.zeros(len(label))
    weights = np.zeros(turned.shape[1])
    x = (few.phi - few.phi.mean(axis=0)) / few.own_scale
    for h, row in enumerate(chance):
        kernel = float(basis.ratio[h, 0])
        solved = np.linalg.solve(
            np.eye(len(label)) + kernel * (x @ x.T), np.eye(len(label))
        )
        hat = np.eye(len(label)) - solved
        share = float(row @ grid.shares)
        smooth += row.sum() * hat
        rest += share * (score - hat @ score)
        target = row.sum() * grid.about - share * score
        weights += kernel * x.T @ (solved @ target) + share * start
    left = grid.about - smooth @ grid.about - rest
    hat = smooth + 1 / len(label)
    for one in np.unique(few.patient):
        rows = np.flatnonzero(few.patient == one)
        alone = np.eye(len(rows)) - hat[np.ix_(rows, rows)] + 1e-9 * np.eye(len(rows))
        left[rows] = np.linalg.solve(alone, left[rows])
    scores = turned @ weights + middle
    n = len(validation)
    return scores[:n], scores[n:], label - left


def cases(
    pool: Pool, learn: Rows, held: Rows, source: str, seed: int
) -> list[tuple[int, Case]]:
    """Of the findings that have labels of both classes."""
    learn, validation = division_of(pool, learn, seed)
    rows_of = parts(pool, learn, "label" if source.endswith("label") else "all", seed)
    figures = []
    for k, rows in enumerate(rows_of):
        label = pool.label[rows, k]
        phi_v, phi_h = pool.phi[validation], pool.phi[held]
        nothing = np.zeros(0)
        if source == "zero-shot":
            start = pool.start[k]
            scores = phi_v @ start, phi_h @ start, nothing
            label = nothing
        elif 0 < label.sum() < len(label):
            _, patient = np.unique(pool.patient[rows].astype(str), return_inverse=True)
            few = Few(
                pool.phi[rows], label[:, None], patient, pool.start[[k]], phi_h,
                pool.phi[learn],
            )  # fmt: skip
            scores = fitted(few, 0, phi_v, phi_h)  # type: ignore[assignment]  # three
        else:
            continue
        known = Case(
            scores[0], pool.label[validation, k], scores[1], scores[2], label,
            source != "zero-shot",
        )  # fmt: skip
        figures.append((k, known))
    return figures


def division_of(pool: Pool, rows: Rows, seed: int) -> tuple[Rows, Rows]:
    """Training and validation rows."""
    names = np.unique(pool.patient[rows].astype(str))
    chosen = np.random.default_rng([seed, 3]).permutation(names)[: len(names) // 5]
    inside = np.isin(pool.patient[rows].astype(str), chosen)
    return rows[~inside], rows[inside]


def measure(pools: Mapping[str, Pool], n_splits: int) -> npt.NDArray[np.float64]:
    """ECE, squared debiased error and Brier, (rules, data sets, scores, 3)."""
    total = np.zeros((len(RULES), len(pools), len(_SCORES), 3))
    count = np.zeros((len(pools), len(_SCORES)))
    for d, (name, pool) in enumerate(pools.items()):
        for seed, rest, _ in outer(name, pool, n_splits):
            learn, held = division(pool, rest, seed)
            _, patient = np.unique(pool.patient[held].astype(str), return_inverse=True)
            for s, source in enumerate(_SCORES):
                for k, case in cases(pool, learn, held, source, seed):
                    label = pool.label[held, k]
                    count[d, s] += 1
                    for r, rule in enumerate(RULES.values()):
                        chance = rule(case)
                        total[r, d, s] += [
                            one(chance, label, patient).value
                            for one in (
                                reliability.calibration_error,
                                reliability.squared_error,
                                reliability.brier,
                            )
                        ]
        sys.stderr.write(f"{name}\n")
    return np.asarray(total / count[:, :, None])


def main() -> None:
    """Print the table and the choice."""
    given = stores_parser(__doc__, 20).parse_args()
    read = read_pools(given.clean, given.shipped, given.backbone)
    pools = {name: read[name] for name in ("unknown", "known")}
    table = measure(pools, given.splits)
    out = sys.stdout.write
    for d, name in enumerate(pools):
        for s, source in enumerate(_SCORES):
            out(f"{f'{name}, {source}':<36}    ECE  debiased  Brier\n")
            for r, rule in enumerate(RULES):
                plain, square, brier = table[r, d, s]
                root = np.sqrt(max(0.0, square))
                out(f"  {rule:<34}{plain:7.3f}{root:10.3f}{brier:8.4f}\n")
    names = list(RULES)
    brier = table[..., 2].mean(axis=(1, 2))
    square = table[..., 1].mean(axis=(1, 2))
    out("means: debiased, Brier\n")
    for r, rule in enumerate(RULES):
        out(f"  {rule:<34}{np.sqrt(max(0.0, square[r])):10.3f}{brier[r]:8.4f}\n")
    open_to = [r for r in range(1, len(names)) if "left out" not in names[r]]
    equal = [r for r in open_to if brier[r] <= brier[open_to].min() + _EQUAL]
    kept = names.index(_BEFORE)
    best = kept if kept in equal else min(equal, key=lambda r: square[r])
    out(f"chosen: {names[best]}\n")


if __name__ == "__main__":
    main()
