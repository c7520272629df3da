"""A catalog without some patients: a fresh file, in which they never were.

Deleting rows leaves them readable in blocks that DuckDB has freed. So the rows that
stay are copied into a new file, and the old one is destroyed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa

from ..catalog import scalar
from ..changes.label_versions import labels_digest
from ..changes.rows import insert_shards
from ..commits import count_commit
from ..label_states import STATE_NAMES, UNLABELLED
from ..opening.sandbox import CLOSED
from ..schema import create_table, quoted
from ..vectors.shards import ShardHeader
from .people import Erased, blot_out, patients_table

__all__ = ["NewRows", "copy_catalog", "count_rows", "fill_rows"]

_RUN_TABLES = ("runs", "metrics", "predictions")
#: Tables whose rows of a run go when it is learned anew.
_OF_RUNS = (*_RUN_TABLES, "run_marks")
#: Columns of running text in which somebody may have written an id or a path.
_TEXTS = {
    "datasets": ("warnings",),
    "runs": ("config",),
    "metrics": ("split",),
    "run_names": ("name",),
    "run_tags": ("tag",),
    "failures": ("error",),
    "image_notes": ("text",),
    "table_readings": ("reading",),
}


@dataclass(frozen=True)
class NewRows:
    """Rows that take the place of others.

    Attributes:
        shards: New shards in the place of old ones; they lie in the staging folder.
        old_shards: Ids of shards that are gone.
        runs: Table -> rows of runs that were learned anew, by table.
        replaced_runs: Ids of these runs.
        tables: Table -> rows to add, for tables of `schema`.
        configs: Run id -> its record, where a record counts images that are gone.
    """

    shards: tuple[ShardHeader, ...] = ()
    old_shards: tuple[str, ...] = ()
    runs: Mapping[str, pa.Table] = field(default_factory=dict)
    replaced_runs: tuple[str, ...] = ()
    tables: Mapping[str, pa.Table] = field(default_factory=dict)
    configs: Mapping[str, str] = field(default_factory=dict)


def count_rows(
    connection: duckdb.DuckDBPyConnection, erased: Erased, populations: str
) -> dict[str, int]:
    """Table -> how many of its rows are of erased patients; 0 is left out."""
    _register(connection, erased, populations)
    counts = {}
    for table, columns in _tables(connection).items():
        condition = _of_erased(table, columns)
        if condition:
            counts[table] = scalar(
                connection, f"SELECT count(*) FROM {quoted(table)} WHERE {condition}"
            )
    return {table: count for table, count in counts.items() if count}


def copy_catalog(
    connection: duckdb.DuckDBPyConnection,
    target: Path,
    erased: Erased,
    populations: str,
    rows: NewRows,
) -> None:
    """Copy every row that stays into a new file.

    Args:
        connection: The old catalog, held for writing so that nobody changes it.
        target: The new file; nothing may be there.
        erased: Who goes.
        populations: A query that gives the columns `dataset` and `population`.
        rows: What takes the place of what else goes.
    """
    _register(connection, erased, populations)
    fresh = duckdb.connect(str(target), config=dict(CLOSED))
    try:
        views = connection.execute(
            """SELECT sql FROM duckdb_views()
            WHERE NOT internal AND NOT temporary AND schema_name = 'main'"""
        ).fetchall()
        for table, columns in _tables(connection).items():
            reader = connection.sql(
                _kept(connection, table, columns, erased, rows)
            ).to_arrow_reader(1 << 17)
            types = ", ".join(
                f"{quoted(name)} {sql_type}" for name, sql_type in columns
            )
            fresh.execute(f"CREATE TABLE {quoted(table)} ({types})")
            fresh.register("kept_rows", reader)
            fresh.execute(f"INSERT INTO {quoted(table)} FROM kept_rows")
            fresh.unregister("kept_rows")
        for (statement,) in views:
            fresh.execute(statement)
    finally:
        fresh.close()
    target.chmod(0o600)


def fill_rows(target: Path, staging: Path, rows: NewRows) -> int:
    """Enter what takes the place of what is gone.

    Args:
        target: The new catalog.
        staging: Folder under which the new shards lie as they will in the store.
        rows: What to enter.

    Returns:
        The number of transactions that the new catalog has counted.
    """
    connection = duckdb.connect(str(target), config=dict(CLOSED))
    try:
        insert_shards(connection, staging, rows.shards)
        for table, incoming in (*rows.runs.items(), *rows.tables.items()):
            if table not in _RUN_TABLES:
                connection.execute(create_table(table))
            connection.register("incoming_rows", incoming)
            connection.execute(
                f"INSERT INTO {quoted(table)} BY NAME FROM incoming_rows"
            )
            connection.unregister("incoming_rows")
        number = count_commit(connection)
        connection.execute("CHECKPOINT")
    finally:
        connection.close()
    return number


def _tables(
    connection: duckdb.DuckDBPyConnection,
) -> dict[str, list[tuple[str, str]]]:
    """Table -> names and types of its columns."""
    rows = connection.execute(
        """SELECT table_name, column_name, data_type FROM duckdb_columns()
        WHERE table_oid IN (SELECT table_oid FROM duckdb_tables()
            WHERE schema_name = 'main' AND NOT temporary)
        AND schema_name = 'main' AND NOT internal
        ORDER BY table_name, column_index"""
    ).fetchall()
    tables: dict[str, list[tuple[str, str]]] = {}
    for table, column, sql_type in rows:
        tables.setdefault(table, []).append((column, sql_type))
    return tables


def _register(
    connection: duckdb.DuckDBPyConnection, erased: Erased, populations: str
) -> None:
    """Temporary tables of what goes, which the conditions below look into."""
    parts = {
        "erased_patients": patients_table(erased.patients),
        "erased_images": pa.table({"name": pa.array(erased.image_ids, pa.string())}),
        "erased_digests": pa.table({"name": pa.array(erased.digests, pa.string())}),
    }
    for name, table in parts.items():
        connection.register("incoming_erased", table)
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {name} AS FROM incoming_erased"
        )
        connection.unregister("incoming_erased")
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE erased_owners AS
        SELECT dataset, patient_id FROM erased_patients
        JOIN ({populations}) USING (population)"""
    )


def _of_erased(table: str, columns: Sequence[tuple[str, str]]) -> str:
    """Which rows of a table are of erased patients; empty if none can be.

    Told by the names of columns, so that tables which users or later versions add are
    known, too.
    """
    names = {name for name, _ in columns}
    parts = []
    if "image_id" in names:
        parts.append("image_id IN (SELECT name FROM erased_images)")
    if "content_digest" in names:
        parts.append("content_digest IN (SELECT name FROM erased_digests)")
    if "item_id" in names:
        parts.append("item_id IN (SELECT name FROM erased_digests)")
    if {"dataset", "patient_id"} <= names:
        parts.append("(dataset, patient_id) IN (FROM erased_owners)")
    if {"population", "patient_id"} <= names:
        parts.append("(population, patient_id) IN (FROM erased_patients)")
    if table == "trained_on":
        parts.append(
            """(kind = 'patient' AND (population, name) IN (FROM erased_patients
            UNION SELECT population, 'sha256:' || sha256(patient_id)
            FROM erased_patients))
            OR (kind = 'image' AND name IN (SELECT name FROM erased_digests))"""
        )
    # Null compares as null: such a row is nobody's.
    return " OR ".join(f"coalesce({part}, false)" for part in parts)


def _kept(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    columns: Sequence[tuple[str, str]],
    erased: Erased,
    rows: NewRows,
) -> str:
    """The query that gives the rows of a table that stay."""
    gone = [_of_erased(table, columns)]
    names = {name for name, _ in columns}
    if "shard_id" in names and rows.old_shards:
        gone.append(f"shard_id IN ({_listed(rows.old_shards)})")
    if table in _OF_RUNS and rows.replaced_runs:
        gone.append(f"run_id IN ({_listed(rows.replaced_runs)})")
    condition = " OR ".join(f"({one})" for one in gone if one)
    changed = ", ".join(
        part
        for part in (
            _redacted(connection, table, names, erased, rows),
            _counted(connection, table, erased),
        )
        if part
    )
    what = f"* REPLACE ({changed})" if changed else "*"
    source = f"SELECT {what} FROM {quoted(table)}"
    return f"{source} WHERE NOT ({condition})" if condition else source


def _counted(connection: duckdb.DuckDBPyConnection, table: str, erased: Erased) -> str:
    """Columns that count or digest images, as they will be."""
    mine = f"dataset IN ({_listed(erased.datasets)})"
    if not erased.datasets or table not in ("datasets", "label_versions"):
        return ""
    left = f"""(SELECT count(*) FROM images WHERE images.dataset = {table}.dataset
        AND NOT image_id IN (SELECT name FROM erased_images))"""
    last = """version = (SELECT max(version) FROM label_versions AS other
        WHERE other.dataset = label_versions.dataset)"""
    if table == "datasets":
        return f"CASE WHEN {mine} THEN {left} ELSE n_images END AS n_images"
    digests = " ".join(
        f"WHEN dataset = {_listed([name])} AND {last} AND digest IS NOT NULL "
        f"THEN '{_labels_digest(connection, name)}'"
        for name in erased.datasets
    )
    # What earlier versions said of everybody is not known any more.
    return f"""CASE {digests} WHEN {mine} THEN NULL ELSE digest END AS digest,
        CASE WHEN {mine} AND {last} THEN {left} ELSE n_images END AS n_images"""


def _labels_digest(connection: duckdb.DuckDBPyConnection, dataset: str) -> str:
    """Digest of the labels of a dataset that stay, as ingest computes it."""
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE kept_images AS
        SELECT image_id, row_number() OVER (ORDER BY image_id) - 1 AS place
        FROM images WHERE dataset = ? AND image_id NOT IN (SELECT name FROM
            erased_images)""",
        [dataset],
    )
    findings = connection.execute(
        "SELECT finding FROM dataset_findings WHERE dataset = ? ORDER BY position",
        [dataset],
    ).fetchall()
    codes = " ".join(f"WHEN '{name}' THEN {code}" for code, name in STATE_NAMES.items())
    numbers = connection.execute(
        f"""SELECT place, position, CASE state {codes} END AS code FROM labels
        JOIN kept_images USING (image_id)
        JOIN (SELECT finding, position FROM dataset_findings WHERE dataset = ?)
        USING (finding)""",
        [dataset],
    ).fetchnumpy()
    image_ids = connection.sql(
        "SELECT image_id FROM kept_images ORDER BY place"
    ).to_arrow_table()["image_id"]
    states = np.full((len(image_ids), len(findings)), UNLABELLED, dtype=np.int8)
    states[numbers["place"], numbers["position"]] = numbers["code"]
    connection.execute("DROP TABLE kept_images")
    return labels_digest(image_ids, [name for (name,) in findings], states)


def _listed(names: Sequence[str]) -> str:
    return ", ".join("'" + name.replace("'", "''") + "'" for name in names)


def _redacted(
    connection: duckdb.DuckDBPyConnection,
    table: str,
    names: set[str],
    erased: Erased,
    rows: NewRows,
) -> str:
    """Columns whose text names somebody who is erased, as they will be."""
    texts = erased.names
    parts = []
    for column in _TEXTS.get(table, ()):
        if column not in names:
            continue
        known = connection.execute(
            f"SELECT DISTINCT {quoted(column)}::VARCHAR FROM {quoted(table)}"
        ).fetchall()
        changed = {
            value: new
            for (value,) in known
            if value is not None and (new := blot_out(value, texts)) != value
        }
        if table == "runs" and rows.configs:
            records = dict(
                connection.execute("SELECT run_id, config FROM runs").fetchall()
            )
            changed |= {
                records[run_id]: blot_out(record, texts)
                for run_id, record in rows.configs.items()
                if run_id in records
            }
        if changed:
            view = f"new_{table}_{column}"
            connection.register(
                view, pa.table({"old": list(changed), "new": list(changed.values())})
            )
            sql_type = "VARCHAR[]" if column == "warnings" else "VARCHAR"
            name = quoted(column)
            parts.append(
                f"""coalesce((SELECT any_value(new) FROM {view}
                WHERE old = {name}::VARCHAR)::{sql_type}, {name}) AS {name}"""
            )
    return ", ".join(parts)
