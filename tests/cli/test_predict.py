"""`predict` on the command line: what it takes, what it writes, how it fails."""

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Result, result_in, run_command, run_in
from image_samples import write_dataset, write_tiny_backbone
from pyarrow import parquet

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predict")
    write_dataset(folder / "data", 60)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table"),
        ("embed", "--backbone", backbone),
    ):
        assert run_in(folder, *command).returncode == 0
    result_in(folder, "train", "--scenario", "joint", "--method", "analytic")
    (folder / "empty").mkdir()
    (folder / "bad.png").write_bytes(b"nothing")
    return folder


def _predict(workspace: Path, *arguments: object, stdin: str = "") -> Result:
    return run_command("predict", "latest", *arguments, cwd=workspace, stdin=stdin)


def _paths(done: Result) -> list[str]:
    return [one["path"] for one in json.loads(done.stdout)]


def test_a_folder_a_pattern_and_a_list_give_the_same(workspace: Path) -> None:
    by_folder = _predict(workspace, "data", "--json")
    by_pattern = _predict(workspace, "data/*.png", "--json")
    names = "".join(f"data/{n:03d}.png\n" for n in range(60))
    by_list = _predict(workspace, "-", "--json", stdin=names)
    assert by_folder.returncode == 0, by_folder.stderr
    assert _paths(by_folder) == _paths(by_pattern) == names.split()
    probabilities = [
        [one["probabilities"] for one in json.loads(done.stdout)]
        for done in (by_folder, by_list)
    ]
    assert probabilities[0] == probabilities[1]


def test_each_bad_thing_has_its_row_and_the_code_says_so(workspace: Path) -> None:
    done = _predict(
        workspace, "bad.png", "data/001.png", "nowhere", "empty", "x*.png", "--csv"
    )
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "4 of 5 images not usable" in done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert [row["path"] for row in rows] == [
        "bad.png", "data/001.png", "data/001.png", "nowhere", "empty", "x*.png",
    ]  # fmt: skip
    words = ("not a PNG", "", "", "No such file", "no image in", "no file fits")
    for row, word in zip(rows, words, strict=True):
        assert word in row["error"]
        assert bool(row["error"]) != bool(row["finding"])


def test_the_table_shows_probability_threshold_and_decision(workspace: Path) -> None:
    done = _predict(workspace, "data/000.png")
    assert done.returncode == 0, done.stderr
    header, *lines = done.stdout.splitlines()[1:]
    assert header.split() == [
        "finding", "probability", "uncertainty", "threshold", "decision", "threshold",
        "from",
    ]  # fmt: skip
    assert {line.split()[0] for line in lines} == {"Edema", "Mass"}
    assert all(line.split()[4] in ("positive", "negative") for line in lines)
    assert all("f1 on validation of table, " in line for line in lines)
    assert "not a medical device" in done.stderr


def test_many_images_have_a_line_each(workspace: Path) -> None:
    done = _predict(workspace, "data", "bad.png", "--quiet")
    assert done.returncode == 4
    lines = done.stdout.splitlines()
    assert len(lines) == 10 * 4 + 1 + 50 + 1
    assert lines[-2].startswith("data/059.png: ")
    assert lines[-1].startswith("bad.png: cannot be used")
    assert done.stderr == ""


@pytest.mark.parametrize("suffix", ["csv", "json", "parquet", "CSV"])
def test_files_hold_what_is_printed(
    workspace: Path, tmp_path: Path, suffix: str
) -> None:
    out = tmp_path / f"found.{suffix}"
    out.write_text("of before")
    done = _predict(workspace, "data", "bad.png", "--out", out)
    assert done.returncode == 4, done.stderr
    assert "61 images at" in done.stdout
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    if suffix == "parquet":
        rows = parquet.read_table(out).to_pylist()
        assert len(rows) == 121
        assert rows[-1]["error"]
    else:
        option = f"--{suffix.lower()}"
        printed = _predict(workspace, "data", "bad.png", option).stdout
        assert out.read_text() == printed


def test_a_file_that_was_cut_short_keeps_its_rows(
    workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.pipeline.app.predicting.model import RunModel

    whole = RunModel.stream

    def interrupted(self: RunModel, *given: object) -> object:
        stream = whole(self, *given)  # type: ignore[arg-type]  # as given
        yield next(stream)
        stream.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(RunModel, "stream", interrupted)
    for suffix in ("csv", "json", "parquet"):
        done = _predict(workspace, "data", "--out", tmp_path / f"found.{suffix}")
        assert done.returncode == 130
        assert not (tmp_path / f"found.{suffix}").exists()
    assert json.loads((tmp_path / "found.json.partial").read_text())
    assert parquet.read_table(tmp_path / "found.parquet.partial").num_rows
    assert (tmp_path / "found.csv.partial").read_text().count("\n") > 2


@pytest.mark.parametrize(
    ("arguments", "code", "word"),
    [
        (("data", "--out", "found.xlsx"), 2, ".parquet"),
        (("data", "--out", "nowhere/found.csv"), 2, "no folder"),
        (("data", "--out", "found.csv", "--json"), 2, "exclude each other"),
        (("data", "--csv", "--json"), 2, "exclude each other"),
        (("-",), 2, "no image was named"),
        (("data", "--device", "warp"), 2, "warp"),
        (("data", "--backbone", "nonsense"), 2, "nonsense"),
    ],
)
def test_mistakes_are_explained(
    workspace: Path, arguments: tuple[str, ...], code: int, word: str
) -> None:
    done = _predict(workspace, *arguments)
    assert done.returncode == code, done.stderr
    assert word in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(workspace.glob("found*"))


def test_a_full_disk_is_named(workspace: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full on this system")
    (workspace / "full.csv.partial").symlink_to("/dev/full")
    done = _predict(workspace, "data/000.png", "--out", "full.csv")
    assert done.returncode == 3
    assert "cannot write full.csv: No space left" in done.stderr


def test_a_state_file_alone_predicts_the_same(workspace: Path, tmp_path: Path) -> None:
    (state,) = (workspace / "feature-store" / "runs").glob("*/state.safetensors")
    sent = tmp_path / "sent.safetensors"
    sent.write_bytes(state.read_bytes())
    out = tmp_path / "found.parquet"
    done = run_in(tmp_path, "predict", sent, workspace / "data", "--out", out)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "feature-store").exists()
    alone = parquet.read_table(out).to_pylist()
    _predict(workspace, "data", "--out", tmp_path / "run.parquet")
    known = parquet.read_table(tmp_path / "run.parquet").to_pylist()
    assert {row["model"] for row in alone} == {state.parent.name}
    assert {row["threshold_from"] for row in alone} == {"transferred"}
    for name in ("probability", "threshold", "uncertainty", "distance", "decision",
                 "out_of_distribution"):  # fmt: skip
        assert [row[name] for row in alone] == [row[name] for row in known], name
    moved = run_in(
        tmp_path, "predict", sent, workspace / "data/001.png", "--json",
        "--backbone", f"local-dir:{workspace / 'tiny'}",
    )  # fmt: skip
    assert json.loads(moved.stdout)[0]["model"] == state.parent.name


def test_a_state_file_that_cannot_predict_is_a_named_error(
    workspace: Path, tmp_path: Path
) -> None:
    from dataclasses import replace

    from retune.pipeline.learn.runs.state import load_state, save_state

    (state,) = (workspace / "feature-store" / "runs").glob("*/state.safetensors")
    content = state.read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(content[:-9])
    old = tmp_path / "old.safetensors"
    save_state(old, replace(load_state(state), model=None))
    for name, code, words in (
        ("gone.safetensors", 4, "is missing"),
        ("cut.safetensors", 4, "cannot be read"),
        ("old.safetensors", 4, "holds no model to predict with"),
    ):
        done = run_in(tmp_path, "predict", name, workspace / "data/001.png")
        assert done.returncode == code, done.stderr
        assert words in done.stderr
    done = run_in(
        tmp_path, "predict", state, workspace / "data/001.png", "--coverage", "0.9"
    )
    assert done.returncode == 2
    assert "holds no validation images" in done.stderr
