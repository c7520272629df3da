"""`retune-cli audit` on a small store."""

import csv
import io
import json
import shutil
from pathlib import Path

import pytest
from command_line import Result, run_command
from image_samples import write_dataset, write_tiny_backbone

from retune.store import FeatureStore

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    write_dataset(folder / "data", 90)
    write_tiny_backbone(folder / "tiny")
    shutil.copytree(folder / "data", folder / "again")
    for command in (
        ("ingest", "data", "--layout", "table", "--dataset", "data"),
        ("ingest", "again", "--layout", "table", "--dataset", "again"),
        ("embed", "--backbone", f"local-dir:{folder / 'tiny'}"),
    ):
        done = run_command(*command, "--store", "store", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def audit(workspace: Path, *more: object) -> Result:
    return run_command("audit", *more, "--store", "store", cwd=workspace)


def test_labels_are_ranked_and_entered(workspace: Path) -> None:
    done = audit(workspace, "labels", "-k", 5, "--json", "--dataset", "data")
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert [one["rank"] for one in answer["labels"]] == [1, 2, 3, 4, 5]
    doubts = [one["disagreement"] for one in answer["labels"]]
    assert doubts == sorted(doubts, reverse=True)
    store = FeatureStore(workspace / "store")
    rows = store.sql(
        f"""SELECT rank, image_id, label_audits.finding, label, labels.state
        FROM label_audits JOIN labels USING (image_id)
        WHERE audit_id = '{answer["audit_id"]}'
        AND labels.finding = label_audits.finding ORDER BY rank"""
    ).fetchall()
    assert len(rows) >= 5
    assert all((state == "positive") == (label == 1) for *_, label, state in rows)
    table = audit(workspace, "labels", "-k", 3, "--csv", "--dataset", "data")
    assert len(list(csv.DictReader(io.StringIO(table.stdout)))) == 3
    shown = audit(workspace, "labels", "-k", 3, "--dataset", "data").stdout
    assert "labels compared" in shown
    assert "in the table label_audits" in shown


def test_copies_are_found_across_datasets(workspace: Path) -> None:
    done = audit(workspace, "duplicates", "-k", 500, "--json", "--threshold", 0.9999)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    names = {
        tuple(sorted((one["first_image_id"], one["second_image_id"])))
        for one in answer["pairs"]
    }
    copies = {(f"again/{a.split('/', 1)[1]}", a) for pair in names for a in pair
              if a.startswith("data/")}  # fmt: skip
    assert copies <= names
    assert answer["n_images"] == 180
    store = FeatureStore(workspace / "store")
    count = store.sql("SELECT count(*) FROM duplicate_audits").fetchall()[0][0]
    assert count == answer["n_pairs"]
    assert "reach a cosine of" in audit(workspace, "duplicates").stdout
    assert audit(workspace, "duplicates", "--csv").stdout.startswith("rank,")


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("labels", "--findings", "Nothing"), "Nothing"),
        (("labels", "--json", "--csv"), "exclude each other"),
        (("duplicates", "--threshold", 3), "--threshold 3 is not between"),
        (("duplicates", "--dataset", "nobody"), "nobody"),
    ],
)
def test_what_cannot_be_is_said(
    workspace: Path, more: tuple[object, ...], said: str
) -> None:
    done = audit(workspace, *more)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
