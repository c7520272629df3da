"""A hospital's year through the command line: its table, its nights, an erasure."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from command_line import Result, result_in, run_in
from erasure_samples import bytes_of
from hospital_samples import Study, made_up_studies, write_hospital

from retune.pipeline.learn.runs.saved_model import load_model
from retune.store import content_digest

pytestmark = pytest.mark.e2e

_TRAIN = ("train", "--scenario", "joint", "--method", "analytic", "--no-bounds")
_DRIFT = ("drift", "--by", "month", "--reference", "acquired_at < '2026-02-01'")
_NIGHT = """\
store: north/feature-store
folder: north/nights
prometheus: north/retune.prom
ingest:
  - {root: north/ris, dates_from_dicom: true, dataset: north}
embed: {backbone: mini}
predict: {run: latest}
drift: {by: month, reference: "acquired_at < '2026-02-01'", fail_above: 0.6}
"""


def _done(folder: Path, *arguments: object, code: int = 0) -> Result:
    done = run_in(folder, *arguments)
    assert done.returncode == code, done.stderr + done.stdout
    return done


def _encoded(folder: Path, name: str) -> None:
    """Ingest and encode in a hospital."""
    store = ("--store", f"{name}/feature-store")
    root = ("ingest", f"{name}/ris", "--dataset", name)
    done = _done(folder, *root, "--dates-from-dicom", "--quiet", *store)
    assert (done.stdout, done.stderr) == ("", "")
    _done(folder, "embed", "--backbone", "mini", "--quiet", *store)


def _learned(folder: Path, name: str) -> str:
    """Learn in a hospital; gives the run."""
    store = ("--store", f"{name}/feature-store")
    return str(result_in(folder, *_TRAIN, *store)["run_id"])


def _learned_without(folder: Path, gone: Study, north: list[Study]) -> str:
    """Learn in the second hospital from a table that never had a patient.

    Its vectors are those of the first time: encoding in other batches may round
    otherwise.
    """
    stayed = [study for study in north if study is not gone]
    write_hospital(folder / "anew/ris", stayed, images_of=folder / "north/ris")
    _done(
        folder, "ingest", "anew/ris", "--dataset", "north", "--moved", "--quiet",
        "--store", "anew/feature-store",
    )  # fmt: skip
    return _learned(folder, "anew")


def _merged(folder: Path, name: str, run: str, carried: str) -> str:
    """Merge a run of a hospital with the state that another one sent."""
    store = ("--store", f"{name}/feature-store")
    merged = result_in(folder, "merge", run, carried, "--no-bounds", *store)
    return str(merged["run_id"])


def _same_weights(folder: Path, one: str, other: str) -> None:
    """Two models, told by their folders below `folder`, to 1e-9 of their size."""
    mine, theirs = (load_model(folder / run).model.state_dict() for run in (one, other))
    assert mine.keys() == theirs.keys()
    for name in ("weight", "intercept", "slope", "offset"):
        scale = float(theirs[name].abs().max()) + 1e-30
        assert float((mine[name] - theirs[name]).abs().max()) / scale < 1e-9, name
    assert all(torch.isfinite(value).all() for value in mine.values())


def _traces(folder: Path, gone: Study) -> list[bytes]:
    """By which bytes a file could tell of a patient."""
    pixels = content_digest((folder / "north/ris/Bilder" / gone.name).read_bytes())
    (image,) = result_in(
        folder, "sql",
        f"SELECT embedding FROM image_features WHERE patient_id = '{gone.patient}'",
        "--store", "north/feature-store",
    )  # fmt: skip
    vector = torch.tensor(image["embedding"], dtype=torch.float16).numpy()
    names = (gone.patient, gone.name, pixels)
    return [*(name.encode() for name in names), vector.astype("<f2").tobytes()]


def _nights(folder: Path) -> None:
    """A night does what is there to do, and the next one has nothing to do."""
    (folder / "night.yaml").write_text(_NIGHT)
    first = _done(folder, "nightly", "night.yaml").stdout
    assert "images predicted 60" in first
    assert "drift alarms 0" in first
    assert "nothing to do" in _done(folder, "nightly", "night.yaml").stdout
    quiet = _done(folder, "nightly", "night.yaml", "--quiet")
    assert (quiet.stdout, quiet.stderr) == ("", "")


def _another_exposure(folder: Path) -> None:
    """From March on the device is set otherwise; the night's drift alarms."""
    later = made_up_studies("N", 40, ["202603"], first=200)
    write_hospital(folder / "north/ris", later, "neu.csv", exposure=2.5)
    store = ("--store", "north/feature-store")
    _done(
        folder, "ingest", "north/ris", "--file", "neu.csv", "--append", "--dataset",
        "north", "--dates-from-dicom", *store,
    )  # fmt: skip
    _done(folder, "embed", "--backbone", "mini", *store)
    done = _done(folder, *_DRIFT, "--fail-above", "0.6", "--json", *store, code=8)
    assert json.loads(done.stdout)["failed"] == ["2026-03"]


def test_a_hospital_runs_it_and_a_patient_leaves(tmp_path: Path) -> None:
    months = ["202601", "202602"]
    write_hospital(tmp_path / "south/ris", made_up_studies("S", 40, months))
    north = made_up_studies("N", 60, months)
    write_hospital(tmp_path / "north/ris", north)
    for hospital in ("south", "north"):
        _encoded(tmp_path, hospital)
    shutil.copytree(tmp_path / "north/feature-store", tmp_path / "anew/feature-store")
    sent = f"south/feature-store/runs/{_learned(tmp_path, 'south')}/state.safetensors"
    own = _learned(tmp_path, "north")
    both = _merged(tmp_path, "north", own, sent)
    _nights(tmp_path)
    _another_exposure(tmp_path)

    split = "SELECT patient_id FROM images WHERE split = 'train' ORDER BY 1 LIMIT 1"
    store = ("--store", "north/feature-store")
    (chosen,) = result_in(tmp_path, "sql", split, *store)
    gone = next(study for study in north if study.patient == chosen["patient_id"])
    traces = _traces(tmp_path, gone)
    places = [tmp_path / "north/feature-store", tmp_path / "north/nights"]
    for trace in traces:
        assert any(trace in one for root in places for one in bytes_of(root).values())
    receipt = result_in(tmp_path, "forget", gone.patient, "--yes", *store)["receipt"]
    _done(tmp_path, "verify", *store)
    _done(tmp_path, "verify", "--erased", receipt, *store)
    for root in places:
        for name, content in bytes_of(root).items():
            assert not [one for one in traces if one in content], (root, name)

    anew = _learned_without(tmp_path, gone, north)
    _same_weights(
        tmp_path,
        f"north/feature-store/runs/{own}",
        f"anew/feature-store/runs/{anew}",
    )
    _same_weights(
        tmp_path,
        f"north/feature-store/runs/{both}",
        f"anew/feature-store/runs/{_merged(tmp_path, 'anew', anew, sent)}",
    )
