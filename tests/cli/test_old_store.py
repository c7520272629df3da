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
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("old")
    with tarfile.open(_KEPT) as archive:
        archive.extractall(folder, filter="data")
    return folder


_STORE = ("--store", "store-with-runs")


def test_it_is_told_of_and_queried(place: Path) -> None:
    told = result(place, "status", *_STORE)
    assert [row["scenario"] for row in told["runs"]] == ["joint", "label"]
    query = "SELECT count(embedding) AS n FROM image_features"
    assert result(place, "sql", query, *_STORE) == [{"n": 60}]
    assert run(place, "verify", *_STORE).returncode == 0


def test_its_runs_are_evaluated_compared_and_reported(place: Path) -> None:
    found = result(place, "evaluate", "latest", *_STORE)
    query = (
        "SELECT value FROM metrics WHERE metric = 'macro_auroc' AND split = 'test' "
        "AND task = 1 AND finding IS NULL AND run_id = (SELECT max(run_id) FROM runs)"
    )
    (recorded,) = result(place, "sql", query, *_STORE)
    assert found["macro_auroc"][0] == pytest.approx(recorded["value"])
    assert found["n_images_of_training_patients"] == 0
    rows = result(place, "sql", "SELECT run_id FROM runs ORDER BY run_id", *_STORE)
    compared = run(place, "compare", *(row["run_id"] for row in rows), *_STORE)
    assert compared.returncode == 0, compared.stderr
    assert "from before runs kept their images" in compared.stdout
    reported = run(place, "report", "--out", "report.html", *_STORE)
    assert reported.returncode == 0, reported.stderr


def test_new_runs_join_the_old_ones(place: Path) -> None:
    state = find_run(FeatureStore(place / "store-with-runs"), "latest").run_id
    made = result(
        place, "train", "--scenario", "joint", "--method", "analytic", "--no-bounds",
        *_STORE,
    )  # fmt: skip
    again = result(place, "evaluate", made["run_id"], *_STORE)
    assert again["macro_auroc"] == made["macro_auroc"]
    twice = run(
        place, "train", "--scenario", "joint", "--continue", state, "--no-bounds",
        *_STORE,
    )  # fmt: skip
    assert twice.returncode == 4
    assert "count twice" in twice.stderr
