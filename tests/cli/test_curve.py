"""`retune-cli curve` on a small store."""

import csv
import io
import json
from pathlib import Path

import pytest
from command_line import Result, run_command
from image_samples import write_dataset, write_tiny_backbone

from retune.store import FeatureStore

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("curve")
    write_dataset(folder / "data", 120)
    write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "data", "--layout", "table"),
        ("embed", "--backbone", f"local-dir:{folder / 'tiny'}"),
    ):
        done = run_command(*command, "--store", "store", "--quiet", cwd=folder)
        assert done.returncode == 0, done.stderr
    return folder


def curve(workspace: Path, *more: object) -> Result:
    return run_command(
        "curve", "--shots", "4,all", "--seeds", 2, "--methods",
        "zero-shot,analytic,logistic-regression", "--min-positives", 1, *more,
        "--store", "store", cwd=workspace,
    )  # fmt: skip


def test_a_curve_is_printed_drawn_and_entered(workspace: Path) -> None:
    done = curve(workspace, "--plot", "c.svg")
    assert done.returncode == 0, done.stderr
    for name, lines in (("zero-shot", 1), ("analytic", 2), ("logistic-", 2)):
        assert sum(x.startswith(name) for x in done.stdout.splitlines()) == lines
    assert "training patients" in (workspace / "c.svg").read_text()
    store = FeatureStore(workspace / "store")
    (counts,) = store.sql(
        """SELECT count(*) FILTER (finding IS NULL), count(DISTINCT finding),
        count(*) FILTER (ci_low <= value AND value <= ci_high) FROM curves"""
    ).fetchall()
    assert counts[0] == counts[2] == 5
    curve_json = json.loads(curve(workspace, "--json").stdout)
    assert [one["n_patients"] for one in curve_json["points"][:2]] == [0, 4]
    assert len(curve_json["findings"]) == counts[1]
    rows = list(csv.DictReader(io.StringIO(curve(workspace, "--csv").stdout)))
    assert [float(row["auroc"]) for row in rows] == [
        pytest.approx(one["auroc"]) for one in curve_json["points"]
    ]


def test_an_older_store_gains_the_table(workspace: Path) -> None:
    store = FeatureStore(workspace / "store")
    store.sql("DROP TABLE curves", write=True)
    assert curve(workspace, "--quiet").returncode == 0
    assert store.sql("SELECT count(*) FROM curves").fetchall()[0][0] > 0


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--shots", "few"), "'few' is not a number of patients"),
        (("--shots", "100000"), "there are no 100000 training patients"),
        (("--methods", "nobody"), "nobody"),
        (("--plot", "c.txt"), "a figure ends in"),
        (("--json", "--csv"), "exclude each other"),
        (("--min-positives", "999"), "no finding has 999 positive"),
    ],
)
def test_what_cannot_be_is_said(
    workspace: Path, more: tuple[object, ...], said: str
) -> None:
    done = curve(workspace, *more)
    assert (done.returncode, said in done.stderr) == (2, True) or (
        done.returncode not in (0, 1) and said in done.stderr
    ), done.stderr
    assert "Traceback" not in done.stderr
