"""`compare`: two runs on the same test images, from the command line."""

import shutil
from pathlib import Path

import duckdb
import pytest
from command_line import result_in as result
from command_line import run_in as run
from image_samples import write_dataset, write_tiny_backbone

pytestmark = pytest.mark.e2e

_TRAIN = ("train", "--epochs", 3, "--no-bounds", "--store", "store")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with vectors of two encoders."""
    folder = tmp_path_factory.mktemp("place")
    write_dataset(folder / "data", 120)
    backbones = [write_tiny_backbone(folder / f"b{n}", seed=n) for n in (0, 1)]
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "ward"),
        *(("embed", "--backbone", backbone) for backbone in backbones),
    ):
        done = run(folder, *command, "--store", "store", "--quiet")
        assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def runs(workspace: Path) -> dict[str, str]:
    """Run ids by what is particular about them."""
    first = ("--backbone", f"local-dir:{workspace / 'b0'}")
    options: dict[str, tuple[object, ...]] = {
        "kept": ("--scenario", "joint", *first, "--predictions"),
        "scored": ("--scenario", "label", *first),
        "split": ("--scenario", "joint", *first, "--split-seed", 5),
        "edema": ("--scenario", "joint", *first, "--findings", "Edema"),
        "mass": ("--scenario", "joint", *first, "--findings", "Mass"),
        "encoder": (
            "--scenario",
            "joint",
            "--backbone",
            f"local-dir:{workspace / 'b1'}",
        ),
    }
    return {
        name: result(workspace, *_TRAIN, *chosen)["run_id"]
        for name, chosen in options.items()
    }


def test_two_runs_are_compared(workspace: Path, runs: dict[str, str]) -> None:
    comparison = result(
        workspace, "compare", runs["kept"], runs["scored"], "--store", "store"
    )
    assert comparison["scores_from"] == ["predictions", "model"]
    figures = {row["finding"]: row for row in comparison["findings"]}
    assert list(figures) == ["Edema", "Mass"]
    query = (
        "SELECT run_id, finding, value FROM metrics WHERE metric = 'auroc' "
        "AND split = 'test' AND task > 0 AND (run_id, task) IN "
        "(SELECT (run_id, max(task)) FROM metrics WHERE split = 'test' GROUP BY run_id)"
    )
    recorded = {
        (row["run_id"], row["finding"]): row["value"]
        for row in result(workspace, "sql", query, "--store", "store")
    }
    for name, row in figures.items():
        assert row["first"] == pytest.approx(recorded[runs["kept"], name], abs=1e-9)
        assert row["second"] == pytest.approx(recorded[runs["scored"], name], abs=1e-9)
        assert row["low"] <= row["difference"] <= row["high"]
        assert 0 <= row["p"] <= row["p_holm"] <= 1
    swapped = result(
        workspace, "compare", runs["scored"], runs["kept"], "--store", "store"
    )
    assert swapped["macro"]["difference"] == -comparison["macro"]["difference"]
    assert swapped["macro"]["p"] == comparison["macro"]["p"]


def test_kept_predictions_and_the_saved_model_say_the_same(
    workspace: Path, runs: dict[str, str]
) -> None:
    """Without its kept predictions, the run is scored again to the same figures."""
    copy = shutil.copytree(workspace / "store", workspace / "copy")
    pair = ("compare", runs["kept"], runs["scored"], "--store")
    before = result(workspace, *pair, "store")

    from retune.store import FeatureStore

    with FeatureStore(copy).catalog.write() as connection:
        connection.execute("DELETE FROM predictions")
    after = result(workspace, *pair, "copy")
    assert after["scores_from"] == ["model", "model"]
    assert after["findings"] == before["findings"]


def test_the_table_names_both_runs_and_says_what_it_is(
    workspace: Path, runs: dict[str, str]
) -> None:
    done = run(workspace, "compare", runs["edema"], runs["kept"], "--store", "store")
    assert done.returncode == 0, done.stderr
    assert runs["edema"] in done.stdout
    assert runs["kept"] in done.stdout
    assert "Edema" in done.stdout
    assert "Mass" not in done.stdout  # only what both know
    assert "DeLong" in done.stdout


_MISTAKES = {
    "kept": (2, "Name two different runs"),
    "split": (2, "--split-seed"),
    "encoder": (3, "--across-encoders"),
    "nothing": (2, "'nothing' means 0 runs"),
}


@pytest.mark.parametrize("other", _MISTAKES)
def test_what_cannot_be_compared_is_refused(
    workspace: Path, runs: dict[str, str], other: str
) -> None:
    code, words = _MISTAKES[other]
    name = runs.get(other, other)
    done = run(workspace, "compare", runs["kept"], name, "--store", "store")
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_runs_of_two_encoders_are_compared_if_asked(
    workspace: Path, runs: dict[str, str]
) -> None:
    comparison = result(
        workspace, "compare", runs["kept"], runs["encoder"], "--across-encoders",
        "--store", "store",
    )  # fmt: skip
    assert len(comparison["findings"]) == 2


def test_runs_without_a_common_finding_are_refused(
    workspace: Path, runs: dict[str, str]
) -> None:
    done = run(workspace, "compare", runs["edema"], runs["mass"], "--store", "store")
    assert done.returncode == 2
    assert "no finding is in both" in done.stderr


def test_report_shows_the_runs(workspace: Path, runs: dict[str, str]) -> None:
    done = run(workspace, "report", "--store", "store", "--out", "page.html")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "page.html"
    page = (workspace / "page.html").read_text()
    assert runs["scored"] in page
    query = (
        "SELECT round(value, 3) AS v FROM metrics WHERE metric = 'final_auroc' "
        f"AND run_id = '{runs['scored']}'"
    )
    (row,) = result(workspace, "sql", query, "--store", "store")
    assert f"{row['v']:.3f}" in page


def test_report_of_some_runs_and_of_several_stores(
    workspace: Path, runs: dict[str, str]
) -> None:
    other = shutil.copytree(workspace / "store", workspace / "other-store")
    done = run(
        workspace, "report", runs["scored"], "--also", other, "--markdown", "--store",
        "store",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    label = [line for line in done.stdout.splitlines() if line.startswith("| label")]
    assert len(label) == 1
    assert label[0].split(" | ")[2] == "2"


def test_older_runs_show_the_reference_score_too(
    workspace: Path, runs: dict[str, str]
) -> None:
    """They have it by finding only; its mean is then shown without an interval."""
    old = shutil.copytree(workspace / "store", workspace / "old-store")
    command = ("report", runs["scored"], "--markdown", "--store")
    before = run(workspace, *command, old).stdout.splitlines()
    with duckdb.connect(str(old / "catalog.duckdb")) as connection:
        connection.execute("DELETE FROM metrics WHERE metric = 'final_auroc_positive'")
    after = run(workspace, *command, old).stdout.splitlines()
    place_of_score = before[0].split(" | ").index("of s+ alone")
    (new_cell,), (old_cell,) = (
        [line.split(" | ")[place_of_score] for line in lines[2:]]
        for lines in (before, after)
    )
    assert new_cell.startswith(f"{old_cell} (")
    assert float(old_cell) > 0


def test_backbones_are_kept_apart_unless_told_otherwise(
    workspace: Path, runs: dict[str, str]
) -> None:
    pair = ("report", runs["split"], runs["encoder"], "--markdown", "--store", "store")
    apart = run(workspace, *pair).stdout.splitlines()
    assert [line.split(" | ")[2] for line in apart[2:]] == ["1", "1"]
    together = run(workspace, *pair, "--as-backbone", "mine").stdout.splitlines()
    assert [line.split(" | ")[2] for line in together[2:]] == ["2"]


def test_report_mistakes_are_explained(workspace: Path, runs: dict[str, str]) -> None:
    del runs
    done = run(workspace, "report", "--store", "store", "--out", "no/folder/page.html")
    assert done.returncode == 2
    assert "no/folder/page.html cannot be written" in done.stderr
    done = run(workspace, "report", "nosuchrun", "--store", "store")
    assert done.returncode == 2
    assert "nosuchrun" in done.stderr


def test_report_of_a_store_without_runs(workspace: Path, tmp_path: Path) -> None:
    ingested = run(
        workspace, "ingest", "data", "--layout", "table", "--store", tmp_path / "s"
    )
    assert ingested.returncode == 0, ingested.stderr
    done = run(workspace, "report", "--store", tmp_path / "s")
    assert done.returncode == 2
    assert "no finished run" in done.stderr


def test_a_damaged_run_is_refused(workspace: Path, runs: dict[str, str]) -> None:
    copy = shutil.copytree(workspace / "store", workspace / "damaged")
    (copy / "runs" / runs["scored"] / "adaptors.safetensors").write_bytes(b"broken")
    done = run(workspace, "compare", runs["kept"], runs["scored"], "--store", "damaged")
    assert done.returncode == 4
    assert runs["scored"] in done.stderr
    with duckdb.connect(str(copy / "catalog.duckdb")) as connection:
        connection.execute("UPDATE runs SET config = '{'")
    done = run(workspace, "compare", runs["kept"], runs["scored"], "--store", "damaged")
    assert done.returncode == 4
    assert "cannot be read" in done.stderr
