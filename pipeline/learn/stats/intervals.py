"""Intervals for AUROC from placement values: DeLong's, and one that knows of patients.

The placement value of a positive image is the share of negatives below it, that of a
negative image the share of positives above it. AUROC is the mean of either kind, and
how much they scatter says how sure it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .metrics import Array, Floats, Mask
from .ranking import Ranking, rank_findings

__all__ = [
    "Z95",
    "DeLong",
    "PatientInfluence",
    "delong",
    "delong_of",
    "influence",
    "influence_of",
    "logit_interval",
    "mean_auroc_interval",
    "patient_influence",
    "patient_influence_of",
    "patient_variance",
]

#: Two-sided 95 % of the normal distribution.
Z95 = 1.959963984540054


@dataclass(frozen=True)
class DeLong:
    """AUROC with its 95 % interval; all of shape (K,), NaN if one class was observed.

    Attributes:
        auroc: The estimate.
        variance: DeLong's.
        low: Lower end.
        high: Upper end.
    """

    auroc: Floats
    variance: Floats
    low: Floats
    high: Floats


def influence(scores: Array, targets: Array, observed: Mask) -> tuple[Floats, Floats]:
    """AUROC, and how far each image moves it.

    An image's influence is its placement value less the AUROC, over the size of its
    class. Influences sum to 0; the sum of their squares is DeLong's variance but for
    factors n/(n − 1), and summed within patients first it is Obuchowski's (1997).

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.

    Returns:
        AUROC, shape (K,), NaN if one class was observed; influence, shape (N, K), 0 for
        what was not observed, and all 0 where there is no AUROC.
    """
    return influence_of(rank_findings(scores, targets, observed), observed)


def influence_of(
    rankings: Sequence[Ranking | None], observed: Mask
) -> tuple[Floats, Floats]:
    """The same of findings that are sorted already.

    Args:
        rankings: Rankings of K findings; None has no AUROC.
        observed: Shape (N, K), bool.
    """
    area = np.full(observed.shape[1], np.nan)
    moved = np.zeros(observed.shape)
    for k, ranking in enumerate(rankings):
        if ranking is None or not ranking.has_both:
            continue
        of_positives, of_negatives = ranking.placements()
        area[k] = of_positives.mean()
        by_image = np.empty(len(ranking.group))
        by_image[ranking.positive] = (of_positives - area[k]) / len(of_positives)
        by_image[~ranking.positive] = (of_negatives - area[k]) / len(of_negatives)
        moved[observed[:, k], k] = by_image
    return area, moved


def delong(scores: Array, targets: Array, observed: Mask) -> DeLong:
    """DeLong's variance of the AUROC (DeLong, DeLong & Clarke-Pearson 1988).

    The interval is symmetric on the logit scale, which keeps it within [0, 1]. Two
    cases need more care, because there DeLong's variance is far too small:

    - One image of a class: its spread cannot be estimated. The largest variance that
      an AUROC can have, A(1 − A)/min(m, n), is used (van Dantzig 1951).
    - All positives above all negatives, or the reverse: the variance is 0. The error
      is bounded as for a proportion with no event among m, the size of the smaller
      class: 1 − 0.05^(1/m).

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
    """
    return delong_of(*influence(scores, targets, observed), targets, observed)


def delong_of(area: Floats, moved: Floats, targets: Array, observed: Mask) -> DeLong:
    """The same as `delong`, from what `influence` gave."""
    rows = np.full((4, len(area)), np.nan)
    for k in np.flatnonzero(~np.isnan(area)):
        positive = observed[:, k] & (targets[:, k] > 0)
        negative = observed[:, k] & ~positive
        rows[:, k] = _delong_one(area[k], moved[positive, k], moved[negative, k])
    return DeLong(*rows)


def _delong_one(
    area: float, of_positives: Floats, of_negatives: Floats
) -> tuple[float, float, float, float]:
    m, n = len(of_positives), len(of_negatives)
    if min(m, n) > 1:
        variance = float(
            (of_positives**2).sum() * m / (m - 1)
            + (of_negatives**2).sum() * n / (n - 1)
        )
    else:
        variance = area * (1 - area) / min(m, n)
    if not 0 < area < 1:
        missed = 1 - 0.05 ** (1 / min(m, n))
        low, high = (1 - missed, 1.0) if area == 1 else (0.0, missed)
        return area, variance, low, high
    return area, variance, *logit_interval(area, variance)


def logit_interval(area: float, variance: float) -> tuple[float, float]:
    """95 % interval that is symmetric on the logit scale, for 0 < area < 1.

    >>> low, high = logit_interval(0.5, 0.01)
    >>> round(low, 3), round(high, 3)
    (0.313, 0.687)
    """
    centre = np.log(area / (1 - area))
    half = Z95 * np.sqrt(variance) / (area * (1 - area))
    low, high = 1 / (1 + np.exp(-(centre + np.array([-half, half]))))
    return float(low), float(high)


@dataclass(frozen=True)
class PatientInfluence:
    """AUROC of K findings, and how far each of P patients moves it.

    Attributes:
        delong: AUROC with DeLong's intervals.
        moved: Sum of the influences of a patient's images, shape (P, K), each class
            times √(m/(m − 1)) for its m patients, so that squares sum to a variance.
        alone: Whether a class comes from one patient, so that its spread cannot be
            seen, shape (K,), bool.
    """

    delong: DeLong
    moved: Floats
    alone: Mask

    @property
    def auroc(self) -> Floats:
        """Shape (K,), NaN if one class was observed."""
        return self.delong.auroc

    def only(self, findings: Mask) -> "PatientInfluence":
        """The same without the AUROC of all other findings, for means over some."""
        area = np.where(findings, self.delong.auroc, np.nan)
        return replace(self, delong=replace(self.delong, auroc=area))


def patient_influence(
    scores: Array, targets: Array, observed: Mask, patient: npt.NDArray[np.integer]
) -> PatientInfluence:
    """AUROC with DeLong's intervals, and the influence of each patient.

    Args:
        scores: Shape (N, K).
        targets: Shape (N, K), 0 or 1.
        observed: Shape (N, K), bool.
        patient: Number of each image's patient, shape (N,), from 0.
    """
    rankings = rank_findings(scores, targets, observed)
    return patient_influence_of(rankings, targets, observed, patient)


def patient_influence_of(
    rankings: Sequence[Ranking | None],
    targets: Array,
    observed: Mask,
    patient: npt.NDArray[np.integer],
) -> PatientInfluence:
    """The same of findings that are sorted already; `rankings` of K findings."""
    area, moved = influence_of(rankings, observed)
    test = delong_of(area, moved, targets, observed)
    alone = np.zeros(len(area), dtype=bool)
    n_patients = int(patient.max(initial=-1)) + 1
    of_patients = np.zeros((n_patients, len(area)))
    for k in np.flatnonzero(~np.isnan(area)):
        positive = targets[:, k] > 0
        for rows in (observed[:, k] & positive, observed[:, k] & ~positive):
            m = int(np.count_nonzero(np.bincount(patient[rows])))
            alone[k] |= m == 1
            sums = np.bincount(patient[rows], moved[rows, k], n_patients)
            of_patients[:, k] += sums * np.sqrt(m / max(1, m - 1))
    return PatientInfluence(test, of_patients, alone)


def patient_variance(rows: Sequence[PatientInfluence], weights: Floats) -> float:
    """Variance, over patients, of a weighted sum of AUROCs on the same images.

    Images, findings and rows of one patient are added before they are squared, so that
    what they have in common counts. Where a class comes from one patient, the variance
    is that of a proportion of the size of the finding's share in the sum, v(1 − v),
    as in `delong`.

    Args:
        rows: AUROCs of K findings by so many models.
        weights: One for each, shape (rows, K).
    """
    total = np.zeros(len(rows[0].moved))
    share, largest = np.zeros(weights.shape[1]), np.abs(weights).max(axis=0)
    for row, weight in zip(rows, weights, strict=True):
        total += row.moved @ weight
        share += np.where(weight != 0, row.auroc, 0) * weight
    alone = rows[0].alone & (largest > 0)
    size = np.clip(np.abs(share[alone]) / largest[alone], 0, 1)
    unseen = (largest[alone] ** 2 * size * (1 - size)).sum()
    return float((total**2).sum() + unseen)


def mean_auroc_interval(
    influence: PatientInfluence, findings: Mask
) -> tuple[float, float, float]:
    """Mean AUROC of some findings with a 95 % interval over patients.

    With one image of each patient and one finding it is DeLong's; with several it adds
    up like Obuchowski's (1997).

    Args:
        influence: Influence of K findings.
        findings: Which the mean is over, shape (K,); those without an AUROC are left
            out.

    Returns:
        Mean, lower and upper end; NaN if no finding is left. Where nothing can be said,
        because every AUROC is 0 or 1, the ends are 0 and 1.
    """
    chosen = findings & ~np.isnan(influence.auroc)
    if not chosen.any():
        return (float("nan"),) * 3
    mean = float(influence.auroc[chosen].mean())
    if not 0 < mean < 1:
        return mean, 0.0, 1.0
    weights = np.where(chosen, 1 / chosen.sum(), 0.0)[np.newaxis]
    return mean, *logit_interval(mean, patient_variance([influence], weights))
