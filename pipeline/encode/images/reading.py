"""From paths to pixels: the part of `embed` that the processor's cores share."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.store import FileState, ItemFailure, content_digest
from retune.store.errors import ImageError

from .decode import decode_image

__all__ = ["ImageItem", "ReadImage", "read_image"]

Pixels = npt.NDArray[np.uint8]
ToPixels = Callable[[Image.Image], Pixels]


@dataclass(frozen=True)
class ImageItem:
    """An image to encode: its id, and where its file should be."""

    image_id: str
    root: str
    path: str


@dataclass(frozen=True)
class ReadImage:
    """What became of one image file.

    Attributes:
        item: Which image.
        file: Its content's digest, size and time; None if it could not be read.
        pixels: Shape (height, width, 3), uint8; None if it needs no encoding (its
            content has a vector already) or failed.
        failure: Why there are no pixels; None if nothing is wrong.
    """

    item: ImageItem
    file: FileState | None
    pixels: Pixels | None
    failure: ItemFailure | None


def read_image(
    item: ImageItem,
    to_pixels: ToPixels,
    is_known: Callable[[str], bool],
    at_least: int = 0,
) -> ReadImage:
    """Read one file once: digest its bytes and decode them if that is needed.

    Args:
        item: Which image.
        to_pixels: The backbone's resizing and cropping.
        is_known: Whether content with this digest has a vector already.
        at_least: See `decode_image`.
    """
    path = Path(item.root, item.path)
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            content = file.read()
    except OSError as error:
        reason = error.strerror or str(error)
        failure = ItemFailure(item.image_id, str(path), "read", reason, None)
        return ReadImage(item, None, None, failure)
    digest = content_digest(content)
    state = FileState(item.image_id, digest, len(content), status.st_mtime_ns)
    if is_known(digest):
        return ReadImage(item, state, None, None)
    try:
        pixels = to_pixels(decode_image(content, at_least))
    except ImageError as error:
        failure = ItemFailure(item.image_id, str(path), "decode", error.message, digest)
        return ReadImage(item, state, None, failure)
    return ReadImage(item, state, pixels, None)
