"""Figures become rows of the catalog's `metrics`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store import MetricValue

from ..problem.prediction import Prediction
from ..stats.catalog_names import Bound, Metric
from ..stats.evaluation import EvaluatedRows, Evaluation
from ..stats.incremental import seen_findings
from ..stats.intervals import PatientInfluence, mean_auroc_interval
from ..stats.subgroups import Groups, subgroup_values

__all__ = ["EvaluatedRun", "evaluation_values", "run_values"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class EvaluatedRun:
    """All figures of a run; K findings, T tasks.

    Attributes:
        findings: K names.
        introduced: The task that introduced each finding, shape (K,), from 1.
        test: Evaluation on test before the first task and after each, T+1 in all.
        validation: The same on validation; empty if no image is in it.
        bounds: Name -> AUROC on test.
        summary: Incremental figures by name: value, lower and upper end.
    """

    findings: tuple[str, ...]
    introduced: npt.NDArray[np.int64]
    test: Sequence[Evaluation]
    validation: Sequence[Evaluation]
    bounds: Mapping[str, PatientInfluence]
    summary: Mapping[str, tuple[float, float, float]]

    @property
    def last(self) -> int:
        """T."""
        return len(self.test) - 1


def evaluation_values(
    findings: Sequence[str], evaluation: Evaluation, task: int, split: str
) -> Iterator[MetricValue]:
    """An evaluation as rows of the catalog's `metrics`."""
    test = evaluation.influence.delong
    for column, name in enumerate(findings):
        ends = (float(one[column]) for one in (test.auroc, test.low, test.high))
        yield MetricValue(task, split, name, Metric.AUROC, *ends)
        if evaluation.bootstrap is not None:
            low, high = evaluation.bootstrap[:, column].tolist()
            area = float(test.auroc[column])
            drawn = (area, low, high)
            yield MetricValue(task, split, name, Metric.AUROC_BOOTSTRAP, *drawn)
        for metric, values in evaluation.others.items():
            bounds = evaluation.intervals.get(Metric(metric))
            interval = (None, None) if bounds is None else bounds[:, column].tolist()
            value = float(values[column])
            yield MetricValue(task, split, name, metric, value, *interval)
        if len(evaluation.thresholds):
            value = float(evaluation.thresholds[column])
            yield MetricValue(task, split, name, Metric.THRESHOLD, value)
        for metric, counts in (
            (Metric.N_POSITIVE, evaluation.n_positive),
            (Metric.N_OBSERVED, evaluation.n_observed),
        ):
            yield MetricValue(task, split, name, metric, float(counts[column]))
    yield MetricValue(task, split, None, Metric.MACRO_AUROC, *evaluation.macro)
    for metric, mean in evaluation.means.items():
        yield MetricValue(task, split, None, metric.macro, *mean)
    n_counted = int(evaluation.counted.sum())
    n_defined = int((~np.isnan(test.auroc)).sum())
    for metric, n in (
        (Metric.N_FINDINGS, n_counted),
        (Metric.N_FINDINGS_LEFT_OUT, n_defined - n_counted),
    ):
        yield MetricValue(task, split, None, metric, float(n))


def run_values(
    run: EvaluatedRun,
    images: EvaluatedRows,
    prediction: Prediction,
    groups: Groups | None = None,
) -> Iterator[MetricValue]:
    """All figures of a run as rows of the catalog's `metrics`.

    Args:
        run: The figures.
        images: The test rows.
        prediction: After the last task, for the groups.
        groups: Groups of all N images; None: no figures of groups.
    """
    for split, evaluations in (("validation", run.validation), ("test", run.test)):
        for task, evaluation in enumerate(evaluations):
            yield from evaluation_values(run.findings, evaluation, task, split)
    for task in range(1, run.last + 1):
        seen = seen_findings(run.introduced, task) & images.counted
        mean = mean_auroc_interval(run.test[task].influence, seen)
        yield MetricValue(task, "test", None, Metric.INCREMENTAL_AUROC, *mean)
    for name, task in zip(run.findings, run.introduced.tolist(), strict=True):
        row = (run.last, "test", name, Metric.TASK_INTRODUCED, float(task))
        yield MetricValue(*row)
    for bound, influence in run.bounds.items():
        yield from _bound_values(run, bound, influence, images.counted)
    for metric, (value, low, high) in run.summary.items():
        yield MetricValue(run.last, "test", None, metric, value, low, high)
    if groups is not None:
        yield from subgroup_values(
            images, groups, run.findings, prediction, run.last, "test"
        )


def _bound_values(
    run: EvaluatedRun,
    bound: str,
    influence: PatientInfluence,
    counted: npt.NDArray[np.bool_],
) -> Iterator[MetricValue]:
    for column, name in enumerate(run.findings):
        figures = (influence.auroc, influence.delong.low, influence.delong.high)
        ends = (float(one[column]) for one in figures)
        yield MetricValue(run.last, "test", name, Bound(bound).auroc, *ends)
    macro = mean_auroc_interval(influence, counted)
    yield MetricValue(run.last, "test", None, Bound(bound).macro_auroc, *macro)
