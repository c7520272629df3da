"""Entering runs and their metrics into the catalog."""

import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

import pyarrow as pa

from .changes.pending_runs import find_pending, insert_run, keep_run
from .errors import ConfigurationError, StoreBusyError, StoreWriteError
from .feature_store import FeatureStore

__all__ = [
    "MetricValue",
    "Run",
    "add_metrics",
    "enter_kept_runs",
    "find_run",
    "record_run",
]


@dataclass(frozen=True)
class MetricValue:
    """One row of `metrics`; `finding` None for figures over all findings."""

    task: int
    split: str
    finding: str | None
    metric: str
    value: float
    ci_low: float | None = None
    ci_high: float | None = None


@dataclass(frozen=True)
class Run:
    """One row of `runs`; `config` is JSON text, `started_at` is in UTC."""

    run_id: str
    fingerprint: str
    scenario: str
    method: str
    seed: int
    config: str
    started_at: datetime
    seconds: float
    status: str


_RUNS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()), ("fingerprint", pa.string()),
        ("scenario", pa.string()), ("method", pa.string()), ("seed", pa.int32()),
        ("config", pa.string()), ("started_at", pa.timestamp("us")),
        ("seconds", pa.float64()), ("status", pa.string()),
    ]
)  # fmt: skip
_PREDICTIONS_SCHEMA = pa.schema(
    [
        ("task", pa.int32()), ("image_id", pa.string()), ("finding", pa.string()),
        ("score", pa.float32()), ("probability", pa.float32()),
    ]
)  # fmt: skip
_METRICS_SCHEMA = pa.schema(
    [
        ("run_id", pa.string()), ("task", pa.int32()), ("split", pa.string()),
        ("finding", pa.string()), ("metric", pa.string()), ("value", pa.float64()),
        ("ci_low", pa.float64()), ("ci_high", pa.float64()),
    ]
)  # fmt: skip


def _known(value: object) -> object:
    """NULL for a figure that is undefined: SQL leaves it out of means, NaN it keeps."""
    return None if isinstance(value, float) and math.isnan(value) else value


def _metrics_table(run_id: str, metrics: Sequence[MetricValue]) -> pa.Table:
    rows: list[Mapping[str, object]] = [
        {"run_id": run_id, **{k: _known(v) for k, v in vars(metric).items()}}
        for metric in metrics
    ]
    return pa.Table.from_pylist(rows, _METRICS_SCHEMA)


def record_run(
    store: FeatureStore,
    run: Run,
    metrics: Sequence[MetricValue],
    predictions: pa.Table | None = None,
) -> None:
    """Enter a run with all its figures in one transaction.

    If somebody holds the catalog for longer than it waits, the figures are kept in a
    file of the store and are entered by the next change, or when a run is looked for.

    Args:
        store: Where to.
        run: The run.
        metrics: Its figures.
        predictions: Columns `task, image_id, finding, score, probability`.

    Raises:
        StoreWriteError: The disk refused.
    """
    if predictions is None:
        predictions = _PREDICTIONS_SCHEMA.empty_table()
    name = pa.array([run.run_id] * len(predictions), pa.string())
    tables = (
        pa.Table.from_pylist([vars(run)], _RUNS_SCHEMA),
        _metrics_table(run.run_id, metrics),
        predictions.append_column("run_id", name),
    )
    try:
        store.enter_pending_runs()
        with store.catalog.write() as connection:
            insert_run(connection, *tables)
    except StoreBusyError:
        keep_run(store.path, run.run_id, tables)
    else:
        store.refresh_copies(run_id=run.run_id)


def enter_kept_runs(store: FeatureStore) -> None:
    """Enter runs that were kept, unless somebody still holds the catalog."""
    if find_pending(store.path):
        with suppress(StoreBusyError, StoreWriteError):
            store.enter_pending_runs(patience_seconds=0.0)


def add_metrics(
    store: FeatureStore, run_id: str, metrics: Sequence[MetricValue]
) -> None:
    """Enter further figures of a run, replacing those of the same splits."""
    splits = sorted({metric.split for metric in metrics})
    store.enter_pending_runs()
    with store.catalog.write() as connection:
        connection.execute(
            "DELETE FROM metrics WHERE run_id = ? AND list_contains(?, split)",
            [run_id, splits],
        )
        connection.register("incoming_metrics", _metrics_table(run_id, metrics))
        connection.execute("INSERT INTO metrics SELECT * FROM incoming_metrics")
    store.refresh_copies(run_id=run_id)


def find_run(store: FeatureStore, name: str) -> Run:
    """Find a run by its id, the beginning of it, or ``latest``.

    Raises:
        ConfigurationError: No run, or more than one, is meant.
    """
    enter_kept_runs(store)
    columns = ", ".join(Run.__dataclass_fields__)
    rows = store.sql(
        f"SELECT {columns} FROM runs WHERE status = 'finished' ORDER BY started_at"
    ).fetchall()
    runs = [Run(*row) for row in rows]
    fitting = (
        runs[-1:]
        if name == "latest"
        else [run for run in runs if run.run_id.startswith(name)]
    )
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(run.run_id for run in runs[-5:]) or "none"
    raise ConfigurationError(
        f"'{name}' means {len(fitting)} runs of {store.path}; the newest are: {known}",
        '`retune-cli sql "SELECT run_id, scenario, started_at FROM runs"` lists '
        "them; `latest` is the newest.",
    )
