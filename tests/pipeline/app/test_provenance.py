"""What a run was trained on belongs to the run: nobody hands it on or loses it."""

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from image_samples import write_dataset, write_table
from stub_backbone import StubBackbone

from retune.pipeline.app.compare import compare
from retune.pipeline.app.evaluate import EvaluateRequest, evaluate
from retune.pipeline.app.merge import MergeRequest, merge
from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.datasets.contamination import parse_trained_on, read_trained_on
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.learn.runs.learning_set import load_learning_set
from retune.pipeline.learn.runs.record import RunRecord, read_record
from retune.pipeline.learn.runs.reopened import find_state
from retune.pipeline.learn.runs.saving import run_folder
from retune.pipeline.learn.runs.selection import Selection
from retune.store import FeatureStore, find_run
from retune.store.errors import (
    BackboneError,
    ConfigurationError,
    TrainingError,
)

pytestmark = pytest.mark.e2e

_QUICK = TrainRequest("joint", epochs=2, bounds=False)
_SUMS = TrainRequest("joint", method="analytic", bounds=False)


def _ingest(store: FeatureStore, folder: Path) -> None:
    plan = read_dataset(folder, "table", dataset=folder.name)
    with store.writer("test") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset=plan.dataset,
            layout=plan.layout, root=plan.root, split_seed=0, moved=True,
        )  # fmt: skip


def _add(store: FeatureStore, folder: Path, n_images: int, seed: int) -> None:
    write_dataset(folder, n_images, seed=seed)
    _ingest(store, folder)
    embed_with(store, StubBackbone(), EmbedOptions())


@pytest.fixture
def workspace(tmp_path: Path, kept: Path) -> Path:
    """A folder with a store of its own, `store`, and the images of `one`."""
    shutil.copytree(kept, tmp_path / "place")
    return tmp_path / "place"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kept")
    _add(FeatureStore.create(folder / "store"), folder / "one", 120, 0)
    return folder


@pytest.fixture
def store(workspace: Path) -> FeatureStore:
    return FeatureStore(workspace / "store")


def test_a_run_with_its_own_split_is_never_tested_on_what_it_learned(
    store: FeatureStore,
) -> None:
    (made,) = train(store, replace(_QUICK, selection=Selection(split_seed=7)))
    evaluation = evaluate(store, EvaluateRequest("latest"))
    assert evaluation.n_trained == 0
    assert evaluation.n_images == len(made.learning_set.features.rows("test"))
    assert evaluation.evaluation.macro == made.experiment.final.macro
    assert read_record(made.run).provenance.selection.split_seed == 7


def test_a_record_comes_back_as_it_was(store: FeatureStore) -> None:
    request = replace(_SUMS, options={"projection": 3.0}, findings=("Mass", "Edema"))
    (made,) = train(store, request)
    record = read_record(find_run(store, "latest"))
    assert record.config == made.experiment.config
    assert record.provenance == made.learning_set.provenance
    assert RunRecord.from_json(record.to_json()) == record
    assert record.provenance.selection.datasets == ("one",)
    assert record.provenance.label_versions == {"one": 1}


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"experiment": {}, "chosen": {}}', '{"experiment": 1}',
     '{"experiment": {"scenario": "joint", "train": {"x": 1}}, "chosen": {}}'],
)  # fmt: skip
def test_a_damaged_record_is_named(store: FeatureStore, text: str) -> None:
    train(store, _QUICK)
    with store.catalog.write() as connection:
        connection.execute("UPDATE runs SET config = ?", [text])
    with pytest.raises(TrainingError, match="record of run"):
        evaluate(store, EvaluateRequest("latest"))


def test_a_second_dataset_changes_nothing_for_runs_of_the_first(
    workspace: Path, store: FeatureStore
) -> None:
    runs = [train(store, replace(_QUICK, seed=seed))[0].run.run_id for seed in (0, 1)]
    before = compare(store, *runs)
    _add(store, workspace / "two", 80, 5)
    after = compare(store, *runs)
    assert after.n_images == before.n_images
    assert after.macro == before.macro
    others = evaluate(store, EvaluateRequest(runs[0], ("two",), "all"))
    assert (others.n_images, others.n_trained) == (80, 0)
    own = evaluate(store, EvaluateRequest(runs[0]))
    assert own.n_images == before.n_images


def test_images_that_are_gone_are_named_with_the_reason(
    workspace: Path, store: FeatureStore
) -> None:
    runs = [train(store, replace(_QUICK, seed=seed))[0].run.run_id for seed in (0, 1)]
    tested = compare(store, *runs).first.image_id.tolist()
    names = [f"{n:03d}.png" for n in range(120)]
    write_table(workspace / "one", names[:60])
    _ingest(store, workspace / "one")
    gone = [name for name in tested if name.split("/")[-1] in names[60:]]
    assert gone
    with pytest.raises(ConfigurationError) as caught:
        compare(store, *runs)
    told = caught.value.message
    assert f"{len(gone)} of the {len(tested)} images" in told
    assert "no longer in the store" in told
    assert gone[0] in told


def test_changed_labels_are_told(workspace: Path, store: FeatureStore) -> None:
    runs = [train(store, replace(_QUICK, seed=seed))[0].run.run_id for seed in (0, 1)]
    table = workspace / "one" / "labels.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([lines[0], lines[1][:-1] + "1", *lines[2:]]) + "\n")
    _ingest(store, workspace / "one")
    notes = compare(store, *runs).first.notes
    assert [note for note in notes if "labels of one changed" in note]
    assert "version 1 then, 2 now" in notes[0]


def test_what_was_learned_counts_once_in_every_chain(
    workspace: Path, store: FeatureStore
) -> None:
    """A, then B: neither may come again, by going on or by merging."""
    _add(store, workspace / "two", 80, 5)
    of_a, of_b = (replace(_SUMS, selection=Selection((n,))) for n in ("one", "two"))
    (first,) = train(store, of_a)
    (second,) = train(store, of_b)
    chain = replace(of_b, method=None, continued=first.run.run_id)
    (both,) = train(store, chain)
    state = find_state(store, both.run.run_id)
    assert [one.dataset for one in state.contributions] == ["one", "two"]
    again = {
        "A after A and B": replace(of_a, method=None, continued=both.run.run_id),
        "B after A and B": replace(of_b, method=None, continued=both.run.run_id),
    }
    for request in again.values():
        with pytest.raises(TrainingError, match="count twice"):
            train(store, request)
    for sources in ((both, first), (first, both), (both, second), (first, first)):
        names = tuple(one.run.run_id for one in sources)
        with pytest.raises(TrainingError, match="count twice"):
            merge(store, MergeRequest(names))
    merged = merge(store, MergeRequest((first.run.run_id, second.run.run_id)))
    state = find_state(store, merged.run.run_id)
    assert [one.dataset for one in state.contributions] == ["one", "two"]
    with pytest.raises(TrainingError, match=r"one .120 images.* count twice"):
        merge(store, MergeRequest((merged.run.run_id, first.run.run_id)))


def test_images_in_common_are_noticed_where_the_store_made_the_states(
    store: FeatureStore,
) -> None:
    """Another condition over the same dataset has another digest."""
    (first,) = train(store, _SUMS)
    part = replace(_SUMS, selection=Selection(where="image_id < 'one/060'"))
    with pytest.raises(TrainingError, match=r"learned from .* of these"):
        train(store, replace(part, method=None, continued=first.run.run_id))
    (second,) = train(store, part)
    with pytest.raises(TrainingError, match="images in common"):
        merge(store, MergeRequest((first.run.run_id, second.run.run_id)))


def test_evaluation_knows_what_a_merged_run_has_seen(
    workspace: Path, store: FeatureStore
) -> None:
    _add(store, workspace / "two", 80, 5)
    runs = [
        train(store, replace(_SUMS, selection=Selection((name,))))[0].run.run_id
        for name in ("one", "two")
    ]
    merged = merge(store, MergeRequest(tuple(runs), Selection(("one",))))
    evaluation = evaluate(
        store,
        EvaluateRequest(merged.run.run_id, ("two",), "all", allow_leakage=True),
    )
    n_trained = len(find_images(store, "two", "train"))
    assert evaluation.n_trained == n_trained > 0


def find_images(store: FeatureStore, dataset: str, split: str) -> list[str]:
    rows = store.sql(
        "SELECT image_id FROM images WHERE dataset = ? AND split = ?", [dataset, split]
    ).fetchall()
    return [name for (name,) in rows]


def _know(store: FeatureStore, patients: list[str]) -> str:
    """Say that the backbone was trained on patients of `one`."""
    (fingerprint,) = store.sql("SELECT fingerprint FROM encoders").fetchall()[0]
    n = len(patients)
    table = pa.table(
        {
            "kind": ["patient"] * n,
            "population": ["dataset one"] * n,
            "name": patients,
        }
    )
    with store.writer("test") as writer:
        writer.add_trained_on(fingerprint, table)
    return str(fingerprint)


def test_patients_that_the_backbone_knows_do_not_count(store: FeatureStore) -> None:
    plain = load_learning_set(store, Selection())
    tested = plain.features.patient_id[plain.features.rows("test")]
    known = sorted({name.split("/")[-1] for name in tested})[:3]
    fingerprint = _know(store, known)
    assert len(read_trained_on(store, fingerprint).patients) == 3
    (made,) = train(store, _QUICK)
    features = made.learning_set.features
    left = {name.split("/")[-1] for name in features.patient_id[features.rows("test")]}
    assert not left & set(known)
    n_aside = len(tested) - len(features.rows("test"))
    assert made.learning_set.provenance.n_contaminated == n_aside > 0
    assert read_record(made.run).provenance.n_contaminated == n_aside
    evaluation = evaluate(store, EvaluateRequest("latest"))
    assert evaluation.n_images == len(features.rows("test"))
    every = evaluate(store, EvaluateRequest("latest", ("one",), "test"))
    assert (every.n_images, every.n_contaminated) == (evaluation.n_images, n_aside)
    allowed = replace(_QUICK, selection=Selection(allow_contaminated=True))
    (all_of_them,) = train(store, allowed)
    assert len(all_of_them.learning_set.features.rows("test")) == len(tested)
    assert all_of_them.learning_set.provenance.n_contaminated == n_aside


def test_a_list_names_patients_by_id_or_digest_and_images_by_content() -> None:

    hidden = hashlib.sha256(b"8").hexdigest()
    listed = parse_trained_on(
        f"# a remark\n# patients of nih\n7\nsha256:{hidden}\n\n# images\nabc\n", "list"
    )
    known = listed.knows(["nih"] * 4, ["7", "8", "9", "9"], ["", "", "", "abc"])
    assert known.tolist() == [True, True, False, True]
    with pytest.raises(BackboneError, match="list, line 1: '7' stands in no section"):
        parse_trained_on("7\n", "list")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"preset": "reference"}, "`preset` has no effect with method analytic"),
        ({"epochs": 3}, "`epochs` has no effect with method analytic"),
        ({"learning_rate": 0.1}, "`learning_rate` has no effect"),
        ({"adaptor": "mlp"}, "`adaptor` has no effect"),
        ({"precision": "float32"}, "`precision` has no effect"),
        ({"tasks": 3}, "`tasks` has no effect with scenario joint"),
        ({"visible": "cumulative"}, "`visible` has no effect with scenario joint"),
    ],
)
def test_an_option_without_effect_is_an_error(
    store: FeatureStore, changes: dict[str, object], words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        train(store, replace(_SUMS, **changes))  # type: ignore[arg-type]  # by name


def test_a_run_from_before_images_were_listed_is_still_evaluated(
    store: FeatureStore,
) -> None:
    (made,) = train(store, replace(_QUICK, selection=Selection(split_seed=7)))
    old = (
        '{"experiment": {"scenario": "joint", "train": {"epochs": 2}},'
        ' "chosen": {"datasets": null, "where": null, "split_seed": 7,'
        ' "descriptions": "default"}}'
    )
    with store.catalog.write() as connection:
        connection.execute("UPDATE runs SET config = ?", [old])
    for name in ("images.parquet", "manifest.json"):
        (run_folder(store, made.run.run_id) / name).unlink()
    evaluation = evaluate(store, EvaluateRequest("latest"))
    assert evaluation.n_trained == 0
    assert evaluation.evaluation.macro == made.experiment.final.macro


def test_a_run_whose_files_changed_is_refused(store: FeatureStore) -> None:
    """One bit of weights, of a threshold or of the list would give other metrics."""
    (made,) = train(store, replace(_SUMS, predictions=True))
    folder = run_folder(store, made.run.run_id)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "adaptors.json", "adaptors.safetensors", "images.parquet", "manifest.json",
        "state.safetensors",
    ]  # fmt: skip
    for name in names:
        path = folder / name
        whole = path.read_bytes()
        path.write_bytes(whole[:-20] + bytes([whole[-20] ^ 1]) + whole[-19:])
        with pytest.raises(TrainingError, match=str(folder)):
            evaluate(store, EvaluateRequest("latest"))
        path.unlink()
        with pytest.raises(TrainingError, match=str(folder)):
            evaluate(store, EvaluateRequest("latest"))
        path.write_bytes(whole)
    assert evaluate(store, EvaluateRequest("latest")).n_images


def test_known_patients_are_counted_in_status(store: FeatureStore) -> None:
    from retune.pipeline.datasets.contamination import count_contaminated

    assert count_contaminated(store) == []
    hidden = hashlib.sha256(b"1").hexdigest()
    _know(store, ["0", f"sha256:{hidden}", "nobody"])
    (one,) = count_contaminated(store)
    assert (one.backbone, one.dataset, one.images) == ("stub", "one", 4)
    splits = store.sql(
        "SELECT count(*) FROM images WHERE split != 'train' "
        "AND patient_id IN ('0', '1')"
    ).fetchall()
    assert one.held == splits[0][0]
