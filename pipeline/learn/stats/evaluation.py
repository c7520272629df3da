"""Scores become figures with intervals."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..problem.features import Features, number_patients
from ..problem.prediction import Prediction
from ..problem.targets import Targets
from .bootstrap import draw_with_classes, percentile_interval
from .catalog_names import Metric
from .drawn_figures import draw_figures
from .intervals import (
    DeLong,
    PatientInfluence,
    mean_auroc_interval,
    patient_influence,
    patient_influence_of,
)
from .metrics import (
    auroc,
    brier_score,
    calibration_error,
    f1_score,
    of_rankings,
)
from .operating_point import OperatingPoint, choose_thresholds
from .ranking import rank_findings
from .sufficiency import MIN_POSITIVES, left_out_note, sufficient_findings

__all__ = ["EvaluatedRows", "Evaluation", "evaluate_predictions", "evaluate_scores"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvaluatedRows:
    """The images that figures are computed on; made once for many predictions.

    Attributes:
        rows: Their indices among N images, shape (n,).
        value: 0 or 1, shape (n, K).
        observed: Shape (n, K), bool.
        patient: Number of each image's patient, shape (n,), from 0.
        min_positives: Positives, and negatives, from which a finding enters a mean.
    """

    rows: npt.NDArray[np.int64]
    value: npt.NDArray[np.float32]
    observed: npt.NDArray[np.bool_]
    patient: npt.NDArray[np.int64]
    min_positives: int = MIN_POSITIVES

    @classmethod
    def of(
        cls,
        features: Features,
        targets: Targets,
        rows: npt.NDArray[np.int64],
        min_positives: int = MIN_POSITIVES,
    ) -> "EvaluatedRows":
        """Some rows of a learning problem."""
        patient = number_patients(features.patient[rows])
        cells = targets.value[rows], targets.observed[rows]
        return cls(rows, *cells, patient, min_positives)

    @property
    def n_positive(self) -> npt.NDArray[np.int64]:
        """Positive images, shape (K,)."""
        counts: npt.NDArray[np.int64] = ((self.value > 0) & self.observed).sum(axis=0)
        return counts

    @property
    def n_observed(self) -> npt.NDArray[np.int64]:
        """Images with a known label, shape (K,)."""
        counts: npt.NDArray[np.int64] = self.observed.sum(axis=0)
        return counts

    @property
    def counted(self) -> npt.NDArray[np.bool_]:
        """Findings that enter means, shape (K,); see `sufficient_findings`."""
        return sufficient_findings(self.n_positive, self.n_observed, self.min_positives)

    @property
    def note(self) -> str:
        """How many findings means leave out; empty if none."""
        return left_out_note(self.n_positive, self.n_observed, self.min_positives)

    def influence(self, scores: npt.NDArray[np.floating]) -> PatientInfluence:
        """AUROC of the scores of all N images, shape (N, K), on these rows."""
        return patient_influence(
            scores[self.rows], self.value, self.observed, self.patient
        )


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of images; all of shape (K,), NaN where undefined.

    Attributes:
        influence: AUROC of `Prediction.score`, and what each patient adds to it.
        others: Further figures by metric name.
        n_positive: Positive images.
        n_observed: Images with a known label.
        macro: Mean AUROC of the counted findings, with its 95 % interval over patients,
            from what each of them moves it by.
        bootstrap: Ends of each finding's 95 % interval by bootstrap over patients,
            shape (2, K); None if none was drawn.
        counted: Findings that enter means, shape (K,), bool.
        note: How many findings means leave out; empty if none.
        intervals: Ends of 95 % intervals of some of `others`, shape (2, K), by
            bootstrap over patients; empty if none was drawn.
        means: Means of some of `others` over the counted findings, with intervals.
        thresholds: From which a finding is called positive, shape (K,).
    """

    influence: PatientInfluence
    others: Mapping[str, Floats]
    n_positive: npt.NDArray[np.int64]
    n_observed: npt.NDArray[np.int64]
    macro: tuple[float, float, float]
    bootstrap: Floats | None = None
    counted: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, bool))
    note: str = ""
    intervals: Mapping[Metric, Floats] = field(default_factory=dict)
    means: Mapping[Metric, tuple[float, float, float]] = field(default_factory=dict)
    thresholds: Floats = field(default_factory=lambda: np.zeros(0))

    @property
    def auroc(self) -> Floats:
        """Of `Prediction.score`."""
        return self.influence.auroc

    @property
    def low(self) -> Floats:
        """Lower end of its 95 % interval (DeLong)."""
        return self.influence.delong.low

    @property
    def high(self) -> Floats:
        """Upper end."""
        return self.influence.delong.high


def evaluate_scores(
    images: EvaluatedRows,
    prediction: Prediction,
    thresholds: Floats,
    *,
    seed: int | None = None,
    constant: Floats | None = None,
) -> Evaluation:
    """Evaluate predictions on some rows.

    Args:
        images: The rows to evaluate on.
        prediction: For all N images.
        thresholds: Chosen on validation, shape (K,).
        seed: Seed of the bootstrap; None: draw none.
        constant: What a constant would answer, shape (K,): the share of positives among
            labels of training and validation; None: not known.
    """
    return _Evaluator(images, constant).evaluate(prediction, thresholds, seed)


@dataclass(frozen=True)
class _Figures:
    """What an evaluation is made of that each finding has for itself."""

    influence: PatientInfluence
    others: Mapping[str, Floats]

    def with_columns(
        self, new: "_Figures", columns: npt.NDArray[np.int64]
    ) -> "_Figures":
        """These figures with those of some findings replaced."""

        def put(before: npt.NDArray[Any], now: npt.NDArray[Any]) -> npt.NDArray[Any]:
            merged = before.copy()
            merged[..., columns] = now
            return merged

        before, now = self.influence, new.influence
        return _Figures(
            PatientInfluence(
                DeLong(
                    put(before.delong.auroc, now.delong.auroc),
                    put(before.delong.variance, now.delong.variance),
                    put(before.delong.low, now.delong.low),
                    put(before.delong.high, now.delong.high),
                ),
                put(before.moved, now.moved),
                put(before.alone, now.alone),
            ),
            {name: put(self.others[name], new.others[name]) for name in self.others},
        )


class _Evaluator:
    """Evaluates predictions for the same images, one after the other.

    Figures of a finding whose scores are bit for bit those of the prediction before are
    taken from there: a method that learns a finding of each task and leaves the others
    as they are is evaluated that much sooner.
    """

    def __init__(self, images: EvaluatedRows, constant: Floats | None = None) -> None:
        self._images = images
        nothing = np.full(images.value.shape[1], np.nan)
        self._constant = nothing if constant is None else constant
        #: Scores, thresholds and figures of the prediction before.
        self._last: tuple[npt.NDArray[np.float32], Floats, _Figures] | None = None

    def evaluate(
        self, prediction: Prediction, thresholds: Floats, seed: int | None = None
    ) -> Evaluation:
        """As `evaluate_scores`."""
        parts = (prediction.score, prediction.positive, prediction.probability)
        scores = np.stack([part[self._images.rows] for part in parts])
        if self._last is None:
            figures = self._figures(scores, thresholds, np.arange(len(thresholds)))
        else:
            before, thresholds_before, figures = self._last
            changed = np.flatnonzero(
                _differs(before, scores) | (thresholds_before != thresholds)
            )
            if len(changed):
                new = self._figures(scores, thresholds, changed)
                figures = figures.with_columns(new, changed)
        self._last = scores, thresholds, figures
        return self._evaluation(scores, thresholds, figures, seed)

    def _figures(
        self,
        scores: npt.NDArray[np.float32],
        thresholds: Floats,
        columns: npt.NDArray[np.int64],
    ) -> _Figures:
        """Of some findings; scores of shape (3, n, K)."""
        score, positive, probability = scores[:, :, columns]
        value = self._images.value[:, columns]
        observed = self._images.observed[:, columns]
        rankings = rank_findings(score, value, observed)
        precision, sensitivity = of_rankings(rankings, 0.9)
        constant = np.broadcast_to(self._constant[columns], probability.shape)
        return _Figures(
            patient_influence_of(rankings, value, observed, self._images.patient),
            {
                Metric.AVERAGE_PRECISION: precision,
                Metric.F1: f1_score(probability, value, observed, thresholds[columns]),
                Metric.SENSITIVITY_AT_90_SPECIFICITY: sensitivity,
                Metric.BRIER: brier_score(probability, value, observed),
                Metric.CALIBRATION_ERROR: calibration_error(
                    probability, value, observed
                ),
                Metric.BRIER_CONSTANT: brier_score(constant, value, observed),
                Metric.CALIBRATION_ERROR_CONSTANT: _gap(constant, value, observed),
                Metric.AUROC_POSITIVE: auroc(positive, value, observed),
            },
        )

    def _evaluation(
        self,
        scores: npt.NDArray[np.float32],
        thresholds: Floats,
        figures: _Figures,
        seed: int | None,
    ) -> Evaluation:
        """With the means; scores of shape (3, n, K)."""
        images, influence = self._images, figures.influence
        counted = images.counted & ~np.isnan(influence.auroc)
        others = dict(figures.others)
        ends, intervals, means = None, {}, {}
        if seed is not None and (~np.isnan(influence.auroc)).any():
            value, observed = images.value, images.observed
            cells = value[:, counted], observed[:, counted]
            draws = draw_with_classes(images.patient, *cells, seed=seed)
            drawn = draw_figures(
                scores[2], scores[0], value, observed, thresholds, self._constant, draws
            )
            columns = drawn.auroc.T
            ends = np.array([percentile_interval(column) for column in columns]).T
            intervals = drawn.intervals(others)
            by_chance = drawn.excess[Metric.CALIBRATION_ERROR]
            others[Metric.CALIBRATION_ERROR_BY_CHANCE] = by_chance
            if counted.any():
                mean = float(by_chance[counted].mean())
                means[Metric.CALIBRATION_ERROR_BY_CHANCE] = (mean, np.nan, np.nan)
            for metric in drawn.tables if counted.any() else ():
                mean = float(others[metric][counted].mean())
                means[metric] = (mean, *drawn.mean_interval(metric, mean, counted))
        return Evaluation(
            influence=influence,
            others=others,
            n_positive=images.n_positive,
            n_observed=images.n_observed,
            macro=mean_auroc_interval(influence, counted),
            bootstrap=ends,
            counted=counted,
            note=images.note,
            intervals=intervals,
            means=means,
            thresholds=thresholds,
        )


def _gap(constant: Floats, value: npt.NDArray[Any], observed: Any) -> Floats:
    """Calibration error of an answer that is the same for all images, shape (K,)."""
    n = observed.sum(axis=0)
    gap = np.where(observed, constant - (value > 0), 0).sum(axis=0)
    difference: Floats = np.full(len(n), np.nan)
    np.divide(np.abs(gap), n, out=difference, where=n > 0)
    return difference


def _differs(
    before: npt.NDArray[np.float32], now: npt.NDArray[np.float32]
) -> npt.NDArray[np.bool_]:
    """Findings with a score that changed, shape (K,); scores of shape (3, n, K).

    By their bits, for which NaN is NaN.
    """
    same = before.view(np.int32) == now.view(np.int32)
    changed: npt.NDArray[np.bool_] = ~same.all(axis=(0, 1))
    return changed


def evaluate_predictions(
    test: EvaluatedRows,
    validation: EvaluatedRows,
    predictions: Sequence[Prediction],
    seed: int,
    *,
    point: OperatingPoint | None = None,
    constant: Floats | None = None,
) -> tuple[list[Evaluation], list[Evaluation], Floats]:
    """Evaluate each of T+1 predictions on both splits.

    Thresholds are chosen on validation, for each task anew. Only the last evaluation on
    test draws a bootstrap.

    Args:
        test: The test images.
        validation: The validation images.
        predictions: For all N images.
        seed: Seed of the bootstrap.
        point: How thresholds are chosen; None: by the best F1.
        constant: As for `evaluate_scores`.

    Returns:
        Evaluations on test, on validation, and the last thresholds, shape (K,).
    """
    last = len(predictions) - 1
    thresholds = np.full(test.value.shape[1], 0.5)
    on_test, on_validation = (
        _Evaluator(images, constant) for images in (test, validation)
    )
    of_test, of_validation = [], []
    for task, prediction in enumerate(predictions):
        thresholds, _ = choose_thresholds(
            point or OperatingPoint(),
            prediction.probability[validation.rows],
            validation.value,
            validation.observed,
        )
        drawn = seed if task == last else None
        of_test.append(on_test.evaluate(prediction, thresholds, drawn))
        of_validation.append(on_validation.evaluate(prediction, thresholds))
    return of_test, of_validation, thresholds
