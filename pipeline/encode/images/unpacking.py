"""Decoding in the process that calls: what `decode` and its processes share."""

from PIL import Image

from retune.store.errors import ImageError

from .dicom.decoding import decode_dicom_picture, is_dicom
from .picture import Picture
from .raster import decode_raster

__all__ = ["decode_here"]


def decode_here(content: bytes, max_pixels: int, at_least: int = 0) -> Picture:
    """Decode an image file in this process.

    Args:
        content: The bytes of the file.
        max_pixels: More are refused before they are decoded.
        at_least: See `retune.pipeline.encode.images.decode.decode_image`.

    Raises:
        ImageError: There is no picture in it, or none to see.
    """
    if is_dicom(content):
        picture = decode_dicom_picture(content, max_pixels)
    else:
        picture = decode_raster(content, max_pixels, at_least)
    if _is_flat(picture.image):
        raise ImageError("all its pixels have the same value: there is nothing to see")
    return picture


def _is_flat(image: Image.Image) -> bool:
    """Whether each channel has one value; most pictures show it in one row."""
    middle = image.height // 2
    for part in (image.crop((0, middle, image.width, middle + 1)), image):
        extrema = part.getextrema()
        channels = extrema if isinstance(extrema[0], tuple) else (extrema,)
        if any(low != high for low, high in channels):
            return False
    return True
