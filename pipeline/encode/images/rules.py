"""Whether a file looks as it did by the earlier rules; see `picture.PIXEL_RULES`.

Version 2 brought: padding and bits that are not stored left out of the grey scale,
windows that hide everything passed over, orientation and transparent colours of PNG and
JPEG, outlying pixels and colour of 16 bits, white as zero in 16 bits.
"""

from pathlib import Path
from typing import Final

from retune.store.errors import ImageError

from .bounds import most_file_bytes
from .decode import decode_picture, pixel_limit
from .picture import AS_STORED
from .reading import read_bytes

__all__ = ["display_of_before"]

#: Words of a display that the earlier rules did not know.
_NEW: Final = (
    "padding", "passed over", "stream of", "outlying", "orientation", "in colour",
    "transparent colour", "alpha; 16 bits", "white is zero", "YBR",
)  # fmt: skip
#: What makes it worthwhile to decode a PNG or JPEG of 8 bits.
_ASKS: Final = (b"Exif", b"eXIf", b"rientation", b"tRNS")
_PNG, _JPEG, _BMP = b"\x89PNG", b"\xff\xd8", b"BM"


def display_of_before(path: Path) -> str | None:
    """How a file is shown, if it was shown so by the earlier rules, too.

    Returns:
        None if the rules changed what is seen; empty if that cannot be told, because
        the file is not there or cannot be decoded now.
    """
    try:
        content, _ = read_bytes(path, most_file_bytes(pixel_limit()))
    except (OSError, ValueError):
        return ""
    of_8_bit = content.startswith((_JPEG, _BMP)) or (
        content.startswith(_PNG) and content[24:25] != b"\x10"
    )
    if of_8_bit and not any(word in content for word in _ASKS):
        return AS_STORED
    try:
        display = decode_picture(content).display
    except ImageError:
        return ""
    return None if any(word in display for word in _NEW) else display
