"""`drift`: what changed over months, sites, devices or any other column."""

import math
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import (
    FeatureStore,
    LabelledImages,
    choose_encoder,
    find_run,
    read_labelled_images,
)
from retune.store.catalog import utc_now
from retune.store.errors import ConfigurationError
from retune.store.plural import counted
from retune.store.queries.labelled import checked_condition
from retune.store.schema import create_table, quoted

from ...datasets.leakage import read_populations
from ...learn.drift.report import FAMILIES, DriftRow, GroupImages, compare_groups
from ...learn.problem.targets import make_targets
from ...progress import Progress, ProgressCallback, silent
from ...report.ablation_figure import check_figure
from ...report.drift_figure import draw_drift

__all__ = ["DriftRequest", "DriftSummary", "drift"]

#: Parts of time, from the column acquired_at.
_PERIODS = {"year": "%Y", "month": "%Y-%m", "day": "%Y-%m-%d"}
#: Columns whose missing values are counted, where the catalog has them.
_MAY_BE_MISSING = ("view", "sex", "age", "study_id", "acquired_at", "site", "device")
_MOST_GROUPS = 500
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class DriftRequest:
    """What to hold against what.

    Attributes:
        by: ``month``, ``year``, ``day``, or a column of `images`; each of its values
            is a group.
        reference: A SQL condition over `images`: those the groups are compared with.
            None: each group is compared with all others.
        where: A SQL condition over `images`: no others are looked at.
        datasets: Only these; None for all.
        run: Also look at the scores of this run; None for none.
        backbone: Use the vectors of this backbone.
        fingerprint: Use the vectors of this encoder.
        alpha: The chance of a false alarm.
        fail_above: AUROC of telling a group apart from which on it is called failed.
        seed: Seed of permutations and folds.
        min_patients: Groups with fewer patients are not looked at.
        plot: Where to draw a chart; None for none.
        allow_erased: Also a run that was trained on erased data.
    """

    by: str
    reference: str | None = None
    where: str | None = None
    datasets: tuple[str, ...] | None = None
    run: str | None = None
    backbone: str | None = None
    fingerprint: str | None = None
    alpha: float = 0.05
    fail_above: float | None = None
    seed: int = 0
    min_patients: int = 5
    plot: Path | None = None
    allow_erased: bool = False


@dataclass(frozen=True)
class DriftSummary:
    """What was found.

    Attributes:
        drift_id: Id of these rows in the table `drift`.
        n_reference: Images of the reference; 0 where each group has its own.
        rows: All figures.
        alarms: Those whose corrected p is below the chance asked for.
        failed: Groups that are told apart better than `fail_above`, not by chance.
        notes: What could not be looked at.
    """

    drift_id: str
    n_reference: int
    rows: tuple[DriftRow, ...]
    alarms: tuple[DriftRow, ...]
    failed: tuple[str, ...]
    notes: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return vars(self) | {
            "rows": [vars(row) for row in self.rows],
            "alarms": [vars(row) for row in self.alarms],
        }


def drift(
    store: FeatureStore, request: DriftRequest, progress: ProgressCallback = silent
) -> DriftSummary:
    """Compare groups of images with a reference, and enter the figures into `drift`.

    Args:
        store: With encoded images.
        request: What to hold against what.
        progress: Called at each stage.

    Raises:
        ConfigurationError: A column, dataset, encoder or run is unknown, no image fits,
            or the chart cannot be drawn.
        QueryError: A condition is none.
        ErasedDataError: The run was trained on somebody who is erased.
        StoreBusyError: Another process holds the catalog.
    """
    if not 0 < request.alpha < 1:
        raise ConfigurationError(
            f"`alpha` {request.alpha:g} is not between 0 and 1", "Use 0.05."
        )
    if request.plot is not None:
        check_figure(request.plot)
    fingerprint = request.fingerprint
    if request.run is not None:
        fingerprint = find_run(store, request.run).fingerprint
    encoder = choose_encoder(store, backbone=request.backbone, fingerprint=fingerprint)
    read = read_labelled_images(
        store, encoder.fingerprint, datasets=request.datasets, where=request.where
    )
    group_of = _groups_of(store, request, read)
    reference, groups, notes = _sides(store, request, read, group_of)
    progress(Progress("comparing", 0, 0))
    images = _images(store, request, read)
    rows, more = compare_groups(
        images,
        reference,
        groups,
        alpha=request.alpha,
        seed=request.seed,
        min_patients=request.min_patients,
    )
    summary = _summary(request, rows, int(reference.sum()), [*notes, *more])
    _enter(store, request, encoder.fingerprint, summary)
    if request.plot is not None:
        draw_drift(_points(summary), request.plot, _title(request))
    return summary


def _summary(
    request: DriftRequest, rows: list[DriftRow], n_reference: int, notes: list[str]
) -> DriftSummary:
    alarms = tuple(row for row in rows if row.p_corrected < request.alpha)
    failed: tuple[str, ...] = ()
    if request.fail_above is not None:
        failed = tuple(
            row.group
            for row in alarms
            if row.metric == "c2st_auroc" and row.value > request.fail_above
        )
    return DriftSummary(
        secrets.token_hex(8),
        n_reference if request.reference is not None else 0,
        tuple(rows),
        alarms,
        failed,
        tuple(notes),
    )


def _groups_of(
    store: FeatureStore, request: DriftRequest, read: LabelledImages
) -> npt.NDArray[np.object_]:
    """The name of each image's group, None where the column has no value."""
    with store.catalog.read() as connection:
        columns = [
            name
            for name, *_ in connection.execute("DESCRIBE images").fetchall()
            if name not in ("image_id", "path", "content_digest")
        ]
        by = request.by
        column = "acquired_at" if by in _PERIODS and by not in columns else by
        if column not in columns:
            raise ConfigurationError(
                f"`by` {by}: images have no column {column}; they have "
                f"{', '.join(columns)}",
                "Months need the time of acquisition, which `ingest` reads from the "
                "table or from DICOM files."
                if column == "acquired_at"
                else "Choose one of these.",
            )
        told = f"{quoted(column)}::VARCHAR"
        if column != by:
            told = f"strftime({quoted(column)}, '{_PERIODS[by]}')"
        rows = connection.execute(f"SELECT image_id, {told} FROM images").fetchall()
    known = dict(rows)
    return np.array(
        [known.get(name) for name in read.images["image_id"].to_pylist()], dtype=object
    )


def _sides(
    store: FeatureStore,
    request: DriftRequest,
    read: LabelledImages,
    group_of: npt.NDArray[np.object_],
) -> tuple[npt.NDArray[np.bool_], dict[str, npt.NDArray[np.bool_]], list[str]]:
    """Which images are the reference, and those of each group."""
    notes = []
    everybody = np.ones(len(group_of), dtype=bool)
    reference = everybody
    if request.reference is not None:
        with store.catalog.read() as connection:
            condition = checked_condition(connection, request.reference)
            rows = connection.execute(
                f"SELECT image_id FROM images WHERE {condition}"
            ).fetchall()
        wanted = {name for (name,) in rows}
        names = read.images["image_id"].to_pylist()
        reference = np.array([name in wanted for name in names], dtype=bool)
        if not reference.any():
            raise ConfigurationError(
                f"no encoded image fulfils the `reference` {request.reference}",
                "`retune-cli status` shows what is there.",
            )
    nobody = np.array([name is None for name in group_of], dtype=bool)
    if nobody.any():
        notes.append(f"{counted(int(nobody.sum()), 'image', 'have')} no {request.by}")
    alone = ~reference if request.reference is not None else everybody
    names = sorted(set(group_of[alone & ~nobody].tolist()))
    if request.reference is not None and reference.all():
        notes.append("all images are the reference: there is nothing to compare yet")
    elif not names or len(names) > _MOST_GROUPS:
        raise ConfigurationError(
            f"`by` {request.by} makes {counted(len(names), 'group')} in addition to "
            "the reference",
            f"Choose a column with 1 to {counted(_MOST_GROUPS, 'value')} there.",
        )
    groups = {name: alone & (group_of == name) for name in names}
    return reference, groups, notes


def _images(
    store: FeatureStore, request: DriftRequest, read: LabelledImages
) -> GroupImages:
    """What may change of the images."""
    x = read.embedding.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    targets = make_targets(read.states, "ignore", "negative", findings=read.findings)
    target = {
        name: np.where(targets.observed[:, k], targets.value[:, k], np.nan)
        for k, name in enumerate(read.findings)
    }
    rates: dict[str, Mapping[str, Floats]] = {
        "labels": {
            name: values for name, values in target.items() if (values == values).any()
        },
        "missing": _missing(store, request, read),
    }
    score: dict[str, Floats] = {}
    if request.run is not None:
        rates["scores"], score = _scores(store, request, read)
    ids = read.images["dataset"].to_pylist(), read.images["patient_id"].to_pylist()
    # Equal ids of one population are one patient.
    owners = read_populations(store)
    patient = [f"{owners[dataset]}/{name}" for dataset, name in zip(*ids, strict=True)]
    return GroupImages(x, np.array(patient, dtype=object), rates, score, target)


def _missing(
    store: FeatureStore, request: DriftRequest, read: LabelledImages
) -> dict[str, Floats]:
    """1 where a column has no value, for columns that have some."""
    with store.catalog.read() as connection:
        known = [name for name, *_ in connection.execute("DESCRIBE images").fetchall()]
        columns = [
            name for name in _MAY_BE_MISSING if name in known and name != request.by
        ]
        told = ", ".join(f"{quoted(name)} IS NULL" for name in columns)
        rows = connection.execute(f"SELECT image_id, {told} FROM images").fetchall()
    values = {name: flags for name, *flags in rows}
    names = read.images["image_id"].to_pylist()
    table = np.array([values[name] for name in names], dtype=np.float64)
    return {
        column: table[:, k] for k, column in enumerate(columns) if not table[:, k].all()
    }


def _scores(
    store: FeatureStore, request: DriftRequest, read: LabelledImages
) -> tuple[dict[str, Floats], dict[str, Floats]]:
    """Scores and decisions of a run, and which images are unlike its own."""
    import torch

    from ...learn.erasing.marks import refuse_erased
    from ...learn.runs.reopened import load_run_model
    from ...learn.runs.saved_model import predict

    assert request.run is not None
    run = find_run(store, request.run)
    refuse_erased(store, run.run_id, allow_erased=request.allow_erased)
    saved = load_run_model(store, run)
    probability = predict(saved.model, read.embedding).probability.astype(np.float64)
    rates: dict[str, Floats] = {}
    for k, name in enumerate(saved.findings):
        rates[f"{name} probability"] = probability[:, k]
        positive = probability[:, k] >= saved.thresholds[k]
        rates[f"{name} called positive"] = positive.astype(np.float64)
    distance = getattr(saved.model, "distance", None)
    limit = float(getattr(saved.model, "distance_limit", math.inf))
    if distance is not None and math.isfinite(limit):
        with torch.inference_mode():
            far = distance(torch.from_numpy(read.embedding).float()).numpy() > limit
        rates["flagged as unlike"] = far.astype(np.float64)
    score = {name: probability[:, k] for k, name in enumerate(saved.findings)}
    return rates, score


def _enter(
    store: FeatureStore, request: DriftRequest, fingerprint: str, summary: DriftSummary
) -> None:
    """Enter the figures into the catalog."""
    run_id = None if request.run is None else find_run(store, request.run).run_id
    rows = [
        {
            "drift_id": summary.drift_id,
            "at": utc_now(),
            "grouped_by": request.by,
            "reference": request.reference,
            "fingerprint": fingerprint,
            "run_id": run_id,
            "group_name": row.group,
            "finding": row.name or None,
            "metric": _metric(row),
            "value": _known(row.value),
            "ci_low": _known(row.low),
            "ci_high": _known(row.high),
            "p_value": _known(row.p_value),
            "p_corrected": _known(row.p_corrected),
            "n_images": row.n_images,
            "n_patients": row.n_patients,
        }
        for row in summary.rows
    ]
    if not rows:
        return
    with store.catalog.write() as connection:
        connection.execute(create_table("drift"))  # older stores lack it
        connection.register("incoming_drift", pa.Table.from_pylist(rows))
        connection.execute("INSERT INTO drift BY NAME FROM incoming_drift")
    store.refresh_copies(tables=("drift",))


def _metric(row: DriftRow) -> str:
    """The name of a figure in the catalog: that of its family where it is a rate."""
    names = {"labels": "prevalence", "scores": "score_mean", "missing": "missing"}
    return names.get(row.family, row.metric) if row.metric == "rate" else row.metric


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def _points(summary: DriftSummary) -> list[tuple[str, float, float, float, bool]]:
    alarmed = {row.group for row in summary.alarms if row.family == FAMILIES[0]}
    return [
        (row.group, row.value, row.low, row.high, row.group in alarmed)
        for row in summary.rows
        if row.metric == "c2st_auroc" and row.value == row.value
    ]


def _title(request: DriftRequest) -> str:
    against = request.reference or "all others"
    return f"each {request.by} against {against}"
