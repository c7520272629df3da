"""Pictures in memory, read as the same picture in a file would be."""

import io
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.store import FileState, ItemFailure, content_digest
from retune.store.errors import ImageError

from ...encode.images.decode import decode_image, to_8_bit
from ...encode.images.preprocess import Preprocess
from ...encode.images.reading import ImageItem, ReadImage

__all__ = ["Picture", "read_picture"]

Picture: TypeAlias = Image.Image | npt.NDArray[np.generic]

_ARRAYS = (
    "an array must be uint8 or uint16 and of shape (height, width) or "
    "(height, width, 3)"
)


def read_picture(
    item: ImageItem, picture: Picture, preprocess: Preprocess
) -> ReadImage:
    """Preprocess a picture in memory, as `read_image` does a file.

    Args:
        item: Which image.
        picture: A PIL image of any mode that a file can have, or an array, uint8 or
            uint16: grey of shape (height, width) or (height, width, 1), or RGB of shape
            (height, width, 3). 16-bit values are scaled as those of files are.
        preprocess: The backbone's.
    """
    digest = None
    try:
        content = _as_file(picture)
        digest = content_digest(content)
        decoded = decode_image(content, preprocess.decode_at_least)
        pixels = preprocess.to_pixels(decoded)
    except ImageError as error:
        failure = ItemFailure(item.image_id, "", "decode", error.message, digest)
        return ReadImage(item, None, None, failure)
    state = FileState(item.image_id, digest, len(content), 0)
    return ReadImage(item, state, pixels, None)


def _as_file(picture: Picture) -> bytes:
    """The picture as an uncompressed TIFF, so that the rules of files hold for it.

    Raises:
        ImageError: It is no picture, or cannot be read.
    """
    image = picture if isinstance(picture, Image.Image) else _from_array(picture)
    file = io.BytesIO()
    try:
        if "transparency" in image.info:  # TIFF has no transparent colour
            image = image.convert("RGBA")
        elif image.mode == "HSV":  # nor this
            image = image.convert("RGB")
        image.save(file, "TIFF")
    # A picture that is not loaded yet is read here, and may be damaged.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError) as error:
        raise ImageError(f"damaged image: {error}") from error
    return file.getvalue()


def _from_array(array: npt.NDArray[np.generic]) -> Image.Image:
    """Grey or RGB.

    >>> _from_array(np.zeros((2, 3), dtype=np.uint16)).size
    (3, 2)
    """
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    grey, rgb = array.ndim == 2, array.ndim == 3 and array.shape[2] == 3
    if array.dtype not in (np.uint8, np.uint16) or not (grey or rgb):
        raise ImageError(f"{_ARRAYS}, not {array.dtype} of shape {array.shape}")
    if not array.size:
        raise ImageError(f"the array is empty: its shape is {array.shape}")
    if rgb and array.dtype == np.uint16:  # Pillow has no such image
        array = to_8_bit(array.astype(np.uint16))
    return Image.fromarray(np.ascontiguousarray(array))
