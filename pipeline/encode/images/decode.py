"""Image files become 8-bit pictures, or a reason why not."""

import io
import os

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from retune.store.errors import ConfigurationError, ImageError

from .dicom import decode_dicom, is_dicom
from .value_tables import through_table

__all__ = ["MAX_PIXELS", "PIXEL_LIMIT_VARIABLE", "decode_image", "to_8_bit"]

#: A radiograph has about 10 million pixels; far more is a mistake or an attack.
MAX_PIXELS = 178_000_000
#: Name of the environment variable that raises that limit.
PIXEL_LIMIT_VARIABLE = "RETUNE_MAX_PIXELS"
# Pillow's own limit cannot be raised for one file; `decode_image` has this one instead.
Image.MAX_IMAGE_PIXELS = None
_BIT_DEPTHS = (8, 10, 12, 14, 15, 16)
_FORMATS = ("PNG", "JPEG", "TIFF", "BMP")


def to_8_bit(pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Scale grey values linearly to 0..255.

    The bit depth is the smallest common one (8, 10, 12, 14, 15, 16) that holds the
    brightest pixel, because a 12-bit detector's image is often stored in 16 bits and
    would otherwise come out nearly black.

    Args:
        pixels: Any shape, integers of at most 16 bits, none negative.

    Returns:
        The same shape, uint8.

    >>> to_8_bit(np.array([0, 2048, 4095])).tolist()
    [0, 128, 255]
    """
    brightest = int(pixels.max(initial=0))
    depth = next(bits for bits in _BIT_DEPTHS if brightest < 1 << bits)
    scaled = np.arange(brightest + 1, dtype=np.float32) * np.float32(
        255.0 / ((1 << depth) - 1)
    )
    return through_table(pixels, np.rint(scaled).astype(np.uint8))


def decode_image(content: bytes, at_least: int = 0) -> Image.Image:
    """Decode a PNG, JPEG, TIFF, BMP or DICOM file into mode ``L`` or ``RGB``.

    16-bit grey is scaled by `to_8_bit`; transparency is laid over black. DICOM goes
    through its own steps, see `dicom`.

    Args:
        content: The bytes of the file.
        at_least: A JPEG may come out smaller by 2, 4 or 8, as long as its shorter side
            keeps so many pixels: its coefficients are turned into fewer pixels, which
            is faster than to decode and resize. 0: whole.

    Raises:
        ImageError: It is empty, not an image, cut short, damaged or absurdly large.
        ConfigurationError: The limit in the environment is no number.
    """
    if not content:
        raise ImageError("the file is empty")
    max_pixels = _pixel_limit()
    if is_dicom(content):
        return decode_dicom(content, max_pixels)
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > max_pixels:
                raise ImageError(
                    f"{image.width}×{image.height} pixels are more than the limit of "
                    f"{max_pixels:,} ({PIXEL_LIMIT_VARIABLE} raises it)"
                )
            if at_least:
                image.draft(None, (at_least, at_least))  # does nothing but for JPEG
            image.load()
            return _grey_or_rgb(image)
    except UnidentifiedImageError as error:
        raise ImageError("not a PNG, JPEG, TIFF, BMP or DICOM image") from error
    # Pillow reports damage as any of these, depending on the format.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise ImageError(f"damaged image: {error}") from error


def _pixel_limit() -> int:
    given = os.environ.get(PIXEL_LIMIT_VARIABLE)
    if given is None:
        return MAX_PIXELS
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigurationError(
            f"{PIXEL_LIMIT_VARIABLE}={given} is no positive number of pixels",
            f"Unset it for the default of {MAX_PIXELS:,}.",
        )
    return int(given)


def _grey_or_rgb(image: Image.Image) -> Image.Image:
    if image.mode in ("L", "RGB"):
        return image.copy()
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        pixels = np.asarray(image)
        if image.mode == "F" or pixels.min() < 0 or pixels.max() > 0xFFFF:
            raise ImageError(f"grey values of mode {image.mode} outside 0..65535")
        return Image.fromarray(to_8_bit(pixels))
    if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, rgba).convert("RGB")
    return image.convert("RGB")
