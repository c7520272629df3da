"""A store with runs that an earlier version wrote works with every command."""

import tarfile
from pathlib import Path

import pytest
from command_line import result_in as result
from command_line import run_in as run

from retune.store import FeatureStore, find_run

pytestmark = pytest.mark.e2e

#: 60 images, a tiny backbone, a `label` run of finetune and a `joint` one of analytic;
#: written by the commit before runs listed their images.
_KEPT = Path(__file__).parents[1] / "store" / "store-with-runs.tar.xz"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(_KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


_STORE = ("--store", "store-with-runs")


def test_it_is_told_of_and_queried(workspace: Path) -> None:
    told = result(workspace, "status", *_STORE)
    assert [row["scenario"] for row in told["runs"]] == ["joint", "label"]
    query = "SELECT count(embedding) AS n FROM image_features"
    assert result(workspace, "sql", query, *_STORE) == [{"n": 60}]
    assert run(workspace, "verify", *_STORE).returncode == 0


def test_its_runs_are_evaluated_compared_and_reported(workspace: Path) -> None:
    evaluated = result(workspace, "evaluate", "latest", *_STORE)
    query = (
        "SELECT value FROM metrics WHERE metric = 'macro_auroc' AND split = 'test' "
        "AND task = 1 AND finding IS NULL AND run_id = (SELECT max(run_id) FROM runs)"
    )
    (recorded,) = result(workspace, "sql", query, *_STORE)
    assert evaluated["macro_auroc"][0] == pytest.approx(recorded["value"])
    assert evaluated["n_images_of_training_patients"] == 0
    rows = result(workspace, "sql", "SELECT run_id FROM runs ORDER BY run_id", *_STORE)
    compared = run(workspace, "compare", *(row["run_id"] for row in rows), *_STORE)
    assert compared.returncode == 0, compared.stderr
    assert "from before runs kept their images" in compared.stdout
    reported = run(workspace, "report", "--out", "report.html", *_STORE)
    assert reported.returncode == 0, reported.stderr


def test_new_runs_join_the_old_ones(workspace: Path) -> None:
    state = find_run(FeatureStore(workspace / "store-with-runs"), "latest").run_id
    made = result(
        workspace,
        "train", "--scenario", "joint", "--method", "analytic", "--no-bounds",
        *_STORE,
    )  # fmt: skip
    again = result(workspace, "evaluate", made["run_id"], *_STORE)
    assert again["macro_auroc"] == made["macro_auroc"]
    twice = run(
        workspace, "train", "--scenario", "joint", "--continue", state, "--no-bounds",
        *_STORE,
    )  # fmt: skip
    assert twice.returncode == 4
    assert "count twice" in twice.stderr
