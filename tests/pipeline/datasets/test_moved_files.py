"""Images of public datasets are found by their names, and no other file is taken."""

import os
import stat
import unicodedata
from pathlib import Path

import pytest

from retune.pipeline.datasets.ingest import IngestPlan, read_dataset
from retune.pipeline.datasets.moved_files import find_moved, moved_note
from retune.pipeline.datasets.tables.listing import Listing

_NIH = "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Sex"
_CHEXPERT = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,"
    "Cardiomegaly,Lung Opacity,Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,"
    "Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
_PADCHEST = (
    "ImageID,ImageDir,StudyID,PatientID,PatientBirth,PatientSex_DICOM,Projection,"
    "MethodLabel,Labels"
)


def _put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def _nih(root: Path, *names: str) -> IngestPlan:
    rows = [f"{name},No Finding,0,{n},50,M" for n, name in enumerate(names)]
    (root / "Data_Entry_2017_v2020.csv").write_text("\n".join([_NIH, *rows, ""]))
    return read_dataset(root)


def _paths(plan: IngestPlan) -> list[str]:
    return plan.images["path"].to_pylist()


@pytest.mark.parametrize(
    "folder",
    ["", "CXR8/images/images_001/images/", "images/images_001/images/", "IMAGES/x/"],
)
def test_nih_is_found_in_folders_that_no_mirror_is_known_for(
    tmp_path: Path, folder: str
) -> None:
    _put(tmp_path, f"{folder}a.png", f"{folder}b.png")
    plan = _nih(tmp_path, "a.png", "b.png")
    assert _paths(plan) == [f"{folder}a.png", f"{folder}b.png"]
    # Ids do not depend on where the files lie.
    assert plan.images["image_id"].to_pylist() == [
        "nih/images/a.png",
        "nih/images/b.png",
    ]
    told = f"2 of 2 images were found by their names in {folder or './'}"
    assert [one for one in plan.warnings if "images" in one] == [told]


@pytest.mark.parametrize("form", [".jpg", ".JPEG", ".dcm", ".PNG", ""])
def test_another_form_of_the_file_counts(tmp_path: Path, form: str) -> None:
    _put(tmp_path, f"small/a{form}")
    assert find_moved(tmp_path, ["images/a.png"], [0]) == {0: f"small/a{form}"}


def test_chexpert_needs_as_much_of_the_path_as_tells_images_apart(
    tmp_path: Path,
) -> None:
    names = [f"train/patient0000{n}/study1/view1_frontal" for n in (1, 2)]
    rows = [f"CheXpert-v1.0-small/{name}.jpg,Male,50,Frontal,AP,1.0" + 13 * ","
            for name in names]  # fmt: skip
    (tmp_path / "train.csv").write_text("\n".join([_CHEXPERT, *rows, ""]))
    _put(tmp_path, "png/patient00002/study1/view1_frontal.png")
    _put(tmp_path, "patient00009/study1/view1_frontal.png")
    plan = read_dataset(tmp_path, "chexpert")
    assert _paths(plan)[1] == "png/patient00002/study1/view1_frontal.png"
    assert not (tmp_path / _paths(plan)[0]).exists()


@pytest.mark.parametrize("folder", ["{}.zip/", "sjn/{}/", "images-224/", "{0}/{0}/"])
def test_padchest_is_found_where_its_archives_were_unpacked(
    tmp_path: Path, folder: str
) -> None:
    rows = [f"{n}.png,{n},s{n},p{n},1950,M,PA,Physician,\"['normal']\""
            for n in range(3)]  # fmt: skip
    table = tmp_path / "PADCHEST_chest_x_ray_images_labels_160K_01.02.19.csv"
    table.write_text("\n".join([_PADCHEST, *rows, ""]))
    paths = [f"{folder.format(n)}{n}.png" for n in range(3)]
    _put(tmp_path, *paths)
    assert _paths(read_dataset(tmp_path)) == paths


def test_what_two_files_could_be_stays_missing(tmp_path: Path) -> None:
    _put(tmp_path, "x/a.jpg", "y/a.jpg")
    assert find_moved(tmp_path, ["images/a.png"], [0]) == {}
    _put(tmp_path, "z/a.png")  # the one in the form that the table says
    assert find_moved(tmp_path, ["images/a.png"], [0]) == {0: "z/a.png"}


@pytest.mark.parametrize(
    "folder", ["masks", "heat_map", "Annotations", "BBox", "x/Mask"]
)
def test_masks_and_the_like_are_no_images(tmp_path: Path, folder: str) -> None:
    _put(tmp_path, f"{folder}/a.png")
    assert find_moved(tmp_path, ["images/a.png"], [0]) == {}


def test_a_file_that_is_another_rows_stays_with_it(tmp_path: Path) -> None:
    _put(tmp_path, "images/a.png")
    plan = _nih(tmp_path, "a.png", "A.png")
    assert _paths(plan) == ["images/a.png", "images/A.png"]
    assert any(one.startswith("1 of 2 images are not in") for one in plan.warnings)


def test_links_pipes_and_names_with_control_characters_are_left_out(
    tmp_path: Path,
) -> None:
    root = tmp_path / "root"
    _put(root, "odd\x1b[2J/a.png", "odd\n/c.png", "._b.png")
    _put(tmp_path, "secret/b.png")
    (root / "linked").symlink_to("../secret")
    (root / "b.png").symlink_to("../secret/b.png")
    (root / "loop").symlink_to(".")
    os.mkfifo(root / "d.png")
    paths = [f"images/{name}.png" for name in "abcd"]
    assert find_moved(root, paths, [0, 1, 2, 3]) == {}


def test_accents_count_alike_however_the_disk_composes_them(tmp_path: Path) -> None:
    composed, apart = (unicodedata.normalize(f, "größe.png") for f in ("NFC", "NFD"))
    _put(tmp_path, f"x/{apart}")
    assert find_moved(tmp_path, [composed], [0]) == {0: f"x/{apart}"}


def test_tables_of_ones_own_mean_the_paths_that_they_say(
    tmp_path: Path, write_table
) -> None:
    write_table("t.csv", "path,patient_id,Edema", ["images/a.png,1,1"])
    _put(tmp_path, "elsewhere/a.png")
    plan = read_dataset(tmp_path)
    assert plan.warnings[-1] == "1 of 1 image files is not there: images/a.png"


def test_folders_that_may_not_be_listed_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests may run as root, for whom rights do not count."""
    _put(tmp_path, "open/a.png", "shut/b.png")
    original = os.scandir

    def scandir(path: str | os.PathLike[str] = ".") -> object:
        if os.fspath(path).rstrip("/").endswith("shut"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return original(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert find_moved(tmp_path, ["a.png", "b.png"], [0, 1]) == {0: "open/a.png"}
    # It may be entered all the same: a file whose path is known is asked for.
    assert Listing(tmp_path).find("shut/b.png") == "shut/b.png"
    assert stat.S_ISDIR((tmp_path / "shut").stat().st_mode)


def test_the_note_names_a_few_folders() -> None:
    note = moved_note([f"{n}/a{n}.png" for n in range(5)], 9)
    assert note.endswith("in 0/, 1/, 2/ and 2 more folders")
