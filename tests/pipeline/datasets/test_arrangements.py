"""Images are found in whatever folder and form each of them lies, by their names."""

import os
import unicodedata
from pathlib import Path

import pyarrow as pa
import pytest

from retune.pipeline.datasets.arrangements import choose_arrangement
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.datasets.tables.listing import Listing
from retune.store.errors import DatasetError

NFC, NFD = (unicodedata.normalize(form, "Müller/größe.png") for form in ("NFC", "NFD"))


def _put(root: Path, *paths: str) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(b"")


def _choose(root: Path, *ways: list[str]) -> list[str]:
    return choose_arrangement(root, [pa.array(way) for way in ways]).to_pylist()


def test_each_image_is_taken_where_it_is(tmp_path: Path) -> None:
    _put(tmp_path, "a.dcm", "png/b.png")
    chosen = _choose(tmp_path, ["a.dcm", "b.dcm"], ["png/a.png", "png/b.png"])
    assert chosen == ["a.dcm", "png/b.png"]


def test_in_two_forms_the_one_with_more_images_counts(tmp_path: Path) -> None:
    _put(tmp_path, "a.dcm", "a.png", "b.png")
    ways = ["a.dcm", "b.dcm", "c.dcm"], ["a.png", "b.png", "c.png"]
    assert _choose(tmp_path, *ways) == ["a.png", "b.png", "c.png"]


def test_where_none_is_there_the_first_way_is_named(tmp_path: Path) -> None:
    assert _choose(tmp_path, ["a.dcm"], ["a.png"]) == ["a.dcm"]


def test_twenty_png_files_of_a_large_table_are_found(
    tmp_path: Path, write_table
) -> None:
    ids = [f"{i * 2654435761 % 2**32:032x}" for i in range(1_500)]
    header = "image_id,class_name,class_id,rad_id,x_min,y_min,x_max,y_max"
    write_table("train.csv", header, [f"{i},No finding,14,R1,,,," for i in ids])
    _put(tmp_path, *(f"train/{name}.png" for name in ids[101:121]))
    plan = read_dataset(tmp_path)
    paths = plan.images["path"].to_pylist()
    assert paths[101:121] == [f"train/{name}.png" for name in ids[101:121]]
    assert plan.warnings[-1].startswith("1,480 of 1,500 image files are not there")


@pytest.mark.parametrize(("written", "on_disk"), [(NFC, NFD), (NFD, NFC), (NFC, NFC)])
def test_accents_may_be_composed_or_not(
    tmp_path: Path, write_table, written: str, on_disk: str
) -> None:
    write_table("t.csv", "path,patient_id,Edema", [f"{written},1,1"])
    _put(tmp_path, on_disk)
    plan = read_dataset(tmp_path, dataset="d")
    assert plan.warnings == ()
    assert plan.images["path"].to_pylist() == [on_disk]
    assert plan.images["image_id"].to_pylist() == [f"d/{written}"]


def test_two_spellings_of_one_file_are_two_rows_of_one_image(
    tmp_path: Path, write_table
) -> None:
    write_table("t.csv", "path,patient_id,Edema", [f"{NFC},1,1", f"{NFD},1,0"])
    _put(tmp_path, NFC)
    with pytest.raises(DatasetError, match="1 row lists an image that was listed"):
        read_dataset(tmp_path)


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A dataset whose images lie behind a link to elsewhere."""
    root = tmp_path / "root"
    _put(tmp_path, "elsewhere/a.png")
    root.mkdir()
    (root / "t.csv").write_text("path,patient_id,Edema\nimages/a.png,1,1\n")
    return root


@pytest.mark.parametrize("link_type", ["folder", "file"])
def test_a_link_that_leaves_the_root_is_refused_unless_followed(
    linked: Path, link_type: str
) -> None:
    if link_type == "folder":
        (linked / "images").symlink_to("../elsewhere")
    else:
        (linked / "images").mkdir()
        (linked / "images" / "a.png").symlink_to("../../elsewhere/a.png")
    with pytest.raises(DatasetError, match="is a link that leaves") as caught:
        read_dataset(linked)
    assert "`follow_links`" in caught.value.hint
    plan = read_dataset(linked, follow_links=True)
    assert plan.images["path"].to_pylist() == ["images/a.png"]
    assert plan.warnings == ()


def test_a_link_inside_the_root_is_followed(linked: Path) -> None:
    _put(linked, "store/a.png")
    (linked / "images").symlink_to("store")
    assert read_dataset(linked).warnings == ()


def test_links_that_lead_nowhere_or_in_a_circle_are_missing_files(
    linked: Path,
) -> None:
    (linked / "images").mkdir()
    (linked / "images" / "a.png").symlink_to("a.png")
    assert "is not there" in read_dataset(linked).warnings[0]


def test_a_table_behind_a_link_that_leaves_the_root_is_refused(
    linked: Path, tmp_path: Path
) -> None:
    (linked / "t.csv").rename(tmp_path / "t.csv")
    (linked / "t.csv").symlink_to(tmp_path / "t.csv")
    with pytest.raises(DatasetError, match=r"t\.csv is a link that leaves"):
        read_dataset(linked)
    assert read_dataset(linked, follow_links=True).layout == "table"


def test_a_pipe_is_no_image(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.png")
    assert Listing(tmp_path).find("a.png") is None


def test_names_that_no_file_can_have_are_not_there(tmp_path: Path) -> None:
    listing = Listing(tmp_path)
    for path in ("", ".", "..", "a/../b", "x" * 5_000, "a\0b", "a/" * 2_000 + "b"):
        assert listing.find(path) is None
