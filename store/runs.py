"""Runs and their metrics in the catalog: entering, finding, naming, deleting."""

import math
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import duckdb
import pyarrow as pa

from .changes.pending_runs import find_pending, insert_run, keep_run
from .errors import ConfigurationError, StoreBusyError, StoreWriteError
from .feature_store import FeatureStore
from .opening.kept_catalogs import opening_once
from .plural import counted
from .schema import create_table

__all__ = [
    "MetricValue",
    "Run",
    "add_metrics",
    "delete_run",
    "enter_kept_runs",
    "find_run",
    "read_run_marks",
    "read_run_names",
    "read_run_tags",
    "record_run",
    "rename_run",
    "run_tables",
    "tag_run",
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
        ("uncertainty", pa.float32()), ("distance", pa.float32()),
        ("out_of_distribution", pa.bool_()),
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
        predictions: Columns `task, image_id, finding, score, probability` and, where
            the model knows them, `uncertainty, distance, out_of_distribution`.

    Raises:
        StoreWriteError: The disk refused.
    """
    tables = run_tables(run, metrics, predictions)
    try:
        store.enter_pending_runs()
        with store.catalog.write() as connection:
            insert_run(connection, *tables)
    except StoreBusyError:
        keep_run(store.path, run.run_id, tables)
    else:
        store.refresh_copies(run_id=run.run_id)


def run_tables(
    run: Run, metrics: Sequence[MetricValue], predictions: pa.Table | None = None
) -> tuple[pa.Table, pa.Table, pa.Table]:
    """A run's rows of `runs`, `metrics` and `predictions`."""
    if predictions is None:
        predictions = _PREDICTIONS_SCHEMA.empty_table()
    name = pa.array([run.run_id] * len(predictions), pa.string())
    return (
        pa.Table.from_pylist([vars(run)], _RUNS_SCHEMA),
        _metrics_table(run.run_id, metrics),
        predictions.append_column("run_id", name),
    )


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


@opening_once
def find_run(store: FeatureStore, name: str) -> Run:
    """Find a run by its name, its id, the beginning of the id, or ``latest``.

    Raises:
        ConfigurationError: No run, or more than one, is meant.
    """
    enter_kept_runs(store)
    columns = ", ".join(Run.__dataclass_fields__)
    rows = store.rows(
        f"SELECT {columns} FROM runs WHERE status = 'finished' ORDER BY started_at"
    )
    runs = [Run(*row) for row in rows]
    named = [run_id for run_id, given in read_run_names(store).items() if given == name]
    if name == "latest":
        fitting = runs[-1:]
    elif named:
        fitting = [run for run in runs if run.run_id in named]
    else:
        fitting = [run for run in runs if run.run_id.startswith(name)]
    if len(fitting) == 1:
        return fitting[0]
    known = ", ".join(run.run_id for run in runs[-5:]) or "none"
    raise ConfigurationError(
        f"'{name}' means {counted(len(fitting), 'run')} of {store.path}; the newest "
        f"are: {known}",
        "`retune-cli runs` lists them; `latest` is the newest.",
    )


def read_run_names(store: FeatureStore) -> dict[str, str]:
    """Run id -> the name that a person gave it, of those that have one."""
    with store.catalog.read() as connection:
        if not _has(connection, "run_names"):
            return {}
        return dict(connection.execute("SELECT run_id, name FROM run_names").fetchall())


def read_run_tags(store: FeatureStore) -> dict[str, tuple[str, ...]]:
    """Run id -> its tags in order, of those that have some."""
    with store.catalog.read() as connection:
        if not _has(connection, "run_tags"):
            return {}
        rows = connection.execute(
            "SELECT run_id, list_sort(list(DISTINCT tag)) FROM run_tags GROUP BY run_id"
        ).fetchall()
    return {run_id: tuple(tags) for run_id, tags in rows}


def read_run_marks(store: FeatureStore) -> dict[str, tuple[str, ...]]:
    """Run id -> what erasures have marked of it, of those that have marks."""
    with store.catalog.read() as connection:
        if not _has(connection, "run_marks"):
            return {}
        rows = connection.execute(
            "SELECT run_id, list_sort(list(DISTINCT mark)) FROM run_marks GROUP BY ALL"
        ).fetchall()
    return {run_id: tuple(marks) for run_id, marks in rows}


def rename_run(store: FeatureStore, run_id: str, name: str | None) -> None:
    """Give a run a name, another one, or none.

    Raises:
        ConfigurationError: Another run has this name.
    """
    with store.catalog.write() as connection:
        connection.execute(create_table("run_names"))
        connection.execute("DELETE FROM run_names WHERE run_id = ?", [run_id])
        # The catalog has no unique keys: asked within the transaction.
        taken = connection.execute(
            "SELECT run_id FROM run_names WHERE name = ?", [name]
        ).fetchall()
        if taken:
            raise ConfigurationError(
                f"run {taken[0][0]} is called '{name}' already",
                "Choose another name, or rename that run first.",
            )
        if name is not None:
            connection.execute("INSERT INTO run_names VALUES (?, ?)", [run_id, name])
    store.refresh_copies(tables=("run_names",))


def tag_run(
    store: FeatureStore, run_id: str, add: Sequence[str], remove: Sequence[str] = ()
) -> None:
    """Give a run tags and take others away; one that it has already stays one."""
    with store.catalog.write() as connection:
        connection.execute(create_table("run_tags"))
        connection.execute(
            "DELETE FROM run_tags WHERE run_id = ? AND list_contains(?, tag)",
            [run_id, [*add, *remove]],
        )
        for tag in dict.fromkeys(add):
            connection.execute("INSERT INTO run_tags VALUES (?, ?)", [run_id, tag])
    store.refresh_copies(tables=("run_tags",))


def delete_run(store: FeatureStore, run_id: str) -> None:
    """Erase a run: its rows in one transaction, then its folder.

    Raises:
        StoreWriteError: The folder cannot be removed; the rows are gone.
    """
    tables = (
        "runs", "metrics", "predictions", "run_names", "run_tags", "run_marks",
    )  # fmt: skip
    with store.catalog.write() as connection:
        for table in tables:
            if _has(connection, table):
                connection.execute(f"DELETE FROM {table} WHERE run_id = ?", [run_id])
    store.refresh_copies()  # else a rebuilt catalog would have the run again
    # Somebody's SQL may have written any text as a run id.
    if not run_id or Path(run_id).name != run_id:
        return
    folder = store.path / "runs" / run_id
    try:
        if folder.is_dir():
            shutil.rmtree(folder)
    except OSError as error:
        raise StoreWriteError(
            f"run {run_id} is out of the catalog, but {folder} cannot be removed: "
            f"{error.strerror or error}",
            "Remove that folder by hand.",
        ) from error


def _has(connection: duckdb.DuckDBPyConnection, table: str) -> bool:
    """Whether the catalog has a table; older stores lack those that came later."""
    return bool(
        connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]
        ).fetchall()
    )
