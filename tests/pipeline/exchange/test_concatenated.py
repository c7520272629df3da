"""`--backbone A+B`: two encoders side by side are an encoder like any other."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import run_command
from exchange_samples import IDS, D, N, make_store, telling, vectors_of, write

import retune
from retune.pipeline.app.encoders.backbones import drop_backbone
from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.pipeline.encode.concatenation import concatenated_encoder
from retune.store.errors import ConfigurationError

FINDINGS = ("Edema", "Fracture")


def take(
    store: retune.Store,
    folder: Path,
    name: str,
    vectors: np.ndarray,
    ids: list[str] = IDS,
    **options: object,
) -> None:
    given = write(folder, "npz", vectors, ids)
    request = ImportRequest(tuple(given["files"]), name, given["ids"], **options)  # type: ignore[arg-type]  # by name
    import_vectors(store.feature_store, request)


def texts_of(folder: Path, dim: int) -> Path:
    rows = [
        (finding, sign) for finding in FINDINGS for sign in ("positive", "negative")
    ]
    table = pd.DataFrame(rows, columns=["finding", "polarity"])
    table["vector"] = list(vectors_of(len(rows), dim))
    table.to_parquet(folder / "texts.parquet")
    return folder / "texts.parquet"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`told` has texts, `mute` has none and lacks ten images."""
    folder = tmp_path_factory.mktemp("made")
    store = make_store(folder)
    good = telling(store, "Edema")
    texts = (texts_of(folder, D),)
    take(store, folder / "a", "told", good, texts=texts)
    take(store, folder / "b", "mute", vectors_of(N - 10, 5), IDS[: N - 10])
    return folder


@pytest.fixture
def store(made: Path, tmp_path: Path) -> retune.Store:
    shutil.copytree(made / "store", tmp_path / "store")
    return retune.open(tmp_path / "store")


def embeddings(store: retune.Store, name: str) -> dict[str, np.ndarray]:
    rows = store.sql(
        """SELECT image_id, embedding FROM image_features
        JOIN encoders USING (fingerprint) WHERE backbone = ?""",
        [name],
    ).fetchall()
    return {image: np.array(vector) for image, vector in rows}


def test_each_part_is_normalised_and_only_common_images_count(
    store: retune.Store,
) -> None:
    run_of_both = store.train(
        "joint", method="analytic", backbone="told+mute", descriptions="told"
    )
    whole, told, mute = (
        embeddings(store, name) for name in ("told+mute", "told", "mute")
    )
    assert set(whole) == set(mute) < set(told)
    for image, vector in whole.items():
        halves = [part[image] / np.linalg.norm(part[image]) for part in (told, mute)]
        np.testing.assert_allclose(vector, np.concatenate(halves), atol=1e-6)
    record = store.sql(
        """SELECT backbone, spec FROM runs JOIN encoders USING (fingerprint)
        WHERE run_id = ?""",
        [run_of_both.run_id],
    ).fetchall()
    parts = store.sql("SELECT fingerprint FROM encoders WHERE backbone <> 'told+mute'")
    assert record[0][0] == "told+mute"
    assert all(one in record[0][1] for (one,) in parts.fetchall())
    assert not store.feature_store.verify()


def test_zero_shot_is_that_of_the_part_with_texts(store: retune.Store) -> None:
    def ranks(backbone: str) -> np.ndarray:
        made = store.train(
            "zero-shot", backbone=backbone, descriptions="told", predictions=True
        )
        frame = store.sql(
            "SELECT * FROM predictions WHERE run_id = ?", [made.run_id]
        ).df()
        return frame.pivot(index="image_id", columns="finding", values="score")

    both, alone = ranks("told+mute"), ranks("told")
    for finding in FINDINGS:
        of_both = both[finding].sort_values().index
        of_one = alone.loc[both.index, finding].sort_values().index
        assert list(of_both) == list(of_one)


def test_new_vectors_of_a_part_reach_the_whole(
    store: retune.Store, tmp_path: Path
) -> None:
    concatenated_encoder(store.feature_store, "told+mute")
    rest = vectors_of(N, 5)[N - 10 :]
    take(store, tmp_path / "more", "mute", rest, IDS[N - 10 :], add=True)
    assert len(embeddings(store, "told+mute")) == N
    curve = store.curve(
        methods=("analytic",),
        backbone="told+mute",
        shots=(8, "all"),
        descriptions="told",
    )
    assert curve.learning_set.encoder.backbone == "told+mute"


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("told+told", "has an encoder twice"),
        ("told+nobody", "no encoder of the store fits"),
        ("told+", "several encoders"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    store: retune.Store, name: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        store.train("joint", method="analytic", backbone=name)


def test_a_name_with_a_plus_of_one_encoder_is_taken_as_it_is(
    store: retune.Store, tmp_path: Path
) -> None:
    take(store, tmp_path / "c", "dino+v2", vectors_of(N, 4))
    assert concatenated_encoder(store.feature_store, "dino+v2") is None
    assert store.train("joint", method="analytic", backbone="dino+v2")


def test_a_new_picture_needs_one_encoder_at_a_time(
    store: retune.Store, tmp_path: Path
) -> None:
    made = store.train(
        "joint", method="analytic", backbone="told+mute", descriptions="told"
    )
    (tmp_path / "new.png").write_bytes(b"no matter")
    done = run_command(
        "predict", made.run_id, tmp_path / "new.png", "--store", store.path
    )
    assert done.returncode == 2
    assert "several encoders side by side" in done.stderr
    drop_backbone(store.feature_store, "told+mute")
    assert not embeddings(store, "told+mute")
    assert len(embeddings(store, "told")) == N


def test_parts_named_by_fingerprint_make_the_same_encoder(store: retune.Store) -> None:
    by_name = concatenated_encoder(store.feature_store, "told+mute")
    rows = store.sql("SELECT backbone, fingerprint FROM encoders").fetchall()
    named = dict(rows)
    by_fingerprint = concatenated_encoder(
        store.feature_store, f"{named['told'][:10]}+{named['mute']}"
    )
    assert by_fingerprint == by_name == named["told+mute"]
    assert store.sql("SELECT count(*) FROM encoders").fetchall() == [(3,)]
