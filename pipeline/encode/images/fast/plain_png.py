"""PNG files of the plainest kind: 8-bit grey or RGB, row by row, nothing to honour.

All else, and whatever is odd about a file, is left to Pillow: this reader has no error
messages of its own.
"""

import struct
import zlib
from typing import Final, cast

import numpy as np
import numpy.typing as npt
from isal import isal_zlib
from PIL import Image

from retune.store.errors import ImageError

from ..bounds import check_memory, check_size
from .kernels import Kernels

__all__ = ["decode_plain_png"]

_START: Final = b"\x89PNG\r\n\x1a\n"
#: Chunks that docs/pixels.md says are passed over, and that hold nothing else.
_PASSED_OVER: Final = frozenset(
    (b"gAMA", b"cHRM", b"sRGB", b"iCCP", b"sBIT", b"bKGD", b"pHYs", b"tIME")
)
_DAMAGE: Final[tuple[type[Exception], ...]] = (
    ImageError, zlib.error, cast("type[Exception]", isal_zlib.error), struct.error,
)  # fmt: skip
_MODES: Final = {0: ("L", 1), 2: ("RGB", 3)}


def decode_plain_png(
    content: bytes, max_pixels: int, loops: Kernels
) -> Image.Image | None:
    """Decode a plain PNG file, after its header has passed the usual checks.

    Args:
        content: The bytes of the file.
        max_pixels: More are left to whoever words the refusal.
        loops: Compiled.

    Returns:
        Mode ``L`` or ``RGB``; None if it is not plain, or anything is wrong with it.
    """
    try:
        shape = _shape(content)
        if shape is None:
            return None
        width, height, mode, step = shape
        check_size(height, width, max_pixels)
        check_memory(9 * height * width + len(content), max_pixels)
        stream = _stream(content)
        if stream is None:
            return None
        n_bytes = height * (1 + width * step)
        inflated = _inflated(stream, n_bytes)
    except _DAMAGE:
        return None
    if inflated is None:
        return None
    filtered = np.frombuffer(inflated, np.uint8).reshape(height, 1 + width * step)
    pixels = np.empty((height, width * step), np.uint8)
    if not loops.unfilter(filtered, pixels, step) or _is_flat(pixels, step):
        return None
    shaped = pixels if step == 1 else pixels.reshape(height, width, step)
    return Image.fromarray(shaped, mode)


def _shape(content: bytes) -> tuple[int, int, str, int] | None:
    if not content.startswith(_START) or content[8:16] != b"\0\0\0\rIHDR":
        return None
    width, height, depth, colour, method, filters, interlace = struct.unpack_from(
        ">IIBBBBB", content, 16
    )
    if depth != 8 or colour not in _MODES or method or filters or interlace:
        return None
    return width, height, *_MODES[colour]


def _stream(content: bytes) -> bytes | None:
    """The compressed pixels; None if a chunk is damaged, or asks for anything."""
    offset, parts, ended = len(_START), [], False
    view = memoryview(content)
    while not ended:
        (length,) = struct.unpack_from(">I", content, offset)
        chunk_type, end = content[offset + 4 : offset + 8], offset + 8 + length
        (checksum,) = struct.unpack_from(">I", content, end)
        if isal_zlib.crc32(view[offset + 4 : end]) != checksum:
            return None
        if chunk_type == b"IDAT":
            parts.append(view[offset + 8 : end])
        elif chunk_type == b"IEND":
            ended = True
        elif chunk_type == b"IHDR":
            if offset != len(_START):
                return None
        elif chunk_type not in _PASSED_OVER or parts:  # Pillow minds their order
            return None
        offset = end + 4
    return b"".join(parts)


def _inflated(stream: bytes, n_bytes: int) -> bytes | None:
    """Exactly so many bytes, with the right checksum; never more than one beyond."""
    inflater = isal_zlib.decompressobj()
    inflated: bytes = inflater.decompress(stream, n_bytes + 1)
    whole = len(inflated) == n_bytes and inflater.eof and not inflater.unused_data
    return inflated if whole else None


def _is_flat(pixels: npt.NDArray[np.uint8], step: int) -> bool:
    """Whether each channel has one value only, which is refused elsewhere."""
    return all(
        pixels[:, first::step].min() == pixels[:, first::step].max()
        for first in range(step)
    )
