"""Scores become figures with intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store import MetricValue

from .features import Features
from .intervals import bootstrap_macro_auroc, delong
from .metrics import (
    auroc,
    average_precision,
    brier_score,
    calibration_error,
    f1_score,
    sensitivity_at_specificity,
)
from .saved_model import Prediction
from .targets import Targets

__all__ = ["Evaluation", "evaluate_scores", "evaluation_values", "metric_values"]

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Figures of one set of images; all of shape (K,), NaN where undefined.

    Attributes:
        auroc: Of the score s⁺ − s⁻.
        low: Lower end of its 95 % interval (DeLong).
        high: Upper end.
        others: Further figures by metric name.
        n_positive: Positive images.
        n_observed: Images with a known label.
        macro: Mean AUROC of the findings that have one, with its 95 % interval by
            bootstrap over patients.
    """

    auroc: Floats
    low: Floats
    high: Floats
    others: Mapping[str, Floats]
    n_positive: npt.NDArray[np.int64]
    n_observed: npt.NDArray[np.int64]
    macro: tuple[float, float, float]


def evaluate_scores(
    features: Features,
    targets: Targets,
    rows: npt.NDArray[np.int64],
    prediction: Prediction,
    thresholds: Floats,
    seed: int,
) -> Evaluation:
    """Evaluate predictions on some rows.

    Args:
        features: All N images.
        targets: Of all N images.
        rows: The images to evaluate on.
        prediction: For all N images.
        thresholds: Tuned on validation, shape (K,).
        seed: Of the bootstrap.
    """
    value, observed = targets.value[rows], targets.observed[rows]
    difference = prediction.difference[rows]
    probability = prediction.probability[rows]
    interval = delong(difference, value, observed)
    defined = np.flatnonzero(~np.isnan(interval.auroc))
    macro = (float("nan"),) * 3
    if len(defined):
        low, high = bootstrap_macro_auroc(
            difference,
            value,
            observed,
            features.patient_id[rows],
            findings=defined,
            seed=seed,
        )
        macro = (float(interval.auroc[defined].mean()), low, high)
    return Evaluation(
        auroc=interval.auroc,
        low=interval.low,
        high=interval.high,
        others={
            "average_precision": average_precision(difference, value, observed),
            "f1": f1_score(probability, value, observed, thresholds),
            "sensitivity_at_90_specificity": sensitivity_at_specificity(
                difference, value, observed, specificity=0.9
            ),
            "brier": brier_score(probability, value, observed),
            "calibration_error": calibration_error(probability, value, observed),
            "auroc_positive": auroc(prediction.positive[rows], value, observed),
        },
        n_positive=((value > 0) & observed).sum(axis=0),
        n_observed=observed.sum(axis=0),
        macro=macro,
    )


def evaluation_values(
    findings: Sequence[str], evaluation: Evaluation, task: int, split: str
) -> Iterator[MetricValue]:
    """An evaluation as rows of the catalog's `metrics`."""
    for place, name in enumerate(findings):
        yield MetricValue(
            task,
            split,
            name,
            "auroc",
            float(evaluation.auroc[place]),
            float(evaluation.low[place]),
            float(evaluation.high[place]),
        )
        for metric, values in evaluation.others.items():
            yield MetricValue(task, split, name, metric, float(values[place]))
        n_positive = float(evaluation.n_positive[place])
        yield MetricValue(task, split, name, "n_positive", n_positive)
        n_observed = float(evaluation.n_observed[place])
        yield MetricValue(task, split, name, "n_observed", n_observed)
    yield MetricValue(task, split, None, "macro_auroc", *evaluation.macro)


def metric_values(
    features: Features,
    targets: Targets,
    predictions: Sequence[Prediction],
    positive: Floats,
    final: Evaluation,
    bounds: Mapping[str, Floats],
    summary: Mapping[str, float],
) -> Iterator[MetricValue]:
    """All figures of a run as rows of the catalog's `metrics`.

    Args:
        features: All N images.
        targets: Of all N images.
        predictions: Before the first task and after each of T, T+1 in all.
        positive: Test AUROC of s⁺, shape (T+1, K).
        final: Evaluation on test after the last task.
        bounds: Name -> test AUROC, shape (K,).
        summary: Incremental figures by name.
    """
    last = len(predictions) - 1
    for task, prediction in enumerate(predictions):
        for split in ("validation", "test"):
            if (task, split) == (last, "test"):
                continue  # `final` says more
            rows = features.rows(split)
            found = delong(
                prediction.difference[rows], targets.value[rows], targets.observed[rows]
            )
            for place, name in enumerate(features.findings):
                yield MetricValue(
                    task,
                    split,
                    name,
                    "auroc",
                    float(found.auroc[place]),
                    float(found.low[place]),
                    float(found.high[place]),
                )
        if task < last:
            for place, name in enumerate(features.findings):
                score = float(positive[task, place])
                yield MetricValue(task, "test", name, "auroc_positive", score)
    yield from evaluation_values(features.findings, final, last, "test")
    for bound, values in bounds.items():
        metric = f"auroc_{bound.replace(' ', '_').replace('-', '_')}"
        for name, value in zip(features.findings, values, strict=True):
            yield MetricValue(last, "test", name, metric, float(value))
    for metric, value in summary.items():
        yield MetricValue(last, "test", None, metric, float(value))
