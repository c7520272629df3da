"""Every kind of image file becomes pixels, or a reason that a person understands."""

import io
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retune.pipeline.encode.images import decode as images
from retune.pipeline.encode.images.decode import decode_image, to_8_bit
from retune.store.errors import ImageError


def _saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def _ramp(dtype: str = "u1", brightest: int = 255) -> np.ndarray:
    return np.linspace(0, brightest, 64 * 48).reshape(48, 64).astype(dtype)


_GREY = Image.fromarray(_ramp())
_NOISE = Image.fromarray(
    np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
)


@pytest.mark.parametrize(
    ("make", "mode"),
    [
        (lambda: _saved(_GREY), "L"),
        (lambda: _saved(_GREY, "JPEG"), "L"),
        (lambda: _saved(_GREY, "TIFF"), "L"),
        (lambda: _saved(_GREY, "BMP"), "L"),
        (lambda: _saved(_GREY.convert("RGB")), "RGB"),
        (lambda: _saved(_GREY.convert("RGBA")), "RGB"),
        (lambda: _saved(_GREY.convert("LA")), "RGB"),
        (lambda: _saved(_GREY.convert("P")), "RGB"),
        (lambda: _saved(_GREY.convert("1")), "L"),
        (lambda: _saved(_GREY.convert("CMYK"), "JPEG"), "RGB"),
        (lambda: _saved(Image.fromarray(_ramp("u2", 65535))), "L"),
        (lambda: _saved(Image.fromarray(_ramp("i4", 65535)), "TIFF"), "L"),
    ],
)
def test_modes_and_formats(make: Callable[[], bytes], mode: str) -> None:
    image = decode_image(make())
    assert image.mode == mode
    assert image.size == (64, 48)
    pixels = np.asarray(image.convert("L")).astype(float)
    # By strips, because a dithered picture is right only on average.
    strips = [one.reshape(6, 8, 64).mean(axis=(1, 2)) for one in (pixels, _ramp())]
    assert np.abs(strips[0] - strips[1]).max() < 12


def test_16_bit_keeps_the_order_of_grey_values() -> None:
    content = _saved(Image.fromarray(_ramp("u2", 4095)))
    pixels = np.asarray(decode_image(content)).ravel()
    assert (np.diff(pixels.astype(int)) >= 0).all()
    assert pixels[-1] == 255


def test_transparency_is_laid_over_black() -> None:
    image = Image.new("RGBA", (4, 4), (255, 255, 255, 0))
    image.putpixel((1, 1), (200, 200, 200, 255))
    pixels = np.asarray(decode_image(_saved(image)))
    assert pixels[1, 1].tolist() == [200, 200, 200]
    assert pixels.sum() == 600


def test_a_palette_with_a_transparent_colour() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 255, 255, 255, 9, 9, 9])
    image.putpixel((1, 1), 2)
    pixels = np.asarray(decode_image(_saved(image, transparency=1)))
    assert pixels.max() == 9


@given(st.integers(1, 65535), st.sampled_from([8, 10, 12, 14, 15, 16]))
def test_scaling_is_monotone_and_ends_at_white(brightest: int, bits: int) -> None:
    values = np.array([0, brightest // 2, brightest])
    scaled = to_8_bit(values)
    assert scaled[0] == 0
    assert (np.diff(scaled.astype(int)) >= 0).all()
    assert to_8_bit(np.array([(1 << bits) - 1])).tolist() == [255]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"this is no image", "not a PNG"),
        (b"%PDF-1.4 something", "not a PNG"),
        (_saved(_NOISE)[:2000], "damaged"),
        (_saved(_NOISE, "JPEG")[:900], "damaged"),
        (_saved(_GREY)[:20], "damaged|not a PNG"),
        (_saved(_GREY, "GIF"), "not a PNG"),
        (_saved(Image.fromarray(_ramp("f4", 1)), "TIFF"), "mode F"),
    ],
)
def test_what_cannot_be_used_says_why(content: bytes, said: str) -> None:
    with pytest.raises(ImageError, match=said):
        decode_image(content)


@given(st.integers(0, 2**31), st.integers(30, 3000))
def test_random_damage_never_escapes_as_another_error(seed: int, offset: int) -> None:
    content = bytearray(_saved(_GREY))
    random = np.random.default_rng(seed)
    start = offset % len(content)
    content[start : start + 8] = random.bytes(8)
    try:
        decode_image(bytes(content))
    except ImageError:
        return


def test_an_absurdly_large_image_is_refused_before_it_is_decoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 1000)
    with pytest.raises(ImageError, match="more than the limit of 1,000"):
        decode_image(_saved(_GREY))


@pytest.mark.parametrize(
    ("at_least", "size"),
    [(0, (2300, 2800)), (224, (288, 350)), (300, (575, 700)), (1500, (2300, 2800))],
)
def test_a_large_jpeg_is_decoded_at_the_scale_that_suffices(
    at_least: int, size: tuple[int, int]
) -> None:
    whole = _GREY.resize((2300, 2800), Image.Resampling.BICUBIC)
    decoded = decode_image(_saved(whole, "JPEG"), at_least)
    assert decoded.size == size
    near = decoded.resize((64, 48), Image.Resampling.BOX)
    far = whole.resize((64, 48), Image.Resampling.BOX)
    difference = np.asarray(near, dtype=float) - np.asarray(far, dtype=float)
    assert np.abs(difference).max() < 3


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP"])
def test_other_formats_are_decoded_whole(form: str) -> None:
    assert decode_image(_saved(_GREY, form), at_least=8).size == _GREY.size


def test_a_jpeg_cut_short_is_damaged_at_any_scale() -> None:
    content = _saved(_GREY.resize((2300, 2800)), "JPEG")
    with pytest.raises(ImageError, match="damaged"):
        decode_image(content[: len(content) // 2], at_least=224)
