"""Figures of groups of patients: by sex, age band and view."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

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
    groups = {
        name: [value or UNKNOWN for value in images[name].to_pylist()]
        for name in ("sex", "view")
    }
    groups["age"] = [age_band(years) for years in images["age"].to_pylist()]
    return {
        name: np.array(groups[name], dtype=object) for name in ("sex", "age", "view")
    }


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
        groups: Of all N images.
        findings: K names.
        prediction: For all N images.
        task: After which it was made.
        split: That the rows are of.
    """
    for attribute, labels in groups.items():
        for label in sorted(set(labels[images.rows].tolist())):
            rows = np.flatnonzero(labels[images.rows] == label)
            part = _part(images, rows)
            found = part.influence(prediction.score)
            positive = (part.value > 0) & part.observed
            name = f"{split}/{attribute}={label}"
            for place, finding in enumerate(findings):
                figures = (found.auroc, found.delong.low, found.delong.high)
                ends = (float(one[place]) for one in figures)
                yield MetricValue(task, name, finding, Metric.AUROC, *ends)
                counts = {Metric.N_POSITIVE: positive, Metric.N_OBSERVED: part.observed}
                for metric, cells in counts.items():
                    number = float(cells[:, place].sum())
                    yield MetricValue(task, name, finding, metric, number)
            macro = mean_auroc_interval(found, part.counted)
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
