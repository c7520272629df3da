"""`describe ablate` on a small store."""

import json
from pathlib import Path

import pytest
from command_line import Result, run_command
from image_samples import write_dataset, write_tiny_backbone

from retune.store import FeatureStore

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ablate")
    write_dataset(folder / "data", 120)
    write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table"),
        ("embed", "--backbone", f"local-dir:{folder / 'tiny'}"),
    ):
        done = run_command(*command, "--store", "store", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def ablate(workspace: Path, *more: object) -> Result:
    return run_command(
        "describe", "ablate", "--epochs", 2, *more, "--store", "store", cwd=workspace
    )


def test_one_table_and_one_figure_and_nothing_is_stored(workspace: Path) -> None:
    store = FeatureStore(workspace / "store")
    count = """SELECT (SELECT count(*) FROM descriptions),
        (SELECT count(*) FROM features)"""
    before = store.sql(count).fetchall()
    done = ablate(workspace, "--figure", "a.svg")
    assert done.returncode == 0, done.stderr
    for name in ("name", "templates", "structured", "described", "shuffled"):
        lines = [line for line in done.stdout.splitlines() if line.startswith(name)]
        assert len(lines) == 2
    assert "mean over 2 findings" in done.stdout
    for control in ("random words", "shuffled"):
        assert done.stdout.count(f"control '{control}'") == 2
    assert "joint" in (workspace / "a.svg").read_text()
    assert store.sql(count).fetchall() == before
    again = ablate(workspace, "--json")
    rows = json.loads(again.stdout)
    assert [row["condition"] for row in rows if row["scenario"] == "joint"] == [
        "name", "templates", "structured", "described", "random words", "shuffled"
    ]  # fmt: skip
    assert all(row["low"] <= row["auroc"] <= row["high"] for row in rows)
    assert json.loads(ablate(workspace, "--json").stdout) == rows


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--findings", "Edema"), "at least two findings"),
        (("--findings", "Edema,Goitre"), "unknown finding 'Goitre'"),
        (("--descriptions", "nobody"), "no description set or file 'nobody'"),
        (("--figure", "a.gif"), "a figure ends in"),
        (("--figure", "none/a.png"), "there is no folder none"),
        (("--fingerprint", "zz"), "no encoder of the store fits"),
    ],
)
def test_what_cannot_be_done_is_named(
    workspace: Path, more: tuple[str, ...], said: str
) -> None:
    done = ablate(workspace, *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Hint: " in done.stderr


def test_templates_that_stand_in_are_named(workspace: Path) -> None:
    (workspace / "one.yaml").write_text(
        "set: one\ngenerator: person\ncreated_at: 2026\nfindings:\n  Edema:\n"
        "    positive: [Wet lungs.]\n    negative: [No edema.]\n"
    )
    done = ablate(workspace, "--descriptions", "one.yaml", "--quiet")
    assert done.returncode == 0, done.stderr
    findings = FeatureStore(workspace / "store").sql(
        "SELECT DISTINCT finding FROM labels WHERE finding <> 'Edema'"
    )
    for (name,) in findings.fetchall():
        assert name in done.stderr
    assert "templates stand in" in done.stderr
    assert (
        "templates stand in" not in ablate(workspace, "--descriptions", "wide").stderr
    )


def test_another_backbone_at_the_same_place_is_refused(
    workspace: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "kept"
    (workspace / "tiny").rename(moved)
    try:
        write_tiny_backbone(workspace / "tiny", seed=9)
        done = ablate(workspace)
    finally:
        for file in (workspace / "tiny").iterdir():
            file.unlink()
        (workspace / "tiny").rmdir()
        moved.rename(workspace / "tiny")
    assert done.returncode == 3
    assert "the store's vectors are of" in done.stderr
