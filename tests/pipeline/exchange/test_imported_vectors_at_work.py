"""What needs no encoder works on imported vectors; the rest says what is missing."""

import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from command_line import run_command
from exchange_samples import IDS, N, make_store, vectors_of, write
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image
from safetensors.torch import load_file

import retune
from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.pipeline.app.merge import MergeRequest, merge
from retune.store.errors import (
    BackboneError,
    ConfigurationError,
    FingerprintMismatchError,
    TrainingError,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Vectors of 128 numbers, as mini gives them, that show one of the findings."""
    folder = tmp_path_factory.mktemp("made")
    store = make_store(folder)
    vectors = vectors_of(dim=128)
    vectors[:, 0] = 40.0 * store.frame(labels=True)["Edema"].to_numpy() - 20.0
    given = write(folder / "in", "npz", vectors)
    import_vectors(
        store.feature_store,
        ImportRequest(tuple(given["files"]), "theirs", given["ids"]),
    )
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> retune.Store:
    shutil.copytree(made / "store", tmp_path / "store")
    return retune.open(tmp_path / "store")


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)


def test_sql_sees_them(store: retune.Store) -> None:
    rows = store.sql(
        """SELECT count(*), avg(list_cosine_similarity(embedding, embedding))
        FROM image_features WHERE split = 'test'"""
    ).fetchall()
    n_test = len(store.frame(where="split = 'test'"))
    assert rows == [(n_test, pytest.approx(1.0))]


def test_search_by_image_needs_no_backbone(store: retune.Store) -> None:
    result = store.similar(f"table/{IDS[0]}", k=3)
    vectors = np.stack(store.frame(vectors=True)["embedding"].to_list())
    ids = store.frame()["image_id"].tolist()
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    own = ids.index(f"table/{IDS[0]}")
    order = [ids[at] for at in np.argsort(-(unit @ unit[own])) if at != own]
    assert [hit.image_id for hit in result] == order[:3]
    assert result.n_compared >= N - 1


def test_train_and_evaluate(store: retune.Store) -> None:
    run = store.train("joint", bounds=False)
    assert run.method == "analytic"
    figures = store.sql(
        """SELECT max(value) FROM metrics WHERE run_id = ? AND metric = 'auroc'
        AND finding = 'Edema'""",
        [run.run_id],
    ).fetchall()
    assert figures[0][0] > 0.9


def test_curve(store: retune.Store) -> None:
    measured = store.curve(["4", "all"], methods=["analytic"], seeds=2, min_positives=1)
    assert set(measured.frame()["method"]) == {"analytic"}
    usual = store.curve(["all"], seeds=1, min_positives=1).frame()
    assert set(usual["method"]) == {"analytic", "logistic-regression"}
    with pytest.raises(TrainingError, match="method finetune needs vectors of texts"):
        store.curve(["all"], methods=["finetune"], seeds=1, min_positives=1)


def test_merge_equals_training_on_both(store: retune.Store) -> None:
    half = "patient_id < 'p15'"
    parts = [
        store.train("joint", where=one, bounds=False, method="analytic")
        for one in (half, f"NOT {half}")
    ]
    request = MergeRequest(tuple(run.run_id for run in parts), bounds=False)
    merged = merge(store.feature_store, request)
    whole = store.train("joint", bounds=False, method="analytic")
    query = """SELECT value FROM metrics WHERE run_id = ? AND metric = 'final_auroc'
        AND finding IS NULL"""
    figures = [
        store.sql(query, [run_id]).fetchall()[0][0]
        for run_id in (merged.run.run_id, whole.run_id)
    ]
    assert figures[0] == pytest.approx(figures[1])


def test_drift(store: retune.Store) -> None:
    summary = store.drift("split", "split = 'train'")
    assert {row.family for row in summary.rows} >= {"embedding", "labels"}


def test_forget(store: retune.Store) -> None:
    run = store.train("joint", bounds=False)
    done = store.forget(["p00"])
    assert done.n_images == 2
    left = store.sql("SELECT count(*) FROM image_features").fetchall()
    assert left == [(N - 2,)]
    assert run.run_id  # it was unlearned or tagged, as of vectors of `embed`
    assert not store.feature_store.verify()


def test_a_sentence_says_which_backbone_is_missing(store: retune.Store) -> None:
    with pytest.raises(
        ConfigurationError,
        match=r"vectors of 'theirs' \(ext-\w+|vectors of 'theirs' \(\w+",
    ) as caught:
        store.search("an enlarged heart")
    assert "`encode_with`" in caught.value.hint
    assert len(store.search("an enlarged heart", k=2, encode_with="mini")) == 2
    with pytest.raises(FingerprintMismatchError, match="gives 1,280 numbers"):
        store.search("a heart", encode_with="timm:tf_efficientnet_lite0")


def test_a_new_picture_says_which_backbone_is_missing(
    store: retune.Store, picture: np.ndarray
) -> None:
    run = store.train("joint", bounds=False)
    with pytest.raises(ConfigurationError, match="backbone that makes them is not"):
        store.predict(run, [picture])
    assert len(store.predict(run, [picture], encode_with="mini"))
    with pytest.raises(ConfigurationError, match="backbone that makes them is not"):
        store.search(Image.fromarray(picture))
    assert len(store.search(Image.fromarray(picture), k=1, encode_with="mini")) == 1


def test_the_command_line_spells_the_option(store: retune.Store) -> None:
    asked = ("search", "a heart", "--store", store.path)
    done = run_command(*asked)
    assert done.returncode != 0
    assert "vectors of 'theirs'" in done.stderr
    assert "--encode-with" in done.stderr
    done = run_command(*asked, "--encode-with", "mini", "-k", "1")
    assert done.returncode == 0, done.stderr


def pickled(folder: Path) -> str:
    """A backbone whose weights are a pickle."""
    name = write_tiny_backbone(folder)
    weights = folder / "open_clip_model.safetensors"
    torch.save(load_file(weights), folder / "open_clip_pytorch_model.bin")
    weights.unlink()
    return name


def test_a_pickled_stand_in_is_refused(tmp_path: Path, picture: np.ndarray) -> None:
    store = make_store(tmp_path)
    given = write(tmp_path / "in", "npz", vectors_of(dim=16))
    request = ImportRequest(tuple(given["files"]), "theirs", given["ids"])
    import_vectors(store.feature_store, request)
    run = store.train("joint", bounds=False)
    name = pickled(tmp_path / "tiny")
    for ask in (
        lambda **more: store.predict(run, [picture], encode_with=name, **more),
        lambda **more: store.search("a heart", k=1, encode_with=name, **more),
    ):
        with pytest.raises(BackboneError, match="is a pickled file") as caught:
            ask()
        assert "save_file" in caught.value.hint
        assert "`allow_pickle`" in caught.value.hint
        assert len(ask(allow_pickle=True))


def test_a_pickled_backbone_is_refused_when_it_is_opened_again(
    tmp_path: Path, picture: np.ndarray
) -> None:
    write_dataset(tmp_path / "data", 40)
    name = pickled(tmp_path / "tiny")
    store = retune.open(tmp_path / "store", create=True)
    store.ingest(tmp_path / "data")
    with pytest.raises(BackboneError, match="is a pickled file"):
        store.embed(name, descriptions=())
    store.embed(name, descriptions=(), allow_pickle=True)
    ask = ("search", "a heart", "--store", store.path, "-k", "1")
    refused = run_command(*ask)
    assert "is a pickled file" in refused.stderr
    assert "--allow-pickle" in refused.stderr
    assert run_command(*ask, "--allow-pickle").returncode == 0
    # Converted as the message says, it needs no permission.
    folder = tmp_path / "tiny"
    hint = retune_hint(store)
    line = hint.partition("python -c ")[2].partition('"; or')[0].strip('"')
    before = Path.cwd()
    os.chdir(folder)
    try:
        exec(line)
    finally:
        os.chdir(before)
    assert run_command(*ask).returncode == 0


def retune_hint(store: retune.Store) -> str:
    with pytest.raises(BackboneError) as caught:
        retune.open(store.path).search("a heart")
    return caught.value.hint


def test_a_matrix_and_a_table_become_a_store_in_three_commands(tmp_path: Path) -> None:
    """As docs/vectors.md has it: 1,000 rows of .npy and .csv, no image file."""
    random = np.random.default_rng(0)
    vectors = random.normal(size=(1000, 256)).astype(np.float32)
    table = pd.DataFrame(
        {
            "image": [f"{i:04d}.png" for i in range(1000)],
            "patient": [f"p{i // 2}" for i in range(1000)],
            "Edema": (vectors[:, 0] > 0.8).astype(int),
        }
    )
    mine = tmp_path / "mine"
    mine.mkdir()
    np.save(mine / "vectors.npy", vectors)
    table.to_csv(mine / "labels.csv", index=False)
    environment = {"RETUNE_STORE": str(tmp_path / "mine-store")}
    for command in (
        ("ingest", mine, "--layout", "table", "--path-column", "image",
         "--patient-column", "patient"),
        ("import-vectors", mine / "vectors.npy", mine / "labels.csv",
         "--backbone-name", "theirs", "--ids", "image"),
        ("train", "--scenario", "joint"),
    ):  # fmt: skip
        done = run_command(*command, **environment)
        assert done.returncode == 0, done.stderr
    count = run_command("sql", "SELECT count(*) AS n FROM image_features", "--json",
                        **environment)  # fmt: skip
    assert '"n": 1000' in count.stdout.replace('"n":1000', '"n": 1000')
