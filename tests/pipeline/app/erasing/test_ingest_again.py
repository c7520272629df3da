"""Whoever was erased does not come back by the next ingest, and commands say so."""

import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from command_line import result_in as result
from command_line import run_in as run
from image_samples import write_dataset

from retune.pipeline.app.erasing.returning import keep_erased_out
from retune.pipeline.datasets.ingest import read_dataset
from retune.store import FeatureStore

pytestmark = pytest.mark.e2e


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", 24)
    done = run(tmp_path, "ingest", "data", "--layout", "table", "--dataset", "ward")
    assert done.returncode == 0, done.stderr
    return tmp_path


def _patients(workspace: Path) -> list[str]:
    rows = result(workspace, "sql", "SELECT DISTINCT patient_id FROM images ORDER BY 1")
    return [row["patient_id"] for row in rows]


def test_an_erased_patient_stays_out_until_somebody_says_so(workspace: Path) -> None:
    (first, *others) = _patients(workspace)
    gone = result(workspace, "forget", first, "--by", "dpo", "--yes")
    assert gone["n_patients"] == 1
    assert _patients(workspace) == others
    again = run(workspace, "ingest", "data", "--layout", "table", "--dataset", "ward")
    assert again.returncode == 0
    assert "who were erased are left out" in again.stderr
    assert "labels are as before" in again.stdout
    assert _patients(workspace) == others
    back = run(
        workspace,
        "ingest",
        "data",
        "--layout",
        "table",
        "--dataset",
        "ward",
        "--un-forget",
    )
    assert back.returncode == 0
    assert _patients(workspace) == [first, *others]


def test_a_receipt_is_verified_on_the_command_line(workspace: Path) -> None:
    gone = result(workspace, "forget", _patients(workspace)[0])
    clean = run(workspace, "verify", "--erased", gone["receipt"])
    assert (clean.returncode, "nothing was found" in clean.stdout) == (0, True)
    assert run(workspace, "verify").returncode == 0
    by_id = result(workspace, "verify", "--erased", gone["erasure_id"])
    assert by_id["clean"]
    receipt = json.loads((workspace / gone["receipt"]).read_text())
    (workspace / gone["receipt"]).write_text(json.dumps(receipt | {"notes": ["x"]}))
    changed = run(workspace, "verify", "--erased", gone["receipt"])
    assert (changed.returncode, "was changed" in changed.stdout) == (3, True)


def test_wrong_ids_and_receipts_are_told(workspace: Path) -> None:
    for arguments in (
        ("forget", "nobody"),
        ("forget",),
        ("forget", "--where", "no such column = 1"),
        ("verify", "--erased", "nothing"),
        ("state", "latest", "--of-patient", "nobody", "--out", "x.safetensors"),
    ):
        done = run(workspace, *arguments)
        assert done.returncode in (2, 3), arguments
        assert "Error:" in done.stderr
        assert "Traceback" not in done.stderr


def test_further_columns_of_those_who_stay_keep_their_rows(workspace: Path) -> None:
    (first, *_) = _patients(workspace)
    result(workspace, "forget", first)
    plan = read_dataset(workspace / "data", "table", dataset="ward")
    names = plan.images.column("patient_id")
    detailed = replace(plan, details=pa.table({"ward": names}))
    store = FeatureStore(workspace / "feature-store")
    plan_rows = keep_erased_out(store, detailed, None, un_forget=False).plan.rows
    assert first not in plan_rows["ward"].to_pylist()
    assert plan_rows["ward"].to_pylist() == plan_rows["patient_id"].to_pylist()
