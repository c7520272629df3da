"""A store as a notebook uses it."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from image_samples import write_dataset, write_tiny_backbone
from store_samples import FINDINGS, filled_store, states, vectors

import retune
from retune.pipeline.app.run import Run
from retune.pipeline.app.session import Store
from retune.store.label_states import ABSENT, POSITIVE, UNCERTAIN


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Ten encoded images of one dataset, all in train."""
    filled_store(tmp_path / "s")
    return retune.open(tmp_path / "s")


def test_a_store_that_is_not_there_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(retune.StoreNotFoundError) as caught:
        retune.open(tmp_path / "none")
    assert "create=True" in caught.value.hint
    assert "--store" not in caught.value.hint
    assert not (tmp_path / "none").exists()


def test_a_store_shows_what_is_in_it(store: Store, tmp_path: Path) -> None:
    for word in ("d (10)", "sample (10 of D=8)", "runs: none"):
        assert word in repr(store)
    assert "<table>" in store._repr_html_()
    empty = retune.open(tmp_path / "empty", create=True)
    assert "datasets: none" in repr(empty)
    assert repr(empty.runs).startswith("no rows")


def test_tables_are_typed_and_small(store: Store) -> None:
    (row,) = store.datasets
    assert (row.dataset, row.images) == ("d", 10)
    assert store.encoders[0].image_vectors == 10
    assert [one.finding for one in store.findings] == [*FINDINGS, "No Finding"]
    assert store.datasets.frame()["images"].tolist() == [10]
    assert "patients" in repr(store.datasets)


def test_a_table_of_many_rows_is_cut_on_the_screen() -> None:
    from retune.pipeline.app.queries.listing import Listing

    many = Listing(range(1000), {"number <b>": lambda row: row})
    assert len(repr(many).splitlines()) == 32
    assert "970 more" in repr(many)
    assert "&lt;b&gt;" in many._repr_html_()
    assert len(many[10:20]) == 10


def test_images_as_a_frame(store: Store) -> None:
    frame = store.frame(split="train", labels=True, vectors=True)
    assert len(frame) == 10
    np.testing.assert_array_equal(
        np.stack(list(frame["embedding"])), vectors(10).astype(np.float16)
    )
    codes = states(10)
    for column, name in enumerate(FINDINGS):
        known = codes[:, column] > -1
        positive = frame[name].to_numpy(dtype=float) == 1
        np.testing.assert_array_equal(positive[known], codes[known, column] == 1)
    assert store.frame(split="test").empty
    assert "embedding" not in store.frame()


def test_a_frame_without_vectors_needs_no_encoder(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset(data, 12)
    store = retune.open(tmp_path / "s", create=True)
    store.ingest(data, layout="table", dataset="ward")
    assert len(store.frame(labels=True)) == 12
    with pytest.raises(retune.ConfigurationError, match="no embeddings"):
        store.frame(vectors=True)


def test_conditions_and_datasets_choose(store: Store) -> None:
    assert store.arrow(where="view = 'PA' -- half").num_rows == 5
    assert store.arrow(datasets="d").num_rows == 10
    with pytest.raises(retune.ConfigurationError, match="no dataset x"):
        store.arrow(datasets=["x"])
    with pytest.raises(retune.QueryError, match="not a condition"):
        store.frame(where="view = ")
    with pytest.raises(retune.ConfigurationError, match="`split`"):
        store.frame(split="tset")


@pytest.mark.parametrize("method", ["frame", "arrow", "arrays", "torch_dataset"])
def test_an_unknown_split_is_refused_everywhere(store: Store, method: str) -> None:
    with pytest.raises(retune.ConfigurationError, match="`split`"):
        getattr(store, method)(split="all")


def test_arrays_have_nan_where_a_label_is_unknown(store: Store) -> None:
    arrays = store.arrays(split="train")
    x, y, images = arrays
    codes = states(10)
    assert (x.shape, x.dtype, y.dtype) == ((10, 8), np.float32, np.float32)
    assert arrays.findings == FINDINGS
    assert len(images) == 10
    np.testing.assert_array_equal(np.isnan(y), codes == UNCERTAIN)
    np.testing.assert_array_equal(y == 1, codes == POSITIVE)
    assert "X (10, 8) float32" in repr(arrays)


def test_arrays_follow_the_label_policies(store: Store) -> None:
    codes = states(10)
    _, ones, _ = store.arrays(uncertain="ones", blank="ignore")
    assert (ones[codes == UNCERTAIN] == 1).all()
    assert np.isnan(ones[codes == ABSENT]).all()
    _, chosen, _ = store.arrays(findings="mass")
    assert chosen.shape == (10, 1)
    with pytest.raises(retune.ConfigurationError, match="uncertain"):
        store.arrays(uncertain="perhaps")


def test_arrays_of_leaking_splits_are_refused(store: Store) -> None:
    store.sql("UPDATE images SET split = 'test' WHERE view = 'PA'", write=True)
    with pytest.raises(retune.LeakageError):
        store.arrays(split="train")
    x, _, _ = store.arrays(split="train", allow_leakage=True)
    assert len(x) == 5


def test_a_torch_dataset_gives_pairs(store: Store) -> None:
    pairs = store.torch_dataset(split="train")
    x, y = pairs[3]
    assert len(pairs) == 10
    assert (x.shape, y.shape, x.dtype) == ((8,), (2,), torch.float32)


def test_polars_is_an_extra_that_is_named(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(retune.ConfigurationError) as caught:
        store.polars()
    assert "retune-cli[polars]" in caught.value.hint

    class DataFrame(SimpleNamespace):
        pass

    fake = SimpleNamespace(
        DataFrame=DataFrame, from_arrow=lambda table: DataFrame(height=table.num_rows)
    )
    monkeypatch.setitem(sys.modules, "polars", fake)
    assert store.polars(split="train").height == 10


def test_data_goes_in_and_a_bar_is_drawn_if_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data"
    write_dataset(data, 12)
    store = retune.open(tmp_path / "s", create=True)
    summary = store.ingest(data, layout="table", dataset="ward")
    assert (summary.dataset, summary.change.n_images) == ("ward", 12)
    assert sum(one.images for one in summary.splits) == 12
    (left,) = store.status().missing
    assert (left.fingerprint, left.dataset, left.images) == (None, "ward", 12)
    backbone = write_tiny_backbone(tmp_path / "tiny")
    assert capsys.readouterr() == ("", "")
    done = store.embed(backbone, device="cpu", progress=True)
    assert done.images_encoded == 12
    assert "12/12" in capsys.readouterr().err
    again = store.embed(backbone, device="cpu")
    assert (again.images_encoded, capsys.readouterr().err) == (0, "")
    assert not store.status().missing
    (encoded,) = store.encoders
    assert encoded.image_vectors == 12


def test_an_image_that_cannot_be_used_is_not_waited_for(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_dataset(data, 12)
    broken = min(data.rglob("*.png"))
    broken.write_bytes(b"no image")
    store = retune.open(tmp_path / "s", create=True)
    store.ingest(data, layout="table", dataset="ward")
    store.embed(write_tiny_backbone(tmp_path / "tiny"), device="cpu")
    (left,) = store.status().missing
    assert (left.images, left.unusable) == (0, 1)


def test_a_run_is_read_from_the_catalog(store: Store) -> None:
    _enter_run(store, "20260101-000000-aaaaaa-0001", value=0.75)
    _enter_run(store, "20260102-000000-bbbbbb-0002", value=0.5)
    newest, oldest = store.runs
    assert newest.run_id.startswith("20260102")
    assert oldest == store.run("20260101")
    assert store.run("latest") == newest
    assert oldest.matrix.loc["1 Edema", "Edema"] == 0.75
    assert list(oldest.matrix.columns) == ["Edema"]
    low = oldest.intervals.loc["1 Edema", ("Edema", "low")]
    assert low == 0.65
    assert oldest.summary.loc["final_auroc", "value"] == 0.75
    assert oldest.config["provenance"]["selection"]["where"] is None
    by_sex = oldest.metrics(by="sex")
    assert by_sex["group"].tolist() == ["F"]
    assert set(oldest.metrics()["task"]) == {0, 1}
    assert len(repr(oldest).splitlines()) < 40
    assert oldest.run_id in repr(store.runs)
    assert oldest.plot().axes
    assert len({newest, oldest, store.run("20260101")}) == 2


def test_runs_are_named_tagged_and_deleted(store: Store) -> None:
    run_id = "20260101-000000-aaaaaa-0001"
    _enter_run(store, run_id, value=0.75)
    folder = store.path / "runs" / run_id
    folder.mkdir(parents=True)
    run = store.run("latest")
    run.rename("baseline")
    run.tag("paper", "final")
    run.untag("final")
    assert (run.name, run.tags) == ("baseline", ("paper",))
    assert store.run("baseline") == run
    assert "baseline" in repr(store)
    run.delete()
    assert not store.runs
    assert not folder.exists()
    for table in ("metrics", "run_names", "run_tags"):
        assert store.sql(f"SELECT count(*) FROM {table}").fetchall() == [(0,)]


@pytest.mark.parametrize("name", ["", "latest", "2026", " x", "a/b", "-x", "a,b", "\n"])
def test_a_name_that_could_be_mistaken_is_refused(store: Store, name: str) -> None:
    _enter_run(store, "20260101-000000-aaaaaa-0001", value=0.75)
    with pytest.raises(retune.ConfigurationError):
        store.run("latest").rename(name)
    assert store.run("latest").name is None


def test_two_runs_cannot_have_one_name(store: Store) -> None:
    for seed in (1, 2):
        _enter_run(store, f"2026010{seed}-000000-aaaaaa-000{seed}", value=0.5)
    store.run("20260101").rename("baseline")
    store.run("20260101").rename("baseline")
    with pytest.raises(retune.ConfigurationError, match="called 'baseline' already"):
        store.run("latest").rename("baseline")
    store.run("baseline").rename(None)
    store.run("latest").rename("baseline")
    assert store.run("baseline") == store.run("latest")


def test_a_run_id_that_is_a_path_deletes_no_folder(store: Store) -> None:
    kept = store.path / "features"
    _enter_run(store, "../features", value=0.5)
    store.run("latest").delete()
    assert kept.is_dir()
    assert not store.runs


def test_a_store_of_before_has_no_names_and_gets_them(store: Store) -> None:
    for table in ("run_names", "run_tags"):
        store.sql(f"DROP TABLE {table}", write=True)
    _enter_run(store, "20260101-000000-aaaaaa-0001", value=0.75)
    run = store.run("latest")
    assert (run.name, run.tags) == (None, ())
    run.rename("old")
    run.tag("kept")
    assert (store.run("old").name, run.tags) == ("old", ("kept",))


def _enter_run(store: Store, run_id: str, value: float) -> None:
    from datetime import datetime

    from retune.store import MetricValue, record_run
    from retune.store import Run as Row

    config = json.dumps(
        {
            "experiment": {
                "scenario": "label",
                "train": {},
                "preset": "default",
            },
            "chosen": {"where": None},
        }
    )
    (encoder,) = store.encoders
    day = datetime(2026, 1, len(store.runs) + 1)
    row = Row(
        run_id,
        encoder.fingerprint,
        "label",
        "finetune",
        0,
        config,
        day,
        1.0,
        "finished",
    )
    ends = value, value - 0.1, value + 0.1
    record_run(
        store.feature_store,
        row,
        [
            MetricValue(0, "test", "Edema", "auroc", 0.5),
            MetricValue(1, "test", "Edema", "auroc", *ends),
            MetricValue(1, "test", "Edema", "task_introduced", 1.0),
            MetricValue(1, "test", None, "final_auroc", *ends),
            MetricValue(1, "test/sex=F", "Edema", "auroc", *ends),
        ],
    )
    assert isinstance(store.run(run_id), Run)
