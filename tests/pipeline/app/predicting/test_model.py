"""A run's model in memory: the same answer for a picture, however it is given."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from command_line import result_in, run_in
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image

from retune.pipeline.app.predicting.image_sources import find_images
from retune.pipeline.app.predicting.model import Predictions, RunModel
from retune.pipeline.app.predicting.prediction import PREDICTION_SCHEMA
from retune.pipeline.app.predicting.run_roots import RunRoots
from retune.pipeline.progress import Progress
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    write_dataset(folder / "data", 60)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table"),
        ("embed", "--backbone", backbone),
    ):
        assert run_in(folder, *command).returncode == 0
    result_in(
        folder, "train", "--scenario", "joint", "--method", "analytic", "--predictions"
    )
    return folder


@pytest.fixture(scope="module")
def model(workspace: Path) -> RunModel:
    return RunModel.open(
        FeatureStore(workspace / "feature-store"), "latest", device="cpu"
    )


def _probabilities(predictions: Predictions) -> np.ndarray:
    values = predictions.table["probability"].to_numpy()
    return np.asarray(values).reshape(-1, 2)


def test_a_picture_gets_the_same_answer_however_it_is_given(
    workspace: Path, model: RunModel
) -> None:
    path = workspace / "data" / "000.png"
    with Image.open(path) as image:
        array = np.asarray(image)
        given = [path, str(path), image.copy(), array, array[:, :, None],
                 np.stack([array] * 3, axis=-1), image.convert("RGBA"),
                 image.convert("P"), image.convert("CMYK")]  # fmt: skip
        predictions = model.predictions(
            [*given, image]
        )  # the last not loaded by itself
    figures = _probabilities(predictions)
    assert len(figures) == 10
    np.testing.assert_allclose(figures, figures[:1].repeat(10, 0), atol=2e-3)
    assert predictions.table["path"].to_pylist()[:2] == [str(path)] * 2
    assert predictions.table["path"].to_pylist()[4] is None
    assert predictions.table["index"].to_pylist() == [
        i for i in range(10) for _ in "ab"
    ]


def test_16_bit_arrays_are_scaled_as_16_bit_files_are(
    tmp_path: Path, model: RunModel
) -> None:
    grey = np.random.default_rng(0).integers(0, 4096, (40, 40), dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "16.png")
    rgb = np.stack([grey] * 3, axis=-1)
    figures = _probabilities(model.predictions([tmp_path / "16.png", grey, rgb]))
    np.testing.assert_allclose(figures, figures[:1].repeat(3, 0), atol=2e-3)


def test_answers_are_those_that_the_run_stored(
    workspace: Path, model: RunModel
) -> None:
    rows = (
        FeatureStore(workspace / "feature-store")
        .sql(
            "SELECT path, finding, probability FROM predictions JOIN images "
            "USING (image_id) WHERE run_id = ?",
            [model.run.run_id],
        )
        .fetchall()
    )
    wanted = {
        (str(workspace / "data" / path), name): value for path, name, value in rows
    }
    predictions = model.predictions(workspace / "data").table.to_pylist()
    got = {(row["path"], row["finding"]): row["probability"] for row in predictions}
    assert wanted
    for key, value in wanted.items():
        assert got[key] == pytest.approx(value, abs=2e-3)


def test_rows_say_threshold_decision_and_where_it_is_from(
    workspace: Path, model: RunModel
) -> None:
    predictions = model.predictions(str(workspace / "data"))
    assert predictions.table.schema.equals(PREDICTION_SCHEMA)
    assert len(predictions) == 120
    for row in predictions.table.to_pylist():
        reached = row["probability"] >= row["threshold"]
        assert row["decision"] == ("positive" if reached else "negative")
        assert row["threshold"] == model.rule.thresholds[row["finding"]]
        assert row["threshold_from"] in ("validation", "default")
    frame = predictions.frame()
    assert list(frame.columns) == PREDICTION_SCHEMA.names
    assert "120 rows" in repr(predictions)
    assert model.run.run_id in repr(model)


def test_rows_say_how_far_to_trust_them_and_so_does_the_catalog(
    workspace: Path, model: RunModel
) -> None:
    predictions = model.predictions(workspace / "data").table.to_pylist()
    limit = model.rule.distance_limit
    assert limit is not None
    assert 0 < model.rule.alarm_rate < 0.5
    for row in predictions:
        assert row["uncertainty"] > 0
        assert row["out_of_distribution"] == (row["distance"] > limit)
        assert row["operating_point"] in ("f1", None)
        assert row["answers"] is None
    kept = FeatureStore(workspace / "feature-store").sql(
        "SELECT path, finding, uncertainty, distance, out_of_distribution "
        "FROM predictions JOIN images USING (image_id)"
    )
    by_key = {(row["path"], row["finding"]): row for row in predictions}
    rows = kept.fetchall()
    assert rows
    for path, finding, uncertainty, distance, flag in rows:
        row = by_key[str(workspace / "data" / path), finding]
        assert uncertainty == pytest.approx(row["uncertainty"], rel=0.05)
        assert distance == pytest.approx(row["distance"], rel=0.05, abs=0.02)
        assert isinstance(flag, bool)


def test_a_picture_of_another_kind_is_flagged(model: RunModel) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    checks = np.kron(np.indices((8, 8)).sum(axis=0) % 2 * 255, np.ones((8, 8)))
    predictions = model.predictions([noise, checks.astype(np.uint8)]).table.to_pylist()
    assert max(row["distance"] for row in predictions) > 1


def test_thresholds_and_answer_sets_are_made_anew_from_validation(
    workspace: Path, model: RunModel
) -> None:
    store = FeatureStore(workspace / "feature-store")
    sure = RunModel.open(
        store, "latest", device="cpu", operating_point="sensitivity=1", coverage=0.8
    )
    assert sure.rule.sets is not None
    for name, origin in sure.rule.origins.items():
        assert origin.operating_point == "sensitivity=1"
        assert origin.datasets == ("table",)
        assert origin.n_images > 0
        assert sure.rule.thresholds[name] <= model.rule.thresholds[name]
    rows = sure.predictions(workspace / "data").table.to_pylist()
    assert {row["answers"] for row in rows} <= {
        "positive", "negative", "either", "neither",
    }  # fmt: skip
    with pytest.raises(ConfigurationError, match="`operating_point` best"):
        RunModel.open(store, "latest", operating_point="best")
    with pytest.raises(ConfigurationError, match="`coverage` 1"):
        RunModel.open(store, "latest", coverage=1.0)


def test_a_threshold_on_another_datasets_image_is_marked(
    workspace: Path, model: RunModel, tmp_path: Path
) -> None:
    path = tmp_path / "elsewhere.png"
    path.write_bytes((workspace / "data" / "000.png").read_bytes())
    unknown = model.predictions(path).table.to_pylist()
    assert {row["threshold_from"] for row in unknown} <= {"validation", "default"}
    roots = RunRoots((str(workspace / "data"),), (str(tmp_path),))
    aware = replace(model, roots=roots)
    predictions = aware.predictions(
        [path, workspace / "data" / "000.png"]
    ).table.to_pylist()
    assert [row["threshold_from"] for row in predictions] == [
        "transferred", "transferred", "validation", "validation",
    ]  # fmt: skip


def test_bad_items_keep_their_rows(tmp_path: Path, model: RunModel) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    lazy = tmp_path / "cut.png"
    Image.effect_noise((64, 64), 50).save(lazy)
    lazy.write_bytes(lazy.read_bytes()[:500])
    with Image.open(lazy) as cut:
        predictions = model.predictions(
            [
                tmp_path / "bad.png",
                np.zeros((4, 4)),
                np.zeros((0, 4), dtype=np.uint8),
                np.zeros((2, 3, 4, 3), dtype=np.uint8),
                tmp_path / "gone",
                cut,
            ]
        )
    errors = predictions.table["error"].to_pylist()
    assert predictions.table["finding"].to_pylist() == [None] * 6
    for error, words in zip(
        errors,
        ("not a PNG", "not float64", "empty", "not uint8 of shape (2, 3, 4, 3)",
         "No such file", "damaged"),
        strict=True,
    ):  # fmt: skip
        assert words in error
    assert "6 images not usable" in repr(predictions)
    assert len(model.predictions([])) == 0


def test_a_batch_is_forgotten_when_the_next_is_asked_for(
    workspace: Path, model: RunModel
) -> None:
    """Files are read as predictions are taken, so that millions need no memory."""
    read: list[str] = []
    paths = [workspace / "data" / f"{n % 60:03d}.png" for n in range(2000)]
    sources = find_images(paths)
    original = sources.read
    sources.read = lambda item, preprocess: (  # type: ignore[method-assign]
        read.append(item.image_id) or original(item, preprocess)
    )
    told: list[Progress] = []
    stream = model.stream(sources, told.append)
    first = next(stream)
    assert [one.path for one in first] == [str(path) for path in paths[: len(first)]]
    stream.close()
    lanes = len(os.sched_getaffinity(0))
    assert len(read) <= 16 * 2 * (lanes + 1)
    assert told[0].total == 2000
    assert told[0].done == len(first)


def test_a_frame_without_pandas_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pandas", None)
    table: pa.Table = PREDICTION_SCHEMA.empty_table()
    with pytest.raises(ConfigurationError, match="pandas"):
        Predictions(table).frame()
