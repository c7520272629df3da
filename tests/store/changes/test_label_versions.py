"""Labels that change leave their old version; labels that do not change nothing."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from store_samples import FINDINGS, images_table, states

from retune.store import DatasetChange, FeatureStore
from retune.store.errors import ConfigurationError


def ingest(
    store: FeatureStore, cells: np.ndarray, order: object = None, **options: object
) -> DatasetChange:
    images = images_table(len(cells))
    if order is not None:
        images, cells = images.take(order), cells[order]
    with store.writer("test") as writer:
        return writer.replace_dataset(
            images, FINDINGS, cells, dataset="d", layout="table", root=Path("/data"),
            split_seed=0, **options,
        )  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def rows(store: FeatureStore, query: str) -> list[tuple[object, ...]]:
    return store.sql(query).fetchall()


def test_ingesting_again_changes_nothing(store: FeatureStore) -> None:
    first = ingest(store, states(10))
    before = rows(store, "FROM labels ORDER BY ALL")
    again = ingest(store, states(10))
    assert (first.label_version, first.labels_changed) == (1, True)
    assert (again.label_version, again.labels_changed) == (1, False)
    assert (again.added, again.removed) == (0, 0)
    assert rows(store, "FROM labels ORDER BY ALL") == before
    assert rows(store, "FROM old_labels") == []


def test_the_order_of_rows_makes_no_version(store: FeatureStore) -> None:
    ingest(store, states(10))
    assert not ingest(store, states(10), order=np.arange(10)[::-1]).labels_changed


def test_changed_labels_leave_the_old_ones_queryable(store: FeatureStore) -> None:
    ingest(store, states(10))
    before = rows(store, "SELECT image_id, finding, state FROM labels ORDER BY ALL")
    changed = states(10)
    changed[0, 0] = 1 if changed[0, 0] != 1 else 0
    assert ingest(store, changed).label_version == 2
    old = (
        "SELECT image_id, finding, state FROM old_labels WHERE version = 1 ORDER BY ALL"
    )
    assert rows(store, old) == before
    now = rows(store, "SELECT image_id, finding, state FROM labels ORDER BY ALL")
    assert sum(a != b for a, b in zip(before, now, strict=True)) == 1
    assert rows(
        store, "SELECT version, n_images FROM label_versions ORDER BY version"
    ) == [(1, 10), (2, 10)]
    assert ingest(store, states(10)).label_version == 3  # back again is a version too


def test_fewer_images_are_another_version(store: FeatureStore) -> None:
    ingest(store, states(10))
    change = ingest(store, states(10)[:7])
    assert (change.label_version, change.removed) == (2, 3)
    assert rows(store, "SELECT count(DISTINCT image_id) FROM old_labels") == [(10,)]
    assert rows(store, "SELECT count(DISTINCT image_id) FROM labels") == [(7,)]


def test_a_store_from_before_versions_takes_part(tmp_path: Path) -> None:
    shutil.copytree(Path(__file__).parents[1] / "store-v1", tmp_path / "s")
    store = FeatureStore(tmp_path / "s")
    (name, root), *_ = rows(store, "SELECT dataset, root FROM datasets")
    n_labels = rows(store, "SELECT count(*) FROM labels")
    with store.writer("test") as writer:
        images = images_table(4, str(name))
        change = writer.replace_dataset(
            images, FINDINGS, states(4), dataset=str(name), layout="table",
            root=Path(str(root)), split_seed=0,
        )  # fmt: skip
    assert change.label_version == 2
    assert rows(store, "SELECT count(*) FROM old_labels WHERE version = 1") == n_labels


def test_another_key_is_refused(store: FeatureStore) -> None:
    ingest(store, states(4), key_check="aa")
    ingest(store, states(4), key_check="aa")
    for other, said in (("bb", "without|another key"), (None, "another key")):
        with pytest.raises(ConfigurationError, match=said):
            ingest(store, states(4), key_check=other)


def test_a_key_for_ids_that_are_there_is_refused(store: FeatureStore) -> None:
    ingest(store, states(4))
    with pytest.raises(ConfigurationError, match="made without a key"):
        ingest(store, states(4), key_check="aa")
