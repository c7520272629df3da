"""A model for elsewhere gives what `predict` gives, by onnxruntime, to 1e-5."""

import json
from pathlib import Path

import numpy as np
import pytest
from command_line import result_in, run_in
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image

from retune.pipeline.app.predicting.model import RunModel
from retune.pipeline.learn.runs.reopened import load_run_model
from retune.pipeline.learn.runs.saved_model import predict
from retune.store import FeatureStore, find_run

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 60)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "ward"),
        ("embed", "--backbone", backbone),
    ):
        assert run_in(folder, *command, "--quiet").returncode == 0
    return folder


@pytest.mark.parametrize("method", ["analytic", "finetune"])
def test_onnx_gives_the_same_probabilities(workspace: Path, method: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    command = ("train", "--scenario", "joint", "--method", method, "--no-bounds")
    assert run_in(workspace, *command, "--quiet").returncode == 0
    made = result_in(
        workspace, "export-model", "latest", "--onnx", "--out", "model.onnx"
    )
    assert made["largest_difference"] <= 1e-5
    store = FeatureStore(workspace / "feature-store")
    saved = load_run_model(store, find_run(store, "latest"))
    rows = store.sql("SELECT embedding FROM image_features").fetchnumpy()
    embedding = np.stack([np.asarray(row, "f4") for row in rows["embedding"]])
    session = onnxruntime.InferenceSession(str(workspace / "model.onnx"))
    (onnx_scores,) = session.run(None, {"embedding": embedding})
    wanted = predict(saved.model, embedding).probability
    np.testing.assert_allclose(onnx_scores, wanted, atol=1e-5, rtol=0)
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["findings"]) == list(saved.findings)
    assert told["encoder"] == saved.fingerprint


@pytest.mark.parametrize("name", ["tiny", "mini"])
def test_onnx_with_its_backbone_goes_from_pixels_to_probabilities(
    workspace: Path, name: str
) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    backbone = "mini" if name == "mini" else f"local-dir:{workspace / name}"
    store = FeatureStore(workspace / "feature-store")
    for command in (
        ("embed", "--backbone", backbone),
        ("train", "--scenario", "joint", "--method", "analytic", "--no-bounds",
         "--backbone", backbone),
    ):  # fmt: skip
        done = run_in(workspace, *command, "--quiet")
        assert done.returncode == 0, done.stderr
    made = result_in(
        workspace, "export-model", "latest", "--with-backbone", "--out", "whole.onnx"
    )
    assert made["largest_difference"] <= 1e-4
    model = RunModel.open(store, "latest", device="cpu")
    files = sorted((workspace / "data").glob("*.png"))[:20]
    pixels = np.stack(
        [
            model.backbone.preprocess.to_pixels(Image.open(file).convert("L"))
            for file in files
        ]
    )
    session = onnxruntime.InferenceSession(str(workspace / "whole.onnx"))
    (onnx_scores,) = session.run(None, {"pixels": pixels})
    vectors = model.backbone.encode_images(pixels)
    wanted = predict(model.saved.model, vectors).probability
    # In bfloat16 a backbone rounds otherwise; sums of float32 differ by their order.
    exact = model.backbone.spec.precision == "float32"
    np.testing.assert_allclose(
        onnx_scores, wanted, atol=1e-4 if exact else 2e-2, rtol=0
    )
    told = session.get_modelmeta().custom_metadata_map
    assert told["backbone"] == model.backbone.spec.backbone
    assert "interpolation" in told["preprocess"]


def test_the_card_says_data_figures_and_limits(workspace: Path) -> None:
    pytest.importorskip("onnxruntime")
    command = ("train", "--scenario", "joint", "--method", "analytic", "--no-bounds")
    backbone = ("--backbone", f"local-dir:{workspace / 'tiny'}")
    assert run_in(workspace, *command, *backbone, "--quiet").returncode == 0
    assert (
        run_in(workspace, "export-model", "latest", "--out", "a.onnx").returncode == 0
    )
    card = (workspace / "a.md").read_text()
    for part in ("not for diagnosis", "ward", "| Edema |", "95 % interval", "limits"):
        assert part in card
