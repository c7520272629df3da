"""Colour and grey with alpha of 16 bits, of which Pillow keeps the upper 8 only.

Pillow unpacks such a file twice, once to the upper bytes of all samples and once to the
lower ones: it knows both orders of the two bytes, and the wrong one gives the lower.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile

from retune.store.errors import ImageError

from .bounds import check_memory, check_size

__all__ = [
    "GreyAlpha",
    "alpha_over_black",
    "colour_samples",
    "grey_alpha_tiff",
    "png_grey_alpha",
]

Samples = npt.NDArray[np.uint16]

#: Pillow's names of 16-bit samples, and the same with the bytes exchanged.
_EXCHANGED: Final = {"16B": "16L", "16L": "16B", "16N": "16B"}
_PNG_HEADER: Final = slice(12, 29)
_NONE, _DEFLATE = 1, (8, 32946)
# Numbers of TIFF tags (TIFF 6.0, section 8 and appendix A).
_WIDTH, _LENGTH, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262
_OFFSETS, _ORIENTATION, _SAMPLES, _ROWS_PER_STRIP, _COUNTS = 273, 274, 277, 278, 279
_PLANAR, _PREDICTOR = 284, 317
_TYPES: Final = {1: "B", 3: "H", 4: "I"}


def colour_samples(content: bytes, image: ImageFile.ImageFile) -> Samples | None:
    """Samples of a colour PNG or TIFF of 16 bits.

    Args:
        content: The bytes of the file.
        image: What Pillow opened, not loaded yet.

    Returns:
        Shape (height, width, 3 or 4); None if the file is not of that kind.
    """
    exchanged = [_exchanged(tile) for tile in image.tile]
    if not exchanged or None in exchanged:
        return None
    with Image.open(io.BytesIO(content), formats=[str(image.format)]) as lower:
        assert isinstance(lower, ImageFile.ImageFile)
        lower.tile = exchanged
        samples = np.asarray(image).astype(np.uint16)
        samples <<= 8
        samples |= np.asarray(lower)
    return samples


def _exchanged(tile: Any) -> Any:
    """A piece of the file, to be unpacked with the bytes of a sample exchanged."""
    args = tile.args if isinstance(tile.args, tuple) else (tile.args,)
    mode, _, order = str(args[0]).partition(";")
    if mode not in ("RGB", "RGBA", "RGBX", "RGBa") or order not in _EXCHANGED:
        return None
    name = f"{mode};{_EXCHANGED[order]}"
    return tile._replace(
        args=(name, *args[1:]) if isinstance(tile.args, tuple) else name
    )


def png_grey_alpha(content: bytes) -> Samples | None:
    """Samples of a grey PNG with alpha of 16 bits; None if it is another file.

    Such a pixel has four bytes, as one of RGBA of 8 bits has, and is filtered alike. So
    Pillow gets the file with another header.

    Returns:
        Shape (height, width, 2).
    """
    if content[24:26] != b"\x10\x04":
        return None
    header = bytearray(content[_PNG_HEADER])
    header[12:14] = b"\x08\x06"
    renamed = content[:12] + header + struct.pack(">I", zlib.crc32(header))
    with Image.open(io.BytesIO(renamed + content[33:]), formats=["PNG"]) as image:
        return np.ascontiguousarray(np.asarray(image)).view(">u2").astype(np.uint16)


@dataclass(frozen=True)
class _Directory:
    """The first directory of a TIFF file."""

    order: str
    tags: dict[int, tuple[int, ...]]

    def one(self, tag: int, default: int) -> int:
        return next(iter(self.tags.get(tag, ())), default)


@dataclass(frozen=True)
class GreyAlpha:
    """A grey TIFF with alpha of 16 bits.

    Attributes:
        samples: Shape (height, width, 2).
        inverted: Whether white is zero.
        orientation: As in EXIF.
    """

    samples: Samples
    inverted: bool
    orientation: int


def grey_alpha_tiff(content: bytes, max_pixels: int) -> GreyAlpha | None:
    """Read a grey TIFF with alpha of 16 bits, which Pillow does not know.

    Returns:
        None if it is no TIFF.

    Raises:
        ImageError: It is compressed in a way that is not read here, or too large.
    """
    directory = _directory(content)
    if directory is None:
        return None
    bits, photometric = directory.tags.get(_BITS, (1,)), directory.one(_PHOTOMETRIC, -1)
    height, width = directory.one(_LENGTH, 0), directory.one(_WIDTH, 0)
    if (
        directory.one(_SAMPLES, 1) != 2
        or set(bits) != {16}
        or photometric not in (0, 1)
    ):
        raise ImageError(
            f"a TIFF of {directory.one(_SAMPLES, 1)} samples of {max(bits)} bits, "
            f"photometric interpretation {photometric}, is not supported"
        )
    check_size(height, width, max_pixels)
    check_memory(16 * height * width + len(content), max_pixels)
    compression = directory.one(_COMPRESSION, _NONE)
    plain = directory.one(_PLANAR, 1) == 1 and directory.one(_PREDICTOR, 1) == 1
    if (
        compression not in (_NONE, *_DEFLATE)
        or not plain
        or _OFFSETS not in directory.tags
    ):
        raise ImageError(
            "a grey TIFF with alpha of 16 bits is read uncompressed or deflated, in "
            f"strips and without predictor (this one: compression {compression})"
        )
    strips = list(_strips(content, directory, height, 4 * width))
    samples = np.frombuffer(b"".join(strips), f"{directory.order}u2")
    if samples.size < 2 * height * width:
        raise ImageError("damaged image: its strips end early")
    shaped = samples[: 2 * height * width].reshape(height, width, 2)
    orientation = directory.one(_ORIENTATION, 1)
    return GreyAlpha(shaped.astype(np.uint16), photometric == 0, orientation)


def _strips(
    content: bytes, directory: _Directory, height: int, row_bytes: int
) -> Iterator[bytes]:
    rows = directory.one(_ROWS_PER_STRIP, height) or height
    left = height
    places = zip(
        directory.tags[_OFFSETS], directory.tags.get(_COUNTS, ()), strict=False
    )
    for offset, count in places:
        here = min(rows, left) * row_bytes
        if here <= 0:
            return
        strip = content[offset : offset + count]
        if directory.one(_COMPRESSION, _NONE) != _NONE:
            strip = zlib.decompressobj().decompress(strip, here)
        yield strip[:here].ljust(here, b"\0") if left > rows else strip[:here]
        left -= rows


def _directory(content: bytes) -> _Directory | None:
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None or len(content) < 8:
        return None
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    if start + 2 > len(content):
        return None
    (n_entries,) = struct.unpack_from(f"{order}H", content, start)
    tags = {}
    for offset in range(start + 2, start + 2 + 12 * n_entries, 12):
        if offset + 12 > len(content):
            break
        tag, value_type, count = struct.unpack_from(f"{order}HHI", content, offset)
        form = _TYPES.get(value_type)
        if form is None or count > len(content):
            continue
        size = count * struct.calcsize(form)
        at = offset + 8
        if size > 4:
            (at,) = struct.unpack_from(f"{order}I", content, at)
        if at + size <= len(content):
            tags[tag] = struct.unpack_from(f"{order}{count}{form}", content, at)
    return _Directory(order, tags)


def alpha_over_black(samples: Samples) -> Samples:
    """Lay samples with alpha over black.

    Args:
        samples: Shape (height, width, C + 1); the last is alpha.

    Returns:
        Shape (height, width, C), or (height, width) if C is 1.

    >>> alpha_over_black(np.array([[[1000, 65535], [1000, 0]]], np.uint16)).tolist()
    [[1000, 0]]
    """
    laid = np.empty((*samples.shape[:2], samples.shape[2] - 1), np.uint16)
    for row, line in enumerate(samples):
        product = line[:, :-1].astype(np.uint32) * line[:, -1:]
        laid[row] = (product + 32_767) // 65_535
    return laid[..., 0] if laid.shape[2] == 1 else laid
