"""Predictions of runs enter stores that were made before they had all columns."""

from pathlib import Path

import pyarrow as pa
from damage_samples import predictions, run_of
from store_samples import filled_store

from retune.store import FeatureStore, record_run
from retune.store.schema import LATER_COLUMNS

_QUERY = """SELECT DISTINCT run_id, uncertainty, distance, out_of_distribution
    FROM predictions"""


def _older_store(path: Path) -> FeatureStore:
    store = filled_store(path)
    with store.catalog.write() as connection:
        for column, _ in LATER_COLUMNS["predictions"]:
            connection.execute(f"ALTER TABLE predictions DROP COLUMN {column}")
    return store


def test_columns_that_came_later_are_added_with_the_first_predictions(
    tmp_path: Path,
) -> None:
    store = _older_store(tmp_path / "s")
    record_run(store, run_of("before"), [], predictions())
    known = predictions()
    for name, values in (
        ("uncertainty", pa.array([0.1] * len(known), pa.float32())),
        ("distance", pa.array([2.0] * len(known), pa.float32())),
        ("out_of_distribution", pa.array([True] * len(known))),
    ):
        known = known.append_column(name, values)
    record_run(store, run_of("after"), [], known)
    rows = {row[0]: row[1:] for row in store.sql(_QUERY).fetchall()}
    assert rows["before"] == (None, None, None)
    assert rows["after"][1:] == (2.0, True)
    assert not store.verify()


def test_a_run_without_predictions_changes_no_table(tmp_path: Path) -> None:
    store = _older_store(tmp_path / "s")
    record_run(store, run_of("plain"), [])
    columns = store.sql("SELECT column_name FROM (DESCRIBE predictions)").fetchall()
    assert ("distance",) not in columns
