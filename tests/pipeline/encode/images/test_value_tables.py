"""Pictures through a table give what each pixel alone would, without wide copies."""

import io
import tracemalloc

import numpy as np
import pytest
from dicom_samples import dicom, saved
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from retune.pipeline.encode.images.decode import decode_image
from retune.pipeline.encode.images.value_tables import occurring_values, through_table

_KINDS = st.sampled_from(["u1", "i1", "u2", "i2", "u4", "i4", "i8"])


@given(_KINDS.flatmap(lambda dtype: arrays.arrays(dtype, (3, 5))))
def test_codes_lead_back_to_the_pixels(pixels: np.ndarray) -> None:
    values, places, length, codes = occurring_values(pixels)
    assert set(values.tolist()) == set(pixels.ravel().tolist())
    table = np.zeros(length, pixels.dtype)
    table[places] = values
    assert (table[codes] == pixels).all()


def test_more_pixels_than_are_looked_up_at_once() -> None:
    codes = np.random.default_rng(0).integers(0, 65_536, (700, 900)).astype("u2")
    table = np.arange(65_536).astype(np.uint8)
    assert (through_table(codes, table) == table[codes]).all()


def test_pixels_that_do_not_lie_in_a_row() -> None:
    pixels = np.arange(12, dtype="i2").reshape(3, 4)[:, ::2]
    values, _, _, codes = occurring_values(pixels)
    assert values.tolist() == [0, 2, 4, 6, 8, 10]
    assert codes.tolist() == pixels.tolist()


@pytest.mark.parametrize("form", ["PNG", "DICOM"])
def test_decoding_makes_no_wide_copies_of_the_picture(form: str) -> None:
    """Of 16-bit pixels: as stored, as an array, as 8 bits, and no floats of them."""
    pixels = np.random.default_rng(0).integers(0, 4096, (1500, 1000)).astype("u2")
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    window = {"WindowCenter": 2000, "WindowWidth": 3000, "RescaleSlope": 2}
    content = {
        "PNG": stream.getvalue(),
        "DICOM": saved(dicom(pixels, "MONOCHROME1", bits=12, **window)),
    }[form]
    decode_image(content)  # packages are imported at the first call
    tracemalloc.start()
    decode_image(content)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 8 * pixels.size
