"""Intervals of figures that have no formula for one: bootstrap over patients."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .bootstrap import PatientDraws, resample_ranks
from .catalog_names import Metric
from .intervals import Z95, logit_interval
from .metrics import N_BINS, Array, Floats, Mask, bins_of

__all__ = ["DrawnFigures", "draw_figures", "interval_of_draws"]

#: Figures within [0, 1] whose intervals are symmetric on the logit scale.
_SHARES = (Metric.AVERAGE_PRECISION, Metric.F1)


@dataclass(frozen=True)
class DrawnFigures:
    """Figures of K findings in B draws of patients.

    Attributes:
        tables: By metric, shape (B, K) each; NaN where a draw has none.
        excess: What chance alone would give: that of exact probabilities, for which
            the labels of so many images and patients scatter; shape (K,), NaN where
            probabilities are, 0 for metrics that it does not name.
        auroc: AUROC in each draw, shape (B, K).
    """

    tables: Mapping[Metric, Floats]
    excess: Mapping[Metric, Floats]
    auroc: Floats

    def intervals(self, values: Mapping[str, Floats]) -> dict[Metric, Floats]:
        """Ends of the 95 % interval of each figure, shape (2, K) each.

        Args:
            values: Metric -> the figure itself, shape (K,).
        """
        ends_of = {}
        for metric, table in self.tables.items():
            columns = zip(values[metric], table.T, self._excess(metric), strict=True)
            ends = [
                interval_of_draws(metric, float(value), column, float(excess))
                for value, column, excess in columns
            ]
            ends_of[metric] = np.array(ends).T.reshape(2, -1)
        return ends_of

    def _excess(self, metric: Metric) -> Floats:
        return self.excess.get(metric, np.zeros(self.tables[metric].shape[1]))

    def mean_interval(
        self, metric: Metric, value: float, findings: Mask
    ) -> tuple[float, float]:
        """Of the mean over some findings, in draws that have all of them.

        Args:
            metric: Metric of `tables`.
            value: The mean itself.
            findings: Shape (K,).
        """
        drawn = self.tables[metric][:, findings].mean(axis=1)
        excess = float(self._excess(metric)[findings].mean())
        return interval_of_draws(metric, value, drawn, excess)


def interval_of_draws(
    metric: Metric, value: float, draws: Floats, excess: float = 0.0
) -> tuple[float, float]:
    """95 % interval of a figure, by its spread over draws of patients.

    Average precision and F1: symmetric on the logit scale; 0 to 1 if they are 0 or 1,
    because draws do not say how sure that is. Others: symmetric, and the lower end less
    what chance alone would give, for it makes a calibration error larger.

    Args:
        metric: Which rule.
        value: The figure.
        draws: Shape (B,); NaN where a draw has none.
        excess: What chance alone would give.

    Returns:
        The ends; NaN without value or draws.
    """
    known = draws[~np.isnan(draws)]
    if np.isnan(value) or not len(known):
        return float("nan"), float("nan")
    variance = float(known.var())
    if metric in _SHARES:
        return logit_interval(value, variance) if 0 < value < 1 else (0.0, 1.0)
    half = Z95 * float(np.sqrt(variance))
    return max(0.0, value - excess - half), min(1.0, value + half)


def draw_figures(
    probability: Array,
    score: Array,
    targets: Array,
    observed: Mask,
    thresholds: Floats,
    constant: Floats,
    draws: PatientDraws,
) -> DrawnFigures:
    """Average precision, F1, Brier and calibration error in every draw of patients.

    Args:
        probability: Probability of n images, shape (n, K).
        score: What average precision ranks by, shape (n, K).
        targets: Shape (n, K), 0 or 1.
        observed: Shape (n, K), bool.
        thresholds: Thresholds of F1, shape (K,).
        constant: The probability that the constant says, shape (K,); NaN: unknown.
        draws: Draws of the same n images.
    """
    columns: dict[Metric, list[Floats]] = {metric: [] for metric in _ALL}
    excess = np.zeros(targets.shape[1])
    areas = np.full((draws.times.shape[1], targets.shape[1]), np.nan)
    for k in range(targets.shape[1]):
        seen = observed[:, k]
        patient, positive = draws.patient[seen], targets[seen, k] > 0
        chance = probability[seen, k].astype(np.float64)
        values, excess[k] = _of_labels(chance, positive, patient, thresholds[k], draws)
        values |= _of_constant(float(constant[k]), positive, patient, draws)
        areas[:, k], values[Metric.AVERAGE_PRECISION] = resample_ranks(
            score[seen, k], positive, patient, draws
        )
        for metric in _ALL:
            columns[metric].append(values[metric])
    tables = {name: np.stack(one, axis=1) for name, one in columns.items()}
    return DrawnFigures(tables, {Metric.CALIBRATION_ERROR: excess}, areas)


_ALL = (
    Metric.AVERAGE_PRECISION, Metric.F1, Metric.BRIER, Metric.CALIBRATION_ERROR,
    Metric.BRIER_CONSTANT, Metric.CALIBRATION_ERROR_CONSTANT,
)  # fmt: skip


def _weighed(
    values: Floats, patient: npt.NDArray[np.int64], draws: PatientDraws
) -> Floats:
    """Sums over images, each as often as its patient was drawn: (n, F) to (B, F)."""
    n_patients = len(draws.times)
    columns = [np.bincount(patient, one, n_patients) for one in values.T]
    sums = np.stack(columns, axis=1)
    return np.asarray(draws.times.T.astype(np.float64) @ sums)


def _ratio(above: Floats, below: Floats) -> Floats:
    ratio: Floats = np.full(len(above), np.nan)
    np.divide(above, below, out=ratio, where=below > 0)
    return ratio


def _of_labels(
    chance: Floats,
    positive: Mask,
    patient: npt.NDArray[np.int64],
    threshold: float,
    draws: PatientDraws,
) -> tuple[dict[Metric, Floats], float]:
    """F1, Brier and calibration error in draws; how much of the last may be chance."""
    if np.isnan(chance).any():  # nothing is known of these images
        nothing = np.full(draws.times.shape[1], np.nan)
        names = (Metric.F1, Metric.BRIER, Metric.CALIBRATION_ERROR)
        return dict.fromkeys(names, nothing), float("nan")
    called = chance >= threshold
    gap = chance - positive
    in_bin = np.zeros((len(chance), N_BINS))
    in_bin[np.arange(len(chance)), bins_of(chance)] = gap
    parts = [called & positive, called, positive, np.ones(len(chance)), gap**2]
    sums = _weighed(np.column_stack([*parts, in_bin]), patient, draws)
    hits, n_called, n_positive, n, squares = sums[:, :5].T
    f1 = _ratio(2 * hits, n_called + n_positive)
    figures = {
        Metric.F1: np.where(n_positive > 0, f1, np.nan),
        Metric.BRIER: _ratio(squares, n),
        Metric.CALIBRATION_ERROR: _ratio(np.abs(sums[:, 5:]).sum(axis=1), n),
    }
    # The absolute value of a gap that scatters about 0 by s is √(2/π)·s on average.
    spread = sums[:, 5:].std(axis=0).sum() / max(1, len(chance))
    return figures, float(np.sqrt(2 / np.pi) * spread)


def _of_constant(
    constant: float,
    positive: Mask,
    patient: npt.NDArray[np.int64],
    draws: PatientDraws,
) -> dict[Metric, Floats]:
    gap = constant - positive
    parts = np.column_stack([gap, gap**2, np.ones(len(gap))])
    gaps, squares, n = _weighed(parts, patient, draws).T
    return {
        Metric.BRIER_CONSTANT: _ratio(squares, n),
        Metric.CALIBRATION_ERROR_CONSTANT: _ratio(np.abs(gaps), n),
    }
