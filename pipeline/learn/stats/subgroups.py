"""Figures of groups of patients: by sex, age band and view."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import MetricValue

from ..problem.features import number_patients
from ..problem.prediction import Prediction
from .catalog_names import Metric
from .evaluation import EvaluatedRows
from .intervals import mean_auroc_interval

__all__ = ["Groups", "age_band", "image_groups", "subgroup_values"]

#: Attribute -> the group of each of N images, shape (N,), str.
Groups = Mapping[str, npt.NDArray[np.object_]]

UNKNOWN = "unknown"
_BAND_YEARS = 20
_LAST_BAND_YEARS = 80


def age_band(years: float | None) -> str:
    """The band of 20 years that an age lies in.

    >>> [age_band(years) for years in (0.5, 19.9, 20, 85, None, float("nan"), -1)]
    ['0-19', '0-19', '20-39', '80+', 'unknown', 'unknown', 'unknown']
    """
    if years is None or not years >= 0:
        return UNKNOWN
    if years >= _LAST_BAND_YEARS:
        return f"{_LAST_BAND_YEARS}+"
    start = int(years // _BAND_YEARS) * _BAND_YEARS
    return f"{start}-{start + _BAND_YEARS - 1}"


def image_groups(images: pa.Table) -> Groups:
    """Sex, age band and view of images.

    Args:
        images: With the catalog's columns `sex`, `age` and `view`; N rows.
    """
    return {
        "sex": _shared(images["sex"], _known),
        "age": _shared(images["age"], age_band),
        "view": _shared(images["view"], _known),
    }


def _known(value: str | None) -> str:
    return value or UNKNOWN


def _shared(
    column: pa.ChunkedArray, label: Callable[[Any], str]
) -> npt.NDArray[np.object_]:
    """The label of each value; equal ones are one object, of which millions are."""
    encoded = column.combine_chunks().dictionary_encode("encode")
    labels: npt.NDArray[np.object_] = np.array(
        [label(value) for value in encoded.dictionary.to_pylist()], dtype=object
    )
    texts: npt.NDArray[np.object_] = labels[encoded.indices.to_numpy()]
    return texts


def subgroup_values(
    images: EvaluatedRows,
    groups: Groups,
    findings: tuple[str, ...],
    prediction: Prediction,
    task: int,
    split: str,
) -> Iterator[MetricValue]:
    """AUROC of each group as rows of the catalog's `metrics`.

    They are filed under a split such as ``test/sex=F``, with the images and positives
    that they come from. A finding with one class in a group has no AUROC there.

    Args:
        images: The rows to evaluate on.
        groups: Groups of all N images.
        findings: K names.
        prediction: For all N images.
        task: After which it was made.
        split: That the rows are of.
    """
    for attribute, labels in groups.items():
        for label in sorted(set(labels[images.rows].tolist())):
            rows = np.flatnonzero(labels[images.rows] == label)
            part = _part(images, rows)
            influence = part.influence(prediction.score)
            positive = (part.value > 0) & part.observed
            name = f"{split}/{attribute}={label}"
            for column, finding in enumerate(findings):
                figures = (influence.auroc, influence.delong.low, influence.delong.high)
                ends = (float(one[column]) for one in figures)
                yield MetricValue(task, name, finding, Metric.AUROC, *ends)
                counts = {Metric.N_POSITIVE: positive, Metric.N_OBSERVED: part.observed}
                for metric, cells in counts.items():
                    number = float(cells[:, column].sum())
                    yield MetricValue(task, name, finding, metric, number)
            macro = mean_auroc_interval(influence, part.counted)
            yield MetricValue(task, name, None, Metric.MACRO_AUROC, *macro)
            yield MetricValue(task, name, None, Metric.N_IMAGES, float(len(rows)))


def _part(images: EvaluatedRows, rows: npt.NDArray[np.int64]) -> EvaluatedRows:
    """Some of the images, their patients numbered anew."""
    patient = number_patients(images.patient[rows])
    return replace(
        images,
        rows=images.rows[rows],
        value=images.value[rows],
        observed=images.observed[rows],
        patient=patient,
    )
