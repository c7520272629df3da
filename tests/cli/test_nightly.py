"""Nights: everything once, nothing twice, silent when all is well, told when not."""

import json
from pathlib import Path

import pytest
from command_line import result_in, run_in
from image_samples import write_dataset, write_tiny_backbone

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a run, and the configuration of its nights."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 40)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "ward"),
        ("embed", "--backbone", backbone),
        ("train", "--scenario", "joint", "--method", "analytic", "--no-bounds"),
    ):
        done = run_in(folder, *command, "--quiet")
        assert done.returncode == 0, done.stderr
        assert done.stdout == ""
    (folder / "night.yaml").write_text(
        "store: feature-store\n"
        "folder: nights\n"
        "prometheus: retune.prom\n"
        "ingest: {root: data}\n"
        f"embed: {{backbone: '{backbone}'}}\n"
        "predict: {run: latest}\n"
    )
    return folder


def night(workspace: Path) -> dict[str, object]:
    last_night = json.loads((workspace / "nights" / "last-night.json").read_text())
    assert isinstance(last_night, dict)
    return last_night


def test_a_second_night_has_nothing_to_do(workspace: Path) -> None:
    first = run_in(workspace, "nightly", "night.yaml")
    assert first.returncode == 0, first.stderr
    assert "images predicted 40" in first.stdout
    assert len(first.stdout.splitlines()) == 1
    second = run_in(workspace, "nightly", "night.yaml")
    assert second.returncode == 0
    assert "nothing to do" in second.stdout
    third = run_in(workspace, "nightly", "night.yaml", "--quiet")
    assert (third.stdout, third.stderr) == ("", "")
    assert night(workspace)["exit_code"] == 0
    metrics = (workspace / "retune.prom").read_text()
    assert "\nretune_nightly_success 1\n" in metrics
    assert "\nretune_images_predicted 0\n" in metrics
    assert len(list((workspace / "nights").glob("predictions-*.parquet"))) == 1


def test_a_night_that_is_not_well_says_so(workspace: Path, tmp_path: Path) -> None:
    text = (workspace / "night.yaml").read_text()
    (workspace / "bad.yaml").write_text(text.replace("root: data", "root: gone"))
    done = run_in(workspace, "nightly", "bad.yaml", "--quiet")
    assert done.returncode == 4
    assert "ingest ended with 4" in done.stdout
    assert "there is no folder" in done.stderr
    assert "\nretune_nightly_success 0\n" in (workspace / "retune.prom").read_text()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is no configuration"),
        ("store: s\n", "names nothing to do"),
        ("embedd: {}\n", "'embedd' is no part of it"),
        ("ingest: {}\n", "among them 'root'"),
        ("ingest: [\n", "is no configuration"),
    ],
)
def test_a_wrong_configuration_is_a_named_error(
    tmp_path: Path, text: str, message: str
) -> None:
    (tmp_path / "night.yaml").write_text(text)
    done = run_in(tmp_path, "nightly", "night.yaml")
    assert done.returncode == 2
    assert message in done.stderr


def test_a_log_has_lines_and_no_progress(workspace: Path) -> None:
    done = run_in(workspace, "ingest", "data", "--log", "a.log", "--log-format", "json")
    assert done.returncode == 0
    lines = [
        json.loads(line) for line in (workspace / "a.log").read_text().splitlines()
    ]
    assert {"time", "level", "pid", "message"} == set(lines[0])
    assert lines[-1]["message"].startswith("ends with exit code 0 after")
    run_in(workspace, "ingest", "gone", "--log", "b.log", "--quiet")
    text = (workspace / "b.log").read_text()
    assert " error " in text
    assert "there is no folder gone" in text
    assert "ends with exit code 4" in text


def test_an_impossible_log_is_a_named_error(workspace: Path) -> None:
    assert run_in(workspace, "status", "--log", "no/such/a.log").returncode == 2
    assert (
        run_in(workspace, "status", "--log", "x", "--log-format", "xml").returncode == 2
    )


def test_quiet_is_an_option_of_every_command(workspace: Path) -> None:
    assert run_in(workspace, "verify", "--quiet").stdout == ""
    assert run_in(workspace, "sql", "SELECT 1", "--quiet").stdout != ""
    assert result_in(workspace, "status", "-q")


def test_a_store_without_images_is_not_well(workspace: Path, tmp_path: Path) -> None:
    backbone = f"local-dir:{workspace / 'tiny'}"
    done = run_in(workspace, "embed", "--backbone", backbone, "--where", "age > 900")
    assert done.returncode in (2, 7), done.stderr


def test_strict_tells_of_images_that_are_not_usable(workspace: Path) -> None:
    """An image that is gone: 0 without --strict, 6 with it."""
    gone = min((workspace / "data").rglob("*.png"))
    content = gone.read_bytes()
    gone.write_bytes(b"no image")
    command = ("embed", "--backbone", f"local-dir:{workspace / 'tiny'}")
    try:
        assert run_in(workspace, *command).returncode == 0
        assert run_in(workspace, *command, "--strict").returncode == 6
        gone.unlink()
        assert run_in(workspace, "ingest", "data").returncode == 0
        assert run_in(workspace, "ingest", "data", "--strict").returncode == 6
    finally:
        gone.write_bytes(content)
