"""Leaks are found between datasets, by patient and by picture, and nowhere else."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from retune.pipeline.datasets.leakage import check_leakage, find_leaks, read_populations
from retune.store import FeatureStore, FileState
from retune.store.errors import LeakageError, QueryError


def put(
    store: FeatureStore,
    dataset: str,
    layout: str,
    patients: Sequence[str],
    splits: Sequence[str],
    digests: Sequence[str] = (),
) -> None:
    n_images = len(patients)
    names = [f"{dataset}/{n}.png" for n in range(n_images)]
    empty = pa.nulls(n_images, pa.string())
    images = pa.table(
        {
            "image_id": names, "dataset": [dataset] * n_images, "path": names,
            "patient_id": patients, "study_id": empty, "view": ["PA"] * n_images,
            "sex": empty, "age": pa.nulls(n_images, pa.float32()), "split": splits,
        }
    )  # fmt: skip
    with store.writer("test") as writer:
        writer.replace_dataset(
            images, ["Edema"], np.zeros((n_images, 1), np.int8), dataset=dataset,
            layout=layout, root=Path("/x"), split_seed=0,
        )  # fmt: skip
        writer.note(
            [FileState(n, d, 1, 1) for n, d in zip(names, digests, strict=False)], []
        )


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.create(tmp_path / "store")


def test_pools_of_one_layout_share_patients(store: FeatureStore) -> None:
    put(store, "one", "nih", ["1", "2", "3"], ["train", "train", "test"])
    put(store, "two", "nih", ["1", "2", "3", "3"], ["test", "train", "test", "test"])
    (leak,) = find_leaks(store)
    assert (leak.kind, leak.datasets) == ("patient", ("one", "two"))
    assert (leak.n_shared, leak.n_images, leak.examples) == (1, 2, ("1",))
    with pytest.raises(LeakageError, match="1 patient of one and two, such as 1") as e:
        check_leakage(store)
    assert "`split_seed`" in e.value.hint
    assert "`allow_leakage`" in e.value.hint


def test_a_selection_may_be_free_of_leaks(store: FeatureStore) -> None:
    put(store, "one", "nih", ["1", "2"], ["train", "train"])
    put(store, "two", "nih", ["1"], ["test"])
    check_leakage(store, datasets=["one"])
    check_leakage(store, where="patient_id != '1'")
    with pytest.raises(LeakageError):
        check_leakage(store, datasets=["one", "two"])
    with pytest.raises(QueryError):
        check_leakage(store, where="colour = 1")


def test_chexpert_plus_has_the_patients_of_chexpert(store: FeatureStore) -> None:
    put(store, "a", "chexpert", ["patient00001"], ["train"])
    put(store, "b", "chexpert-plus", ["patient00001"], ["test"])
    assert read_populations(store) == {"a": "chexpert", "b": "chexpert"}
    assert len(find_leaks(store)) == 1


@pytest.mark.parametrize("layouts", [("table", "table"), ("nih", "padchest")])
def test_equal_numbers_of_different_hospitals_are_different_people(
    store: FeatureStore, layouts: tuple[str, str]
) -> None:
    put(store, "a", layouts[0], ["1"], ["train"])
    put(store, "b", layouts[1], ["1"], ["test"])
    assert find_leaks(store) == []


def test_the_same_picture_in_two_splits_is_a_leak(store: FeatureStore) -> None:
    put(store, "a", "nih", ["1", "2"], ["train", "test"], ["x" * 32, "y" * 32])
    put(store, "b", "table", ["9", "8"], ["test", "test"], ["x" * 32, "y" * 32])
    (leak,) = find_leaks(store)
    assert (leak.kind, leak.n_shared, leak.examples) == ("picture", 1, ("a/0.png",))


def test_an_empty_store_has_no_leaks(store: FeatureStore) -> None:
    assert find_leaks(store) == []
