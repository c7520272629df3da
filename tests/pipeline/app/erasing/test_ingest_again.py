"""Whoever was erased does not come back by the next ingest, and commands say so."""

import json
from pathlib import Path

import pytest
from command_line import result_in as result
from command_line import run_in as run
from image_samples import write_dataset

pytestmark = pytest.mark.e2e


@pytest.fixture
def place(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", 24)
    done = run(tmp_path, "ingest", "data", "--layout", "table", "--dataset", "ward")
    assert done.returncode == 0, done.stderr
    return tmp_path


def _patients(place: Path) -> list[str]:
    rows = result(place, "sql", "SELECT DISTINCT patient_id FROM images ORDER BY 1")
    return [row["patient_id"] for row in rows]


def test_an_erased_patient_stays_out_until_somebody_says_so(place: Path) -> None:
    (first, *others) = _patients(place)
    gone = result(place, "forget", first, "--by", "dpo", "--yes")
    assert gone["n_patients"] == 1
    assert _patients(place) == others
    again = run(place, "ingest", "data", "--layout", "table", "--dataset", "ward")
    assert again.returncode == 0
    assert "who were erased are left out" in again.stderr
    assert "labels are as before" in again.stdout
    assert _patients(place) == others
    back = run(
        place, "ingest", "data", "--layout", "table", "--dataset", "ward", "--un-forget"
    )
    assert back.returncode == 0
    assert _patients(place) == [first, *others]


def test_a_receipt_is_verified_on_the_command_line(place: Path) -> None:
    gone = result(place, "forget", _patients(place)[0])
    clean = run(place, "verify", "--erased", gone["receipt"])
    assert (clean.returncode, "nothing was found" in clean.stdout) == (0, True)
    assert run(place, "verify").returncode == 0
    by_id = result(place, "verify", "--erased", gone["erasure_id"])
    assert by_id["clean"]
    receipt = json.loads((place / gone["receipt"]).read_text())
    (place / gone["receipt"]).write_text(json.dumps(receipt | {"notes": ["x"]}))
    changed = run(place, "verify", "--erased", gone["receipt"])
    assert (changed.returncode, "was changed" in changed.stdout) == (3, True)


def test_wrong_ids_and_receipts_are_told(place: Path) -> None:
    for arguments in (
        ("forget", "nobody"),
        ("forget",),
        ("forget", "--where", "no such column = 1"),
        ("verify", "--erased", "nothing"),
        ("state", "latest", "--of-patient", "nobody", "--out", "x.safetensors"),
    ):
        done = run(place, *arguments)
        assert done.returncode in (2, 3), arguments
        assert "Error:" in done.stderr
        assert "Traceback" not in done.stderr
