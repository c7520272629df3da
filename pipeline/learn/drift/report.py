"""What changed between groups of images and a reference, with corrected p-values."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.stats import norm

from retune.store.plural import counted

from ..problem.features import number_patients
from ..stats.intervals import Z95, delong
from ..stats.paired import holm
from .permutation import embedding_test, permute_groups, rate_test
from .two_samples import tell_apart

__all__ = ["FAMILIES", "DriftRow", "GroupImages", "compare_groups"]

#: Kinds of change; each is tested by itself, and p-values are corrected for all.
FAMILIES: Final = ("embedding", "labels", "scores", "missing", "auroc")
#: Patients of a side that the permutation test looks at, at most.
_MOST_PATIENTS = 600
#: Patients that a side needs.
_FEWEST_PATIENTS = 5
_FEWEST_PERMUTATIONS = 999
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class GroupImages:
    """N images with what may change.

    Attributes:
        embedding: Shape (N, D), of length 1.
        patient_id: Shape (N,).
        rates: Family -> name -> a number for each image, shape (N,), NaN where it was
            not observed; the names are findings or columns.
        score: Finding -> score of a run, shape (N,), for AUROC.
        target: Finding -> 0 or 1, NaN where not labelled, shape (N,).
    """

    embedding: Floats
    patient_id: npt.NDArray[np.object_]
    rates: Mapping[str, Mapping[str, Floats]]
    score: Mapping[str, Floats] = field(default_factory=dict)
    target: Mapping[str, Floats] = field(default_factory=dict)


@dataclass(frozen=True)
class DriftRow:
    """One figure of one group.

    Attributes:
        group: Its name.
        family: One of `FAMILIES`.
        name: Finding or column; empty for embeddings.
        metric: ``c2st_auroc``, ``mmd``, ``rate`` or ``auroc``.
        value: Value of the group.
        reference: Value of the reference; NaN where there is none.
        low: Lower end of the 95 % interval of `value`; NaN without one.
        high: Upper end.
        p_value: p of the change by itself; NaN where there is no test.
        p_corrected: For all groups, families and names.
        n_images: Number of images of the group.
        n_patients: Number of patients of the group.
    """

    group: str
    family: str
    name: str
    metric: str
    value: float
    reference: float
    low: float
    high: float
    p_value: float
    p_corrected: float
    n_images: int
    n_patients: int


def compare_groups(
    images: GroupImages,
    reference: npt.NDArray[np.bool_],
    groups: Mapping[str, npt.NDArray[np.bool_]],
    *,
    alpha: float = 0.05,
    seed: int = 0,
    min_patients: int = _FEWEST_PATIENTS,
) -> tuple[list[DriftRow], list[str]]:
    """Hold each group against the reference.

    Patients are the unit: those who are on both sides are left out of both. Within a
    family of a group p-values are corrected by the largest change of each permutation,
    over groups by Holm, and over families by their number, so that with a chance of at
    least 1 − `alpha` nothing is called changed where nothing has.

    Args:
        images: All images.
        reference: Which are the reference, shape (N,).
        groups: Name -> which are the group, shape (N,).
        alpha: The chance of a false alarm; more groups need more permutations.
        seed: Seed of permutations and folds.
        min_patients: Groups with fewer patients are not looked at.

    Returns:
        The figures, and a sentence for each thing that could not be looked at.
    """
    notes: list[str] = []
    rows: list[DriftRow] = []
    families = [name for name in FAMILIES if name == "embedding" or _has(images, name)]
    n_tests = max(1, len(groups) * len(families))
    n_permutations = max(_FEWEST_PERMUTATIONS, math.ceil(4 * n_tests / alpha) - 1)
    for group_index, (name, chosen) in enumerate(groups.items()):
        both = _apart(images.patient_id, chosen, reference)
        if both.n_shared:
            notes.append(
                f"{name}: {counted(both.n_shared, 'patient', 'are')} on both sides and "
                "left out"
            )
        fewest = min(both.n_patients)
        if fewest < min_patients:
            notes.append(
                f"{name}: not compared: {counted(both.n_patients[0], 'patient')} "
                f"against {both.n_patients[1]:,} (at least {min_patients} are needed)"
            )
            continue
        rows += _one_group(images, name, both, n_permutations, seed + group_index)
    return _corrected(rows, families), notes


def _has(images: GroupImages, family: str) -> bool:
    return bool(images.score) if family == "auroc" else bool(images.rates.get(family))


@dataclass(frozen=True)
class _Sides:
    """The images of a group and of the reference, without shared patients."""

    rows: npt.NDArray[np.int64]
    in_group: npt.NDArray[np.bool_]
    n_shared: int
    n_patients: tuple[int, int]


def _apart(
    patient_id: npt.NDArray[np.object_],
    group: npt.NDArray[np.bool_],
    reference: npt.NDArray[np.bool_],
) -> _Sides:
    sides = [set(patient_id[one].tolist()) for one in (group, reference & ~group)]
    shared = sides[0] & sides[1]
    rows = np.flatnonzero(group | reference)
    if shared:
        alone = [one not in shared for one in patient_id[rows].tolist()]
        rows = rows[np.array(alone, dtype=bool)]
    return _Sides(
        rows,
        group[rows],
        len(shared),
        (len(sides[0] - shared), len(sides[1] - shared)),
    )


def _one_group(
    images: GroupImages, name: str, sides: _Sides, n_permutations: int, seed: int
) -> list[DriftRow]:
    """All figures of a group, not yet corrected over groups."""
    patient = number_patients(images.patient_id[sides.rows])
    n_patients = int(patient.max()) + 1
    in_group = np.zeros(n_patients, dtype=bool)
    in_group[patient[sides.in_group]] = True
    kept = _some_patients(in_group, seed)
    permuted = permute_groups(in_group[kept], n_permutations, seed)
    x = images.embedding[sides.rows]
    size = (int(sides.in_group.sum()), int(in_group.sum()))
    none = float("nan")
    test = embedding_test(_patient_means(x, patient)[kept], permuted)
    told = tell_apart(x, sides.in_group, patient, seed)
    rows = [
        DriftRow(
            name, "embedding", "", "c2st_auroc", told[0], 0.5, *told[1:],
            test.apart_p, test.apart_p_family, *size,
        ),
        DriftRow(
            name, "embedding", "", "mmd", test.mmd, none, none, none, test.mmd_p,
            test.mmd_p_family, *size,
        ),
    ]  # fmt: skip
    for family, rates in images.rates.items():
        names = list(rates)
        if not names:
            continue
        values = np.stack([rates[one][sides.rows] for one in names], axis=1)
        sums, counts = _patient_sums(values, patient, n_patients)
        tested = rate_test(sums[kept], counts[kept], permuted)
        rows += [
            DriftRow(
                name, family, one, "rate", float(tested.group[k]),
                float(tested.reference[k]), none, none, float(tested.p_value[k]),
                float(tested.p_family[k]), *size,
            )
            for k, one in enumerate(names)
        ]  # fmt: skip
    return rows + _auroc_rows(images, name, sides, size)


def _some_patients(in_group: npt.NDArray[np.bool_], seed: int) -> npt.NDArray[np.int64]:
    """At most so many patients of each side, drawn by chance."""
    random = np.random.default_rng(seed)
    parts = [
        random.permutation(np.flatnonzero(in_group == side))[:_MOST_PATIENTS]
        for side in (True, False)
    ]
    return np.sort(np.concatenate(parts))


def _patient_means(x: Floats, patient: npt.NDArray[np.int64]) -> Floats:
    sums = np.zeros((int(patient.max()) + 1, x.shape[1]))
    np.add.at(sums, patient, x)
    return np.asarray(sums / np.bincount(patient)[:, None])


def _patient_sums(
    values: Floats, patient: npt.NDArray[np.int64], n_patients: int
) -> tuple[Floats, Floats]:
    """Sum and number of observed values of each patient, shapes (P, M)."""
    known = ~np.isnan(values)
    sums = np.zeros((n_patients, values.shape[1]))
    counts = np.zeros_like(sums)
    np.add.at(sums, patient, np.where(known, values, 0))
    np.add.at(counts, patient, known)
    return sums, counts


def _auroc_rows(
    images: GroupImages, name: str, sides: _Sides, size: tuple[int, int]
) -> list[DriftRow]:
    """AUROC on both sides, and a test of its difference."""
    names = [one for one in images.score if one in images.target]
    compared = []
    for finding in names:
        ends = []
        for side in (True, False):
            rows = sides.rows[sides.in_group == side]
            target = images.target[finding][rows]
            known = ~np.isnan(target)
            ends.append(
                delong(
                    images.score[finding][rows][:, None],
                    np.where(known, target, 0)[:, None],
                    known[:, None],
                )
            )
        one, other = ends
        if np.isnan(one.auroc[0]) or np.isnan(other.auroc[0]):
            continue
        # From the intervals, which are wider than the variance where that is 0.
        error = math.hypot(*((e.high[0] - e.low[0]) / (2 * Z95) for e in ends))
        change = abs(float(one.auroc[0] - other.auroc[0]))
        p = float(2 * norm.sf(change / error)) if error > 0 else float("nan")
        compared.append((finding, one, other, p))
    # Holm among the findings: there are no permutations here.
    family = holm(np.array([p for *_, p in compared]))
    return [
        DriftRow(
            name, "auroc", finding, "auroc", float(one.auroc[0]),
            float(other.auroc[0]), float(one.low[0]), float(one.high[0]), p,
            float(corrected), *size,
        )
        for (finding, one, other, p), corrected in zip(compared, family, strict=True)
    ]  # fmt: skip


def _corrected(rows: list[DriftRow], families: Sequence[str]) -> list[DriftRow]:
    """p-values for all groups (Holm) and all families (Bonferroni)."""
    corrected = list(rows)
    for family in families:
        mine = [index for index, row in enumerate(rows) if row.family == family]
        smallest: dict[str, float] = {}
        for index in mine:
            row = rows[index]
            if not math.isnan(row.p_corrected):
                known = smallest.get(row.group, 1.0)
                smallest[row.group] = min(known, row.p_corrected)
        if not smallest:
            continue
        names = list(smallest)
        over_groups = holm(np.array([smallest[name] for name in names]))
        factor = {
            name: float(p) / smallest[name] if smallest[name] > 0 else 1.0
            for name, p in zip(names, over_groups, strict=True)
        }
        for index in mine:
            row = rows[index]
            p = row.p_corrected * factor.get(row.group, 1.0) * len(families)
            corrected[index] = replace(row, p_corrected=min(1.0, p) if p == p else p)
    return corrected
