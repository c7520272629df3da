"""Image paths stay in the root and are listed once."""

from pathlib import PurePosixPath

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.datasets.tables.image_paths import check_paths, tidy_paths
from retune.store.errors import DatasetError


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("", "is blank"),
        ("  ", "is blank"),
        ("/etc/passwd", "is absolute"),
        ("//server/share/a.png", "is absolute"),
        ("C:/images/a.png", "is absolute"),
        ("file:///a.png", "is absolute"),
        ("https://example.org/a.png", "is absolute"),
        ("..", "leaves the root"),
        ("../a.png", "leaves the root"),
        ("a/../../b.png", "leaves the root"),
        ("a/..", "leaves the root"),
        ("./../a.png", "leaves the root"),
        ("images\\a.png", "contains a backslash"),
        ("..\\a.png", "contains a backslash"),
        ("a\0.png", "contains a control character"),
        ("a\n.png", "contains a control character"),
        ("images/", "names a folder"),
        (".", "names a folder"),
    ],
)
def test_a_path_that_is_no_file_in_the_root_is_refused(path, reason):
    paths = tidy_paths(pa.array(["ok.png", path]))
    with pytest.raises(DatasetError, match=f"^row 2: the image path .* {reason}$"):
        check_paths(paths)


@pytest.mark.parametrize(
    "path", ["a.png", "a/b c/ü.png", "..a/b..png", "a/...png", ".hidden/x", "a:b.png/x"]
)
def test_unusual_names_are_fine(path):
    check_paths(tidy_paths(pa.array([path])))


def test_duplicates_are_named_with_both_rows_five_at_most():
    names = [f"{i}.png" for i in range(7)]
    paths = pa.array([*names, "other.png", *names])
    with pytest.raises(DatasetError) as caught:
        check_paths(paths)
    message = caught.value.message
    assert message.startswith("7 rows list an image that was listed before: ")
    assert "'0.png': row 1 and row 9; " in message
    assert "'4.png': row 5 and row 13; and 2 more" in message
    assert "5.png" not in message


def test_one_image_listed_three_times_is_two_rows_too_many():
    with pytest.raises(
        DatasetError, match=r"^2 rows .*row 1 and row 2.*row 1 and row 3"
    ):
        check_paths(pa.array(["a", "a", "a"]))


def test_two_spellings_of_one_file_are_a_duplicate():
    with pytest.raises(DatasetError, match="listed before"):
        check_paths(tidy_paths(pa.array(["a/b.png", "./a//b.png"])))


_SEGMENT = st.sampled_from([".", "..", "", "a", "b.png", "..c"])


@given(st.lists(_SEGMENT, min_size=1, max_size=6).map("/".join))
def test_tidy_paths_agree_with_pathlib_and_nothing_escapes(path):
    tidy = tidy_paths(pa.array([path]))
    try:
        check_paths(tidy)
    except DatasetError:
        parts = PurePosixPath(path).parts
        assert not parts or parts[0] in ("/", "//") or ".." in parts or path[-1] in "/."
    else:
        assert tidy[0].as_py() == str(PurePosixPath(path))
        assert ".." not in PurePosixPath(path).parts
