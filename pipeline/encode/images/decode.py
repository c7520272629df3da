"""Image files become 8-bit pictures, or a reason why not.

This is the one door for image files. What is sure to end soon is decoded here, plain
PNG files by compiled loops where there are any; all else, DICOM above all, whose
decoders may abort or never end, in a process of its own.
"""

import os
from typing import TYPE_CHECKING

from retune.store.errors import ConfigurationError, ImageError

from .bounds import PIXEL_LIMIT_VARIABLE
from .fast.kernels import kernels_for_many
from .grey import to_8_bit
from .isolation import decode_apart
from .picture import Picture
from .unpacking import decode_here

if TYPE_CHECKING:
    from PIL import Image

__all__ = [
    "MAX_PIXELS",
    "PIXEL_LIMIT_VARIABLE",
    "decode_image",
    "decode_picture",
    "pixel_limit",
    "to_8_bit",
]

#: A radiograph has about 10 million pixels; far more is a mistake or an attack.
MAX_PIXELS = 178_000_000


def decode_image(content: bytes, at_least: int = 0) -> "Image.Image":
    """Decode a PNG, JPEG, TIFF, BMP or DICOM file into mode ``L`` or ``RGB``.

    16-bit values are scaled by `to_8_bit`; transparency is laid over black. DICOM goes
    through its own steps, see `dicom`.

    Args:
        content: The bytes of the file.
        at_least: A JPEG may come out smaller by 2, 4 or 8, as long as its shorter side
            keeps so many pixels: its coefficients are turned into fewer pixels, which
            is faster than to decode and resize. 0: whole.

    Raises:
        ImageError: It is empty, not an image, cut short, damaged, absurdly large, or
            all of one colour; or its decoder died or took too long.
        ConfigurationError: The limit in the environment is not a number.
    """
    return decode_picture(content, at_least).image


def decode_picture(content: bytes, at_least: int = 0) -> "Picture":
    """`decode_image`, with what was done for the display.

    Raises:
        ImageError: As there.
        ConfigurationError: As there.
    """
    from .fast.plain_png import decode_plain_png
    from .raster import is_harmless

    if not content:
        raise ImageError("the file is empty")
    max_pixels = pixel_limit()
    if not is_harmless(content):
        return decode_apart(content, max_pixels, at_least)
    loops = kernels_for_many()
    plain = None if loops is None else decode_plain_png(content, max_pixels, loops)
    if plain is not None:
        return Picture(plain)
    return decode_here(content, max_pixels, at_least)


def pixel_limit() -> int:
    """The largest number of pixels that is decoded.

    Raises:
        ConfigurationError: The environment variable is not a number.
    """
    given = os.environ.get(PIXEL_LIMIT_VARIABLE)
    if given is None:
        return MAX_PIXELS
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigurationError(
            f"{PIXEL_LIMIT_VARIABLE}={given} must be a positive number of pixels",
            f"Unset it for the default of {MAX_PIXELS:,}.",
        )
    return int(given)
