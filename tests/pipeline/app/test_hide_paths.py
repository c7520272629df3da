"""With `hide_paths` a store names no file, and what needs files still works."""

import json
from pathlib import Path

import pytest
from command_line import Result, result_in, run_in
from erasure_samples import bytes_of
from image_samples import write_images, write_tiny_backbone

from retune.store.hidden_paths import read_path_keys

pytestmark = pytest.mark.e2e

_STORE = ("--store", "store")


def _done(workspace: Path, *arguments: object, code: int = 0) -> Result:
    done = run_in(workspace, *arguments, *_STORE)
    assert done.returncode == code, done.stderr + done.stdout
    return done


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    names = [f"PAT-{number:06d}-x.png" for number in range(8)]
    write_images(tmp_path / "data" / "Mueller", names)
    (tmp_path / "data" / "labels.csv").write_text(
        "path,patient_id,Edema\n"
        + "".join(f"Mueller/{name},{name[:-4]},1\n" for name in names)
        + "Mueller/gone-17.png,PAT-000017-x,0\n"
    )
    (tmp_path / "key").write_text("k" * 32)
    return tmp_path


def _ingest(workspace: Path, *more: object, code: int = 0) -> Result:
    return _done(workspace, "ingest", "data", "--pseudonymize", "key", *more, code=code)


def test_the_store_alone_names_nobody(workspace: Path) -> None:
    _ingest(workspace, "--hide-paths", "paths.txt")
    assert (workspace / "paths.txt").stat().st_mode & 0o777 == 0o600
    backbone = write_tiny_backbone(workspace / "tiny")
    _done(workspace, "embed", "--backbone", backbone)
    counts = "SELECT count(*) AS n FROM image_features"
    assert result_in(workspace, "sql", counts, *_STORE) == [{"n": 8}]
    _ingest(workspace)  # remembered: no option is needed
    made = result_in(workspace, "embed", "--backbone", backbone, *_STORE)
    assert (made["images_skipped"], made["images_encoded"]) == (8, 0)
    tables = result_in(workspace, "sql", "SELECT path, error FROM failures", *_STORE)
    told = json.dumps(
        [tables, result_in(workspace, "sql", "FROM images", *_STORE),
         result_in(workspace, "sql", "FROM datasets", *_STORE)],
    )  # fmt: skip
    assert len(tables) >= 1
    for name in ("Mueller", "PAT-0000", "gone-17"):
        assert name not in told
        for file, content in bytes_of(workspace / "store").items():
            assert name.encode() not in content, (name, file)


def test_who_is_erased_leaves_the_file_of_paths_too(workspace: Path) -> None:
    _ingest(workspace, "--hide-paths", "paths.txt")
    rows = result_in(workspace, "sql", "SELECT patient_id, path FROM images", *_STORE)
    keys = read_path_keys(workspace / "paths.txt")
    real = keys.paths[rows[0]["path"]]
    made = result_in(workspace, "forget", rows[0]["patient_id"], "--yes", *_STORE)
    assert real.encode() not in (workspace / "paths.txt").read_bytes()
    assert len(read_path_keys(workspace / "paths.txt").paths) == 8
    assert not list(workspace.glob("*.erased"))
    _done(workspace, "verify", "--erased", made["receipt"])
    (workspace / "store" / "note.txt").write_text(f"see {real}")
    _done(workspace, "verify", "--erased", made["receipt"], code=3)


def test_what_an_interrupted_erasure_left_of_the_paths_is_destroyed(
    workspace: Path,
) -> None:
    _ingest(workspace, "--hide-paths", "paths.txt")
    rows = result_in(workspace, "sql", "SELECT patient_id FROM images", *_STORE)
    old = workspace / "paths.txt.erased"
    old.write_bytes((workspace / "paths.txt").read_bytes())  # died before the last step
    result_in(workspace, "forget", rows[0]["patient_id"], "--yes", *_STORE)
    assert not old.exists()
    old.hardlink_to(workspace / "paths.txt")  # died before the new file was written
    result_in(workspace, "forget", rows[1]["patient_id"], "--yes", *_STORE)
    assert not old.exists()
    assert len(read_path_keys(workspace / "paths.txt").paths) == 7


def test_a_damaged_file_of_paths_stops_an_erasure(workspace: Path) -> None:
    _ingest(workspace, "--hide-paths", "paths.txt")
    rows = result_in(workspace, "sql", "SELECT patient_id FROM images", *_STORE)
    (workspace / "paths.txt").write_text("nothing of this kind")
    done = _done(workspace, "forget", rows[0]["patient_id"], "--yes", code=2)
    assert "the hidden paths in" in done.stderr
    left = result_in(workspace, "sql", "SELECT patient_id FROM images", *_STORE)
    assert left == rows


def test_exported_files_have_their_real_paths(workspace: Path) -> None:
    _ingest(workspace, "--hide-paths", "paths.txt")
    _done(workspace, "export", "--for", "fiftyone", "--out", "shown")
    content = json.loads((workspace / "shown" / "labels.json").read_text())
    assert content["labels"]
    images = workspace / "data" / "Mueller"
    assert all(Path(path).parent == images for path in content["labels"])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("data/labels.csv", "cannot be read"),
        ("store/paths.txt", "lies in"),
        ("no/such/paths.txt", "lies in no folder"),
    ],
)
def test_a_wrong_file_is_a_named_error(workspace: Path, name: str, words: str) -> None:
    before = (workspace / "data/labels.csv").read_bytes()
    done = _ingest(workspace, "--hide-paths", name, code=2)
    assert words in done.stderr
    assert (workspace / "data/labels.csv").read_bytes() == before


def test_image_ids_have_digests_without_pseudonyms_too(workspace: Path) -> None:
    _done(workspace, "ingest", "data", "--hide-paths", "paths.txt")
    (row, *_) = result_in(
        workspace, "sql", "SELECT image_id, path FROM images", *_STORE
    )
    assert row["image_id"] == f"table/{row['path']}"
    (workspace / "other").mkdir()
    (workspace / "other" / "t.csv").write_text("path,patient_id,Edema\na.png,1,1\n")
    done = _done(workspace, "ingest", "other", "--hide-paths", "paths.txt", code=2)
    assert "holds the paths of" in done.stderr
