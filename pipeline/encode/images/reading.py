"""From paths to pixels: the part of `embed` that the processor's cores share."""

import os
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.store import FileState, ItemFailure, content_digest
from retune.store.errors import ImageError
from retune.store.hidden_paths import dataset_folder, real_path

from ..burned_in import has_burned_in_text
from .bounds import PIXEL_LIMIT_VARIABLE, most_file_bytes
from .decode import decode_picture, pixel_limit

__all__ = ["ImageItem", "ReadImage", "read_bytes", "read_image"]

Pixels = npt.NDArray[np.uint8]
ToPixels = Callable[[Image.Image], Pixels]


@dataclass(frozen=True)
class ImageItem:
    """An image to encode: its id, and where its file should be.

    Attributes:
        image_id: In the catalog.
        root: Folder of its dataset.
        path: In that folder.
        inside: Whether a link must not lead out of the folder.
    """

    image_id: str
    root: str
    path: str
    inside: bool = False


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

    Raises:
        BackboneError: No decoding process can be started.
        ConfigurationError: A limit in the environment is not a number.
    """
    shown = os.path.join(item.root, item.path)  # noqa: PTH118 - as stored
    try:
        path = Path(real_path(item.root, item.path))
        if item.inside:
            _refuse_outside(path, dataset_folder(item.root))
        content, mtime_ns = read_bytes(path, most_file_bytes(pixel_limit()))
    # ValueError: a zero byte in a name, or a damaged file of hidden paths.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        failure = ItemFailure(item.image_id, shown, "read", reason, None)
        return ReadImage(item, None, None, failure)
    digest = content_digest(content)
    state = FileState(item.image_id, digest, len(content), mtime_ns)
    if is_known(digest):
        return ReadImage(item, state, None, None)
    try:
        picture = decode_picture(content, at_least)
        pixels = to_pixels(picture.image)
    except ImageError as error:
        failure = ItemFailure(item.image_id, shown, "decode", error.message, digest)
        return ReadImage(item, state, None, failure)
    except MemoryError:
        reason = "decoding it needs more memory than there is"
        failure = ItemFailure(item.image_id, shown, "decode", reason, digest)
        return ReadImage(item, state, None, failure)
    state = replace(
        state,
        display=picture.display,
        burned_in_text=has_burned_in_text(picture.image),
    )
    return ReadImage(item, state, pixels, None)


def _refuse_outside(path: Path, root: str) -> None:
    """Links may have changed since the label table was read.

    Raises:
        OSError: The file lies elsewhere than in the folder.
    """
    if not path.resolve().is_relative_to(Path(root).resolve()):
        raise OSError(
            "a link leads out of the dataset's folder, which `follow_links` of "
            "`ingest` allows"
        )


def read_bytes(path: Path, most_bytes: int) -> tuple[bytes, int]:
    """Content and time of a regular file.

    A pipe or a device would be waited for, or never end.

    Raises:
        OSError: It cannot be read, is no regular file, or is too large.
    """
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is no regular file")
        if status.st_size > most_bytes:
            raise OSError(
                f"its {status.st_size:,} bytes are more than the limit of "
                f"{most_bytes:,} ({PIXEL_LIMIT_VARIABLE} raises it)"
            )
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError("it grows while it is read")
    return content, status.st_mtime_ns
