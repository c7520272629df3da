"""Whoever is erased is in no byte of a store and in no weight of a run."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from erasure_samples import DIM, bytes_of, image_rows, learnable_store, patient_name

from retune.pipeline.app.compare import compare
from retune.pipeline.app.erasing.contribution import write_patient_state
from retune.pipeline.app.erasing.forget import (
    ForgetRequest,
    forget,
    verify_erased,
)
from retune.pipeline.app.evaluate import EvaluateRequest, evaluate
from retune.pipeline.app.merge import MergeRequest, merge
from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.learn.erasing.marks import FIGURES, TRAINED
from retune.pipeline.learn.runs.image_list import read_image_list
from retune.pipeline.learn.runs.saved_model import load_model
from retune.pipeline.learn.runs.saving import run_folder, save_run
from retune.pipeline.learn.runs.selection import Selection
from retune.pipeline.learn.runs.state import load_state
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, ErasedDataError, TrainingError
from retune.store.runs import read_run_marks

pytestmark = pytest.mark.e2e

_SUMS = TrainRequest("joint", method="analytic", bounds=False, predictions=True)
_QUICK = TrainRequest("joint", epochs=2, bounds=False)
#: Numbers of patients in training, validation and test.
_TRAINED, _VALIDATED, _TESTED = 10, 13, 14


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("kept") / "store"
    learnable_store(root)
    return root


@pytest.fixture
def store(tmp_path: Path, kept: Path) -> FeatureStore:
    shutil.copytree(kept, tmp_path / "store")
    return FeatureStore(tmp_path / "store")


def _forget(store: FeatureStore, *numbers: int, **changes: object) -> object:
    request = ForgetRequest([patient_name(number) for number in numbers])
    return forget(store, replace(request, **changes))  # type: ignore[arg-type]


def _weights(store: FeatureStore, run_id: str) -> dict[str, torch.Tensor]:
    return load_model(run_folder(store, run_id)).model.state_dict()


def _same_weights(one: FeatureStore, run: str, other: FeatureStore, run_: str) -> None:
    mine, theirs = _weights(one, run), _weights(other, run_)
    for name in ("weight", "intercept", "slope", "offset"):
        scale = float(theirs[name].abs().max()) + 1e-30
        assert float((mine[name] - theirs[name]).abs().max()) / scale < 1e-9, name


def _other_forms(number: int, image_ids: list[str]) -> list[bytes]:
    """All by which the files of a store could tell of a patient, as bytes."""
    from retune.store import content_digest

    digests = [content_digest(name.encode()) for name in image_ids]
    return [one.encode() for one in [patient_name(number), *image_ids, *digests]]


def _images_of(store: FeatureStore, number: int) -> list[str]:
    rows = store.sql(
        "SELECT image_id FROM images WHERE patient_id = ?", [patient_name(number)]
    ).fetchall()
    return [name for (name,) in rows]


def _vectors_of(store: FeatureStore, number: int) -> list[bytes]:
    rows = store.sql(
        "SELECT embedding FROM image_features WHERE patient_id = ?",
        [patient_name(number)],
    ).fetchall()
    return [np.array(row, dtype="<f2").tobytes() for (row,) in rows]


def test_no_byte_of_any_file_tells_of_somebody_erased(store: FeatureStore) -> None:
    train(store, _SUMS)
    train(store, replace(_QUICK, method="replay"))
    needles = _other_forms(2, _images_of(store, 2)) + _vectors_of(store, 2)
    before = bytes_of(store.path)
    assert all(any(one in content for content in before.values()) for one in needles)
    _forget(store, 2)
    for name, content in bytes_of(store.path).items():
        leaks = [one for one in needles if one in content or one in name.encode()]
        assert not leaks, (name, leaks)
    assert not store.verify()


def test_values_that_files_compress_do_not_tell_either(store: FeatureStore) -> None:
    train(store, _SUMS)
    _forget(store, 2)
    tables = store.sql("SELECT table_name FROM duckdb_tables()").fetchall()
    for (table,) in tables:
        assert patient_name(2) not in str(store.sql(f"FROM {table}").fetchall()), table
    listed = read_image_list(next((store.path / "runs").iterdir()))
    assert patient_name(2) not in listed.patient_id.tolist()
    assert len(listed.image_id) == 118


@pytest.mark.parametrize("scenario", ["joint", "label", "data"])
@pytest.mark.parametrize("number", [_TRAINED, _VALIDATED, _TESTED])
def test_exact_weights_equal_training_without_him(
    store: FeatureStore, tmp_path: Path, scenario: str, number: int
) -> None:
    request = replace(_SUMS, scenario=scenario)
    (made,) = train(store, request)
    _forget(store, number)
    fresh = learnable_store(tmp_path / "fresh", without=frozenset({number}))
    (anew,) = train(fresh, request)
    _same_weights(store, made.run.run_id, fresh, anew.run.run_id)
    figures = """SELECT task, split, finding, metric, value, ci_low, ci_high
        FROM metrics ORDER BY ALL"""
    assert store.sql(figures).fetchall() == fresh.sql(figures).fetchall()
    scores = "SELECT image_id, finding, score FROM predictions ORDER BY ALL"
    assert store.sql(scores).fetchall() == fresh.sql(scores).fetchall()
    assert not store.verify()


def _two_wards(store: FeatureStore) -> tuple[TrainRequest, TrainRequest]:
    halves = ("age < 30", "age >= 30")
    one, two = (replace(_SUMS, selection=Selection(where=half)) for half in halves)
    return one, two


def test_a_merged_run_loses_him_by_subtraction(
    store: FeatureStore, tmp_path: Path
) -> None:
    def merged(workspace: FeatureStore) -> str:
        runs = [train(workspace, one)[0].run.run_id for one in _two_wards(workspace)]
        return merge(workspace, MergeRequest(tuple(runs), bounds=False)).run.run_id

    run_id = merged(store)
    summary = _forget(store, _TRAINED)
    assert "subtracted" in summary.runs[run_id]  # type: ignore[attr-defined]
    fresh = learnable_store(tmp_path / "fresh", without=frozenset({_TRAINED}))
    _same_weights(store, run_id, fresh, merged(fresh))
    assert not store.verify()


def test_a_continued_run_loses_him(store: FeatureStore, tmp_path: Path) -> None:
    def continued(workspace: FeatureStore) -> str:
        one, two = _two_wards(workspace)
        first = train(workspace, one)[0].run.run_id
        going_on = TrainRequest("joint", two.selection, continued=first, bounds=False)
        return train(workspace, going_on)[0].run.run_id

    run_id = continued(store)
    _forget(store, _TRAINED)
    fresh = learnable_store(tmp_path / "fresh", without=frozenset({_TRAINED}))
    _same_weights(store, run_id, fresh, continued(fresh))
    assert not store.verify()


def test_gradients_that_saw_him_are_marked_and_refused(store: FeatureStore) -> None:
    (made,) = train(store, _QUICK)
    run_id = made.run.run_id
    _forget(store, _TRAINED)
    assert read_run_marks(store) == {run_id: (TRAINED,)}
    with pytest.raises(ErasedDataError, match="trained on erased data"):
        evaluate(store, EvaluateRequest(run_id))
    assert evaluate(store, EvaluateRequest(run_id, allow_erased=True)).n_images == 24
    with pytest.raises(ErasedDataError):
        train(store, TrainRequest("joint", continued=run_id))
    forget(store, ForgetRequest(retrain=True))
    assert read_run_marks(store) == {}
    assert evaluate(store, EvaluateRequest(run_id)).n_images == 24
    assert not store.verify()


def test_retrained_gradients_equal_training_without_him(
    store: FeatureStore, tmp_path: Path
) -> None:
    (made,) = train(store, _QUICK)
    _forget(store, _TRAINED, retrain=True)
    fresh = learnable_store(tmp_path / "fresh", without=frozenset({_TRAINED}))
    (anew,) = train(fresh, _QUICK)
    mine, theirs = (
        _weights(one_store, run.run.run_id)
        for one_store, run in ((store, made), (fresh, anew))
    )
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)


def test_gradients_that_were_tested_on_him_keep_their_weights(
    store: FeatureStore,
) -> None:
    (made,) = train(store, replace(_QUICK, predictions=True))
    before = _weights(store, made.run.run_id)
    _forget(store, _TESTED)
    assert read_run_marks(store) == {made.run.run_id: (FIGURES,)}
    after = _weights(store, made.run.run_id)
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert evaluate(store, EvaluateRequest("latest")).n_images == 22


def test_rehearsal_forgets_his_embeddings(store: FeatureStore) -> None:
    (made,) = train(store, replace(_QUICK, method="replay"))
    folder = run_folder(store, made.run.run_id)
    before = load_state(folder / "state.safetensors").tensors["hook.x"]
    _forget(store, _TRAINED)
    after = load_state(folder / "state.safetensors").tensors["hook.x"]
    assert (len(before), before.shape[1]) == (len(after) + 2, DIM)


def test_a_receipt_is_verified_and_changing_it_is_noticed(store: FeatureStore) -> None:
    train(store, _SUMS)
    summary = _forget(store, 2, 3, requested_by="data protection officer")
    path = summary.receipt  # type: ignore[attr-defined]
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"patient-0000[23]", text)
    receipt, report = verify_erased(store, path)
    assert not report
    assert report.n_bytes > 10_000
    assert (receipt.requested_by, len(receipt.patients)) == (
        "data protection officer",
        2,
    )
    changed = json.loads(text) | {"requested_by": "somebody else"}
    (store.path.parent / "changed.json").write_text(json.dumps(changed))
    _, report = verify_erased(store, store.path.parent / "changed.json")
    assert "was changed" in report.problems[0]


@pytest.mark.parametrize("what", ["id", "vector", "table", "copy"])
def test_whatever_comes_back_is_found(store: FeatureStore, what: str) -> None:
    vector = _vectors_of(store, 2)[0]
    (image, *_) = _images_of(store, 2)
    summary = _forget(store, 2)
    path = summary.receipt  # type: ignore[attr-defined]
    if what == "id":
        (store.path / "note.txt").write_text(f"call {patient_name(2)} back")
    elif what == "vector":
        (store.path / "dump.bin").write_bytes(b"odd" + vector)
    elif what == "table":
        store.sql(f"CREATE TABLE notes AS SELECT '{image}' AS x", write=True)
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        names = pa.table({"x": [f"{image}", "else"] * 500})
        pq.write_table(names, store.path / "copies" / "x.parquet", compression="zstd")
    _, report = verify_erased(store, path)
    assert report.matches


def test_a_namesake_elsewhere_is_not_taken_for_him(store: FeatureStore) -> None:
    """A backbone's own patients may have the same id; they are other people."""
    store.sql(
        "INSERT INTO trained_on SELECT fingerprint, 'patient', 'elsewhere', "
        f"'{patient_name(2)}' FROM encoders",
        write=True,
    )
    receipt, report = verify_erased(store, _forget(store, 2).receipt)  # type: ignore[attr-defined]
    assert not report
    assert "some erased ids (1) also belong to patients elsewhere" in receipt.notes[0]
    assert store.sql("SELECT count(*) FROM trained_on").fetchall() == [(1,)]


def test_the_rates_of_encoders_name_nobody_and_stay(store: FeatureStore) -> None:
    store.sql(
        "INSERT INTO encodings SELECT fingerprint, 9, 3.0, 'cpu', added_at "
        "FROM encoders",
        write=True,
    )
    assert not verify_erased(store, _forget(store, 2).receipt)[1]  # type: ignore[attr-defined]
    assert store.sql("SELECT images, seconds FROM encodings").fetchall() == [(9, 3.0)]


def test_receipts_form_a_chain(store: FeatureStore) -> None:
    paths = [_forget(store, number).receipt for number in (2, 3)]  # type: ignore[attr-defined]
    store.sql(
        "DELETE FROM erasures WHERE previous = ''", write=True
    )  # somebody hides the first erasure
    _, report = verify_erased(store, paths[1])
    assert report.problems == ["the catalog's chain of erasures was changed"]


def test_patients_are_named_by_file_or_condition(
    store: FeatureStore, tmp_path: Path
) -> None:
    listed = tmp_path / "withdrawn.txt"
    listed.write_text(f"{patient_name(1)}\n\n{patient_name(2)}\n")
    assert forget(store, ForgetRequest([str(listed)])).n_patients == 2
    assert forget(store, ForgetRequest(where="age = 7")).n_images == 2
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(114,)]


def test_nobody_is_erased_by_a_wrong_id_or_a_dry_run(store: FeatureStore) -> None:
    before = bytes_of(store.path)
    before.pop("writer.lock")
    for request in (ForgetRequest(["nobody"]), ForgetRequest(), ForgetRequest([""])):
        with pytest.raises(ConfigurationError):
            forget(store, request)
    dry = forget(store, ForgetRequest([patient_name(2)], dry_run=True))
    assert (dry.n_images, dry.n_vectors, dry.receipt) == (2, 2, None)
    after = bytes_of(store.path)
    after.pop("writer.lock")
    assert after == before


def test_erasing_twice_is_no_error(store: FeatureStore) -> None:
    _forget(store, 2)
    again = _forget(store, 2)
    assert (again.n_patients, again.n_erased_before) == (0, 1)  # type: ignore[attr-defined]


def test_a_patient_who_left_the_table_is_still_erased(store: FeatureStore) -> None:
    train(store, _SUMS)
    images = _images_of(store, 2)
    needles = _other_forms(2, images) + _vectors_of(store, 2)
    rows = image_rows(np.repeat([n for n in range(60) if n != 2], 2))
    with store.writer("test") as writer:
        writer.replace_dataset(
            rows, ("Edema", "Mass"), np.zeros((len(rows), 2), np.int8),
            dataset="ward", layout="table", root=store.path.parent, split_seed=0,
            moved=True,
        )  # fmt: skip
    assert forget(store, ForgetRequest([patient_name(2)], orphans=True)).n_images
    for name, content in bytes_of(store.path).items():
        assert not [one for one in needles if one in content], name


def test_whatever_else_keeps_images_is_told(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[tuple[Path, tuple[str, ...]]] = []

    def remove(path: Path, image_ids: object) -> int:
        told.append((path, tuple(image_ids)))  # type: ignore[arg-type]
        return 0

    monkeypatch.setattr("retune.pipeline.app.erasing.forget.IMAGE_HOOKS", [remove])
    images = _images_of(store, 2)
    _forget(store, 2)
    assert told == [(store.path, tuple(sorted(images)))]


def test_small_pictures_notes_and_relabelled_cells_go_too(store: FeatureStore) -> None:
    import sqlite3

    from retune.store.relabelling import add_note, relabel

    images = sorted(_images_of(store, 2))
    stays = min(_images_of(store, 1))
    cache = store.path / "cache"
    cache.mkdir()
    with sqlite3.connect(cache / "thumbnails.sqlite") as connection:
        connection.execute(
            "CREATE TABLE thumbnails (image_id TEXT PRIMARY KEY, signature TEXT, "
            "jpeg BLOB)"
        )
        for name in (*images, stays):
            connection.execute(
                "INSERT INTO thumbnails VALUES (?, ?, ?)", [name, "1", b"x" * 900]
            )
    connection.close()
    for name in (images[0], stays):
        add_note(store, name, "seen", "Florence")
        relabel(store, name, "Edema", "uncertain", "Florence")
    _forget(store, 2)
    assert images[0].encode() not in (cache / "thumbnails.sqlite").read_bytes()
    assert stays.encode() in (cache / "thumbnails.sqlite").read_bytes()
    for table in ("image_notes", "label_edits"):
        rows = store.sql(f"SELECT image_id FROM {table}").fetchall()
        assert rows == [(stays,)], table


def test_the_labels_of_those_who_stay_are_no_new_version(store: FeatureStore) -> None:
    rows = store.sql("SELECT * FROM labels ORDER BY ALL").fetchall()
    _forget(store, 2)
    left = store.sql("SELECT * FROM labels ORDER BY ALL").fetchall()
    assert left == [row for row in rows if patient_name(2) not in row[0]]
    images = store.sql("FROM images ORDER BY image_id").to_arrow_table()
    states = {(image, finding): state for image, finding, state in left}
    codes = {"positive": 1, "negative": 0}
    table = np.array(
        [
            [codes[states[image, finding]] for finding in ("Edema", "Mass")]
            for image in images["image_id"].to_pylist()
        ],
        dtype=np.int8,
    )
    kept = images.drop_columns(["content_digest", "size_bytes", "mtime_ns"])
    with store.writer("test") as writer:
        change = writer.replace_dataset(
            kept, ("Edema", "Mass"), table, dataset="ward", layout="table",
            root=store.path.parent, split_seed=0, moved=True,
        )  # fmt: skip
    assert not change.labels_changed


def test_a_state_that_left_is_corrected_by_what_its_owner_sends(
    store: FeatureStore, tmp_path: Path
) -> None:
    (made,) = train(store, _SUMS)
    away = tmp_path / "state.safetensors"
    shutil.copy(run_folder(store, made.run.run_id) / "state.safetensors", away)
    elsewhere = learnable_store(tmp_path / "elsewhere", 20)
    part = tmp_path / "part.safetensors"
    write_patient_state(store, made.run.run_id, [patient_name(_TRAINED)], part)
    _forget(store, _TRAINED)
    with pytest.raises(ErasedDataError, match="still counts"):
        train(store, TrainRequest("joint", continued=str(away)))
    request = MergeRequest((str(away),), bounds=False, subtract=(str(part),))
    merged = merge(elsewhere, request)
    mine = _weights(elsewhere, merged.run.run_id)
    theirs = _weights(store, made.run.run_id)
    assert torch.allclose(mine["weight"], theirs["weight"], rtol=0, atol=1e-9)
    twice = run_folder(elsewhere, merged.run.run_id) / "state.safetensors"
    with pytest.raises(TrainingError, match="no part of this state"):
        merge(elsewhere, replace(request, sources=(str(twice),)))
    with pytest.raises(TrainingError, match="cannot be merged"):
        merge(elsewhere, MergeRequest((str(away), str(part))))


def test_a_run_that_was_being_made_meanwhile_is_refused(store: FeatureStore) -> None:
    (made,) = train(store, _SUMS)
    _forget(store, 2)
    with pytest.raises(ErasedDataError, match="1 patient was erased while"):
        save_run(
            store,
            made.learning_set,  # as it was read before
            made.experiment,
            started_at=made.run.started_at,
            seconds=1.0,
        )
    assert len([*(store.path / "runs").iterdir()]) == 1


def test_runs_of_which_some_images_are_gone_are_compared_again(
    store: FeatureStore,
) -> None:
    runs = [train(store, replace(_SUMS, seed=seed))[0].run.run_id for seed in (0, 1)]
    _forget(store, _TESTED)
    assert compare(store, *runs)
