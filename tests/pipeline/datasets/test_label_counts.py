"""Counts per dataset and state, and `No Finding`, against a slow count."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.pipeline.datasets.label_counts import LabelCount, count_labels
from retune.store import FeatureStore
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN

FINDINGS = ("Edema", "Mass", "Support Devices")
STATES = [POSITIVE, NEGATIVE, UNCERTAIN, ABSENT]


def put(store: FeatureStore, dataset: str, states: np.ndarray) -> None:
    n_images = len(states)
    names = [f"{dataset}/{n}.png" for n in range(n_images)]
    empty = pa.nulls(n_images, pa.string())
    images = pa.table(
        {
            "image_id": names, "dataset": [dataset] * n_images, "path": names,
            "patient_id": names, "study_id": empty, "view": empty, "sex": empty,
            "age": pa.nulls(n_images, pa.float32()), "split": ["train"] * n_images,
        }
    )  # fmt: skip
    with store.writer("test") as writer:
        writer.replace_dataset(
            images, FINDINGS, states, dataset=dataset, layout="table",
            root=Path("/x"), split_seed=0,
        )  # fmt: skip


def slow_counts(dataset: str, states: np.ndarray) -> list[LabelCount]:
    columns = {name: list(states[:, k]) for k, name in enumerate(FINDINGS)}
    columns["No Finding"] = []
    for edema, mass, _ in states.tolist():
        if POSITIVE in (edema, mass):
            columns["No Finding"].append(NEGATIVE)
        elif UNCERTAIN in (edema, mass):
            columns["No Finding"].append(UNCERTAIN)
        elif NEGATIVE in (edema, mass):
            columns["No Finding"].append(POSITIVE)
        else:
            columns["No Finding"].append(ABSENT)
    return [
        LabelCount(name, dataset, *(values.count(state) for state in STATES))
        for name, values in columns.items()
    ]


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=10,
)
@given(st.lists(st.tuples(*[st.sampled_from(STATES)] * 3), min_size=1, max_size=20))
def test_counts_are_those_of_a_slow_count(tmp_path_factory, rows) -> None:
    store = FeatureStore.create(tmp_path_factory.mktemp("s") / "store")
    states = np.array(rows, dtype=np.int8)
    put(store, "a", states)
    put(store, "b", states[:1])
    assert count_labels(store, ["a"]) == slow_counts("a", states)
    both = count_labels(store)
    assert [one for one in both if one.dataset == "b"] == slow_counts("b", states[:1])
    assert len(both) == 8


def test_a_store_without_labels_has_no_counts(tmp_path: Path) -> None:
    assert count_labels(FeatureStore.create(tmp_path / "s")) == []
