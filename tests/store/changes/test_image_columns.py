"""Columns that came later or were kept; rows that are added; cells without a label."""

import shutil
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from store_samples import FINDINGS, images_table, states

from retune.store import FeatureStore
from retune.store.label_states import UNLABELLED

_OLD = Path(__file__).parents[1] / "store-v1"


def ingest(store: FeatureStore, images: pa.Table, cells: np.ndarray, **options: object):
    options = {"findings": FINDINGS, **options}
    with store.writer("test") as writer:
        return writer.replace_dataset(
            images, states=cells, dataset="d", layout="table", root=Path("/data"),
            split_seed=0, **options,
        )  # fmt: skip


def with_details(images: pa.Table, **columns: object) -> pa.Table:
    for name, values in columns.items():
        images = images.append_column(name, values)
    return images


def details(n: int) -> dict[str, pa.Array]:
    return {
        "acquired_at": pa.array([datetime(2026, 1, 1)] * n, pa.timestamp("us")),
        "series_id": pa.array(["s"] * n),
        "device": pa.array(["Carestream"] * n),
        "site": pa.array(["north"] * n),
    }


def test_known_and_kept_columns_are_queried_by_name(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    images = with_details(images_table(4), **details(4), Ward=pa.array(list("aabb")))
    ingest(store, images, states(4))
    query = "SELECT ward, device, min(acquired_at), count(*) FROM images GROUP BY ALL"
    assert sorted(store.sql(query).fetchall()) == [
        ("a", "Carestream", datetime(2026, 1, 1), 2),
        ("b", "Carestream", datetime(2026, 1, 1), 2),
    ]
    ingest(store, images_table(4), states(4))  # not kept any longer
    assert store.sql("SELECT DISTINCT ward FROM images").fetchall() == [(None,)]


def test_a_store_from_before_gains_the_columns(tmp_path: Path) -> None:
    shutil.copytree(_OLD, tmp_path / "s")
    store = FeatureStore(tmp_path / "s")
    ingest(store, with_details(images_table(10), **details(10)), states(10), moved=True)
    assert store.sql("SELECT DISTINCT site FROM images").fetchall() == [("north",)]
    assert store.sql("SELECT count(embedding) FROM image_features").fetchall() == [
        (10,)
    ]
    assert not store.verify()


def test_kept_columns_come_back_from_the_copies(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    ingest(store, with_details(images_table(4), ward=pa.array(list("aabb"))), states(4))
    (tmp_path / "s" / "catalog.duckdb").unlink()
    store.repair(from_copies=True)
    assert store.sql("SELECT count(DISTINCT ward) FROM images").fetchall() == [(2,)]


def test_an_unlabelled_cell_has_no_row(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    cells = states(4)
    cells[1, 0] = UNLABELLED
    ingest(store, images_table(4), cells)
    assert store.sql("SELECT count(*) FROM labels").fetchall() == [(7,)]
    assert store.sql(
        f"SELECT {FINDINGS[0]} FROM label_matrix WHERE image_id = 'd/0001.png'"
    ).fetchall() == [(None,)]


def test_rows_are_added_and_replaced(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    cells = states(10)
    ingest(store, images_table(6), cells[:6])
    new = images_table(10).slice(4)
    changed = cells[4:].copy()
    changed[0] = 1 - np.abs(changed[0])
    change = ingest(store, new, changed, append=True)
    assert (change.n_images, change.added, change.removed) == (10, 4, 0)
    assert (change.label_version, change.labels_changed) == (2, True)
    whole = FeatureStore.create(tmp_path / "t")
    ingest(whole, images_table(10), np.concatenate([cells[:4], changed]))
    for query in ("FROM label_matrix ORDER BY image_id", "FROM images ORDER BY ALL"):
        assert store.sql(query).fetchall() == whole.sql(query).fetchall()
    again = ingest(store, new, changed, append=True)
    assert (again.label_version, again.labels_changed) == (2, False)


def test_added_rows_may_label_other_findings(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    ingest(store, images_table(3), states(3))
    new = images_table(4).slice(3)
    ingest(store, new, np.ones((1, 1), np.int8), findings=("Hernia",), append=True)
    rows = store.sql("SELECT finding, count(*) FROM labels GROUP BY 1").fetchall()
    assert dict(rows) == {"Edema": 3, "Mass": 3, "Hernia": 1}
