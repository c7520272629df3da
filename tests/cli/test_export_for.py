"""Files that other tools open at once."""

import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from command_line import Result, run_command
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image

pytestmark = pytest.mark.e2e


def export(workspace: Path, *arguments: object) -> Result:
    return run_command("export", *arguments, "--store", "store", cwd=workspace)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an embedded store of 30 images, one of whose files is gone."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 30)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "ward"),
        ("embed", "--backbone", backbone),
    ):
        done = run_command(*command, "--store", "store", cwd=folder)
        assert done.returncode == 0, done.stderr
    next((folder / "data").rglob("003.png")).unlink()
    return folder


def test_embedding_atlas_gets_places_neighbours_and_pictures(workspace: Path) -> None:
    done = export(
        workspace, "--for", "embedding-atlas", "--out", "it's.parquet", "--json"
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["n_images"], told["n_unreadable"], told["n_left_out"]) == (30, 1, 0)
    for option in ("--x x", "--y y", "--neighbors neighbors", "--image image"):
        assert option in told["command"]
    table = pq.read_table(workspace / "it's.parquet").to_pylist()
    assert np.isfinite([(row["x"], row["y"]) for row in table]).all()
    for place_in_table, row in enumerate(table):
        near, far = row["neighbors"]["ids"], row["neighbors"]["distances"]
        assert len(near) == 15
        assert place_in_table not in near
        assert far == sorted(far)
        if row["image"] is not None:
            picture = Image.open(io.BytesIO(row["image"]["bytes"]))
            assert picture.format == "JPEG"
            assert max(picture.size) <= 256
    assert sum(row["image"] is None for row in table) == 1
    assert {row["Edema"] for row in table} <= {
        "positive",
        "negative",
        "uncertain",
        None,
    }


def test_fiftyone_gets_paths_and_labels(workspace: Path) -> None:
    done = export(workspace, "--for", "fiftyone", "--out", "fo", "--split", "test")
    assert done.returncode == 0, done.stderr
    assert "fiftyone.types.FiftyOneImageClassificationDataset" in done.stdout
    content = json.loads((workspace / "fo" / "labels.json").read_text(encoding="utf-8"))
    assert "Edema" in content["classes"]
    for path, labels in content["labels"].items():
        assert Path(path).is_file()
        for one in labels:
            assert one["label"] in content["classes"]
            assert one["attributes"]["split"] == "test"
            assert one["attributes"]["state"] in ("positive", "uncertain")


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--for", "napari"), "unknown tool napari"),
        (("--for", "fiftyone", "--out", "data"), "is there already"),
        (("--for", "fiftyone", "--where", "sex = 'X'"), "fits"),
        (("--for", "fiftyone", "--datasets", "none"), "none"),
        (("--for", "embedding-atlas", "--where", "'"), "condition"),
        (("--for", "fiftyone", "--to", "npy"), "--to has no effect with --for"),
    ],
)
def test_mistakes_are_explained(
    workspace: Path, arguments: tuple[str, ...], word: str
) -> None:
    done = export(workspace, *arguments)
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    assert word in done.stderr
    assert not (workspace / "fiftyone").exists()
