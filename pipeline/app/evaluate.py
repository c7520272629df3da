"""Evaluating a run: on its own images, or on others of the store."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, find_run

from ..learn.erasing.marks import refuse_erased
from ..learn.problem.targets import BlankPolicy, UncertainPolicy
from ..learn.runs.external import ExternalEvaluation, evaluate_run
from ..learn.stats.catalog_names import Metric

__all__ = ["EvaluateRequest", "FindingFigures", "evaluate", "figures_of"]


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate, and on which images.

    Attributes:
        run: Run id, the beginning of one, or ``latest``.
        datasets: Only these; None for those of the run.
        split: ``train``, ``validation``, ``test`` or ``all``.
        where: A SQL condition over the columns of `images`.
        uncertain: Policy for uncertain labels; None: the run's.
        blank: Policy for findings not mentioned; None: the run's.
        allow_leakage: Also on patients and pictures that the run was trained on.
        allow_contaminated: Also on patients that the backbone was trained on.
        allow_erased: Also a run that was trained on erased data.
        operating_point: Choose thresholds anew on the run's validation images; None:
            the run's own.
        coverage: Also measure answer sets of this coverage, from validation.
        min_positives: Positives, and negatives, from which a finding enters means;
            None: the run's.
    """

    run: str
    datasets: tuple[str, ...] | None = None
    split: str = "test"
    where: str | None = None
    uncertain: UncertainPolicy | None = None
    blank: BlankPolicy | None = None
    allow_leakage: bool = False
    allow_contaminated: bool = False
    allow_erased: bool = False
    operating_point: str | None = None
    coverage: float | None = None
    min_positives: int | None = None


@dataclass(frozen=True)
class FindingFigures:
    """Metrics of one finding; NaN where undefined.

    Attributes:
        finding: Its name.
        positive: Positive images.
        images: Labelled images.
        auroc: AUROC.
        low: Lower end of its 95 % interval.
        high: Upper end.
        ap: Average precision.
        f1: At the threshold.
        ap_interval: 95 %, over patients, as the other intervals.
        f1_interval: Interval of F1.
        brier: Brier score.
        brier_interval: Its interval.
        brier_constant: Brier score of answering with the share of positives seen in
            training.
        calibration_error: Expected calibration error over 15 bins.
        calibration_error_interval: Its lower end less what chance alone would give.
        calibration_error_by_chance: What exact probabilities would have, because labels
            scatter; NaN without a bootstrap.
        calibration_error_constant: Calibration error of the constant.
        threshold: From which probability the finding is called positive.
        threshold_from: Where that comes from, in words.
        in_mean: Whether it has enough positives and negatives to enter means.
        covered: Share of answer sets that hold the right answer; NaN without sets.
        single: Share of answer sets with one answer.
    """

    finding: str
    positive: int
    images: int
    auroc: float
    low: float
    high: float
    ap: float
    f1: float
    ap_interval: tuple[float, float]
    f1_interval: tuple[float, float]
    brier: float
    brier_interval: tuple[float, float]
    brier_constant: float
    calibration_error: float
    calibration_error_interval: tuple[float, float]
    calibration_error_by_chance: float
    calibration_error_constant: float
    threshold: float
    threshold_from: str
    in_mean: bool
    covered: float
    single: float


def evaluate(store: FeatureStore, request: EvaluateRequest) -> ExternalEvaluation:
    """Evaluate a run and enter the figures into `metrics`; see `evaluate_run`.

    Raises:
        ErasedDataError: The run was trained on somebody who is erased.
    """
    refuse_erased(
        store, find_run(store, request.run).run_id, allow_erased=request.allow_erased
    )
    return evaluate_run(
        store,
        request.run,
        datasets=request.datasets,
        split=request.split,
        where=request.where,
        uncertain=request.uncertain,
        blank=request.blank,
        allow_leakage=request.allow_leakage,
        allow_contaminated=request.allow_contaminated,
        operating_point=request.operating_point,
        coverage=request.coverage,
        min_positives=request.min_positives,
    )


def figures_of(result: ExternalEvaluation) -> tuple[FindingFigures, ...]:
    """The metrics of each finding, in order."""
    return tuple(_figures(result, column) for column in range(len(result.findings)))


def _figures(result: ExternalEvaluation, column: int) -> FindingFigures:
    evaluation = result.evaluation

    def value(metric: Metric) -> float:
        if metric not in evaluation.others:
            return math.nan
        return float(evaluation.others[metric][column])

    def interval(metric: Metric) -> tuple[float, float]:
        if metric not in evaluation.intervals:
            return math.nan, math.nan
        low, high = evaluation.intervals[metric][:, column].tolist()
        return low, high

    def share(values: npt.NDArray[np.float64] | None) -> float:
        return math.nan if values is None else float(values[column])

    return FindingFigures(
        result.findings[column],
        int(evaluation.n_positive[column]),
        int(evaluation.n_observed[column]),
        float(evaluation.auroc[column]),
        float(evaluation.low[column]),
        float(evaluation.high[column]),
        value(Metric.AVERAGE_PRECISION),
        value(Metric.F1),
        interval(Metric.AVERAGE_PRECISION),
        interval(Metric.F1),
        value(Metric.BRIER),
        interval(Metric.BRIER),
        value(Metric.BRIER_CONSTANT),
        value(Metric.CALIBRATION_ERROR),
        interval(Metric.CALIBRATION_ERROR),
        value(Metric.CALIBRATION_ERROR_BY_CHANCE),
        value(Metric.CALIBRATION_ERROR_CONSTANT),
        float(evaluation.thresholds[column]),
        str(result.origins[column]),
        bool(evaluation.counted[column]),
        share(result.covered),
        share(result.single),
    )
