"""What was given to `predict` becomes a list of images, in order, none lost."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from retune.pipeline.app.predicting.image_sources import (
    ImageSources,
    Source,
    find_images,
)


def _touch(folder: Path, *names: str, content: bytes = b"x") -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def _paths(sources: ImageSources) -> list[str | None]:
    return [sources.path_of(item) for item in sources]


def _errors(sources: ImageSources) -> list[str]:
    """What reading says without decoding; empty where a file would be decoded."""
    preprocess = type("P", (), {"to_pixels": np.asarray, "decode_at_least": 0})()
    reads = [sources.read(item, preprocess) for item in sources]
    return [
        one.failure.error if one.failure and one.failure.stage == "read" else ""
        for one in reads
    ]


def test_a_folder_is_searched_to_the_bottom_and_sorted(tmp_path: Path) -> None:
    _touch(
        tmp_path, "b.PNG", "a.dcm", "deep/er/c.JPEG", "deep/d.tif", "labels.csv",
        "._a.png", ".hidden/e.png",
    )  # fmt: skip
    names = ["a.dcm", "b.PNG", "deep/d.tif", "deep/er/c.JPEG"]
    assert _paths(find_images([tmp_path])) == [str(tmp_path / name) for name in names]


def test_dicom_files_need_no_suffix(tmp_path: Path) -> None:
    head = bytes(128) + b"DICM"
    _touch(tmp_path, "IM0001", "1.2.840.10008.7", "notes.txt", content=head)
    _touch(tmp_path, "README", "1.5")
    assert _paths(find_images([tmp_path])) == [
        str(tmp_path / "1.2.840.10008.7"),
        str(tmp_path / "IM0001"),
    ]


def test_links_are_followed_but_not_in_a_circle(tmp_path: Path) -> None:
    _touch(tmp_path, "real/a.png", "other/b.png")
    (tmp_path / "real/link").symlink_to(tmp_path / "other")
    (tmp_path / "other/back").symlink_to(tmp_path / "real")
    paths = _paths(find_images([tmp_path / "real"]))
    assert paths == [str(tmp_path / "real/a.png"), str(tmp_path / "real/link/b.png")]


def test_patterns_and_mixed_sources_keep_their_order(tmp_path: Path) -> None:
    _touch(tmp_path, "x/2.png", "x/1.png", "x/deep/3.png", "y.any")
    picture = np.zeros((4, 4), dtype=np.uint8)
    sources = find_images(
        [f"{tmp_path}/x/*.png", picture, tmp_path / "y.any", f"{tmp_path}/**/3.png"]
    )
    assert _paths(sources) == [
        f"{tmp_path}/x/1.png", f"{tmp_path}/x/2.png", None, f"{tmp_path}/y.any",
        f"{tmp_path}/x/deep/3.png",
    ]  # fmt: skip
    assert [sources.given_as(item) for item in sources] == [0, 0, 1, 2, 3]
    part = sources[1:4]
    assert [part.given_as(item) for item in part] == [0, 1, 2]
    assert part[-1] == sources[3]
    with pytest.raises(IndexError):
        part[3]


def test_a_pattern_with_stars_takes_each_file_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a/1.png", "a/b/2.png")
    assert len(find_images([f"{tmp_path}/a/**"])) == 2
    assert len(find_images([f"{tmp_path}/*"])) == 2  # as the shell would give it


def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path) -> None:
    _touch(tmp_path, "x[1].png")
    assert _paths(find_images([tmp_path / "x[1].png"])) == [f"{tmp_path}/x[1].png"]


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("nowhere.png", "No such file"),
        ("nowhere/", "No such file"),
        ("empty", "no image in this folder"),
        ("only-text", "no image in this folder"),
        ("none-*.png", "no file fits this pattern"),
        ("", "this is no path"),
        ("a\0b", "this is no path"),
        (3, "no path and no picture, but int"),
    ],
)
def test_what_is_no_image_keeps_a_row_that_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: Source, error: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("empty").mkdir()
    _touch(tmp_path, "only-text/a.txt", "fine.png")
    sources = find_images(["fine.png", source, "fine.png"])
    assert len(sources) == 3
    errors = _errors(sources)
    assert errors[0] == errors[2] == ""
    assert error in errors[1]


def test_an_unreadable_folder_keeps_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _touch(tmp_path, "a/1.png", "b/2.png")
    scandir = os.scandir

    def refuse(path: str) -> object:
        if path.endswith("a"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert _errors(find_images([tmp_path])) == ["Permission denied", ""]


def test_names_need_not_be_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff.png")
    Image.new("L", (4, 4)).save(tmp_path / "fine.png")
    (tmp_path / "fine.png").rename(tmp_path / name)
    sources = find_images([tmp_path])
    assert _errors(sources) == [""]
    assert str(_paths(sources)[0]).endswith("\\xff.png")


def test_nothing_gives_nothing() -> None:
    assert len(find_images([])) == 0
