"""A structured report says what `predict` says, by highdicom's own reading."""

import shutil
import subprocess
from pathlib import Path

import pytest
from command_line import result_in, run_in
from hospital_samples import made_up_studies, write_hospital
from image_samples import write_tiny_backbone
from pydicom import dcmread

from retune.pipeline.app.predicting.dicom_report import LABEL

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sr")
    studies = made_up_studies("N", 40, ["202601"])
    write_hospital(folder / "ris", studies)
    for number, study in enumerate(studies):
        file = folder / "ris/Bilder" / study.name
        image = dcmread(file)
        image.StudyInstanceUID, image.SeriesInstanceUID = "1.2.3.4", "1.2.3.4.5"
        image.SOPInstanceUID = f"1.2.3.{number + 1}"
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.StudyTime = image.StudyID = image.AccessionNumber = ""
        image.PatientSex, image.ReferringPhysicianName = "F", ""
        image.save_as(file)
    backbone = write_tiny_backbone(folder / "tiny")
    for command in (
        ("ingest", "ris"),
        ("embed", "--backbone", backbone),
        ("train", "--scenario", "joint", "--method", "analytic", "--no-bounds"),
    ):
        done = run_in(folder, *command, "--quiet")
        assert done.returncode == 0, done.stderr
    return folder


def test_a_report_says_what_the_table_says(workspace: Path, tmp_path: Path) -> None:
    highdicom = pytest.importorskip("highdicom")
    image = workspace / "ris/Bilder/N000003.DCM"
    arguments = ("predict", "latest", image, "--sr", tmp_path / "sr")
    (told,) = result_in(workspace, *arguments)
    (file,) = (tmp_path / "sr").iterdir()
    assert file.name == "1.2.3.4.sr.dcm"
    report = highdicom.sr.srread(file)
    assert report.SeriesDescription == LABEL
    flags = (report.CompletionFlag, report.PreliminaryFlag, report.VerificationFlag)
    assert flags == ("PARTIAL", "PRELIMINARY", "UNVERIFIED")
    assert (report.StudyInstanceUID, report.PatientID) == ("1.2.3.4", "SECRET-4711")
    groups = report.content.get_image_measurement_groups()
    assert len(groups) == len(told["probabilities"])
    for group in groups:
        finding = group.finding_type.meaning
        values = {one.name.value: one.value for one in group.get_measurements()}
        known = (told["probabilities"], told["thresholds"], told["uncertainties"])
        names = ("probability", "threshold", "uncertainty")
        for name, one in zip(names, known, strict=True):
            assert values[name] == pytest.approx(one[finding], abs=1e-6)
        answers = {
            one.name.value: one.value.meaning
            for one in group.get_qualitative_evaluations()
        }
        called = finding in told["called"]
        assert answers["decision"] == ("Yes" if called else "No")
        assert answers["unlike"] == ("Yes" if told["out_of_distribution"] else "No")
    assert "not for diagnosis" in str(report)
    again = file.read_bytes()
    result_in(workspace, *arguments)
    assert dcmread(file).SOPInstanceUID == report.SOPInstanceUID
    assert len(file.read_bytes()) == len(again)
    _check_by_dciodvfy(file)


def _check_by_dciodvfy(file: Path) -> None:
    """The rules of DICOM, where dicom3tools is installed."""
    if shutil.which("dciodvfy"):
        done = subprocess.run(
            ["dciodvfy", file], capture_output=True, text=True, check=False
        )
        assert "Error" not in done.stderr, done.stderr


def test_what_is_no_dicom_is_told(workspace: Path, tmp_path: Path) -> None:
    pytest.importorskip("highdicom")
    from PIL import Image

    Image.linear_gradient("L").save(tmp_path / "a.png")
    done = run_in(
        workspace, "predict", "latest", tmp_path / "a.png", "--csv", "--sr",
        tmp_path / "sr",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "1 image has no report" in done.stderr
    assert "it is no DICOM file" in done.stderr
    assert not list((tmp_path / "sr").iterdir())
