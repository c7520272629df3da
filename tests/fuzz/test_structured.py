"""Structured mutations keep checksums and lengths right, so that decoders go on."""

import io

import numpy as np
import pytest
from image_fuzz import whole_files, with_right_checksums
from PIL import Image
from structured import with_changed_structure


@pytest.fixture(scope="module")
def wholes() -> dict[str, bytes]:
    return whole_files(np.random.default_rng(5))


def _changed(wholes: dict[str, bytes], case: str, count: int) -> list[bytes]:
    random = np.random.default_rng(1)
    return [with_changed_structure(case, wholes[case], random) for _ in range(count)]


@pytest.mark.parametrize(
    "case", ["PNG", "PNG palette", "JPEG", "TIFF", "DICOM", "DICOM JPEG"]
)
def test_most_files_are_changed(wholes: dict[str, bytes], case: str) -> None:
    files = _changed(wholes, case, 20)
    assert sum(one != wholes[case] for one in files) > 8
    assert files == _changed(wholes, case, 20)


def test_checksums_of_a_png_are_right(wholes: dict[str, bytes]) -> None:
    for one in _changed(wholes, "PNG", 40):
        assert with_right_checksums(one) == one


def test_decoders_get_beyond_the_header(wholes: dict[str, bytes]) -> None:
    decoded = 0
    for one in _changed(wholes, "PNG", 60):
        try:
            Image.open(io.BytesIO(one)).load()
        except Exception:  # noqa: BLE001 - of damaged files any may come
            continue
        decoded += 1
    assert decoded > 20


def test_kinds_without_a_structure_stay_as_they_are() -> None:
    assert with_changed_structure("BMP", b"BM", np.random.default_rng(0)) == b"BM"
