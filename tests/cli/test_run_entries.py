"""`runs`, `sql --csv`, `--version` and what `status` says is left."""

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import result_in, run_command, run_in
from store_samples import filled_store

from retune.store import FeatureStore, Run, record_run
from retune.store.catalog import utc_now

pytestmark = pytest.mark.e2e


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A folder with a store of twelve runs."""
    store = filled_store(tmp_path / "feature-store")
    (row,) = store.sql("SELECT fingerprint FROM encoders").fetchall()
    for number in range(12):
        run_id = f"20260101-0000{number:02d}-aaaaaa-0000"
        record_run(
            store,
            Run(
                run_id, row[0], "label", "finetune", 0, "{}", utc_now(), 1.0, "finished"
            ),
            [],
        )
    return tmp_path


def test_all_runs_are_listed_newest_first(workspace: Path) -> None:
    rows = result_in(workspace, "runs")
    assert [row["run_id"][13:15] for row in rows] == [
        f"{n:02d}" for n in range(11, -1, -1)
    ]
    assert "20260101-000000" in run_in(workspace, "runs").stdout


def test_a_run_is_found_by_its_name_everywhere(workspace: Path) -> None:
    done = run_in(workspace, "runs", "rename", "latest", "baseline")
    assert "is called baseline" in done.stdout
    assert result_in(workspace, "runs")[0]["name"] == "baseline"
    assert "baseline" in run_in(workspace, "status").stdout
    tagged = run_in(
        workspace, "runs", "tag", "baseline", "20260101-000003", "--add", "a,b"
    )
    assert tagged.returncode == 0, tagged.stderr
    assert len(result_in(workspace, "runs", "--tag", "a")) == 2
    run_in(workspace, "runs", "tag", "baseline", "--remove", "a")
    assert len(result_in(workspace, "runs", "--tag", "a")) == 1
    assert "has no name" in run_in(workspace, "runs", "rename", "baseline").stdout


def test_deleting_asks_first(workspace: Path) -> None:
    refused = run_command("runs", "delete", "latest", cwd=workspace, stdin="n\n")
    assert refused.returncode == 1
    assert "Traceback" not in refused.stderr
    assert len(result_in(workspace, "runs")) == 12
    done = run_command("runs", "delete", "latest", cwd=workspace, stdin="y\n")
    assert done.returncode == 0, done.stderr
    assert len(result_in(workspace, "runs")) == 11


def test_one_wrong_name_deletes_nothing(workspace: Path) -> None:
    done = run_in(workspace, "runs", "delete", "latest", "nobody", "--yes")
    assert done.returncode == 2
    assert "'nobody' means 0 runs" in done.stderr
    assert len(result_in(workspace, "runs")) == 12
    run_in(workspace, "runs", "delete", "latest", "latest", "--yes")
    assert len(result_in(workspace, "runs")) == 11


def test_tagging_needs_a_tag(workspace: Path) -> None:
    assert run_in(workspace, "runs", "tag", "latest").returncode == 2
    done = run_in(workspace, "runs", "tag", "latest", "--add", "a/b")
    assert (done.returncode, "cannot be a run's tag" in done.stderr) == (2, True)


def test_a_store_without_runs_says_so(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "feature-store")
    assert run_in(tmp_path, "runs").stdout == "no runs\n"
    assert result_in(tmp_path, "runs") == []


def test_status_says_how_many_runs_there_are(workspace: Path) -> None:
    assert "runs: the last 10 of 12" in run_in(workspace, "status").stdout
    status = result_in(workspace, "status")
    assert (len(status["runs"]), status["n_runs"]) == (10, 12)


def test_status_says_what_is_not_yet_encoded(workspace: Path) -> None:
    assert "not yet encoded: none" in run_in(workspace, "status").stdout
    store = FeatureStore(workspace / "feature-store")
    store.sql("UPDATE images SET content_digest = NULL WHERE view = 'PA'", write=True)
    (row,) = result_in(workspace, "status")["not yet encoded"]
    assert (row["backbone"], row["dataset"], row["images"]) == ("sample", "d", 5)


def test_csv_has_every_row_and_no_words_for_nothing(workspace: Path) -> None:
    query = (
        "SELECT image_id, study_id, embedding, 1.5 AS x, 'a,\"b' AS t, "
        "TIMESTAMP '2026-01-02 03:04:05' AS at FROM image_features ORDER BY 1"
    )
    done = run_in(workspace, "sql", query, "--csv")
    assert done.returncode == 0, done.stderr
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert len(rows) == 10
    assert (rows[0]["study_id"], rows[0]["x"], rows[0]["t"]) == ("", "1.5", 'a,"b')
    assert rows[0]["at"] == "2026-01-02T03:04:05"
    assert len(json.loads(rows[0]["embedding"])) == 8
    assert run_in(workspace, "sql", query, "--csv", "--json").returncode == 2


def test_the_version_is_told() -> None:
    from importlib.metadata import version

    done = run_command("--version")
    assert (done.returncode, done.stdout) == (
        0,
        f"retune-cli {version('retune-cli')}\n",
    )
