"""What compressed pictures say of themselves, read before anything unpacks them.

The header around a stream may say something else, and decoders believe the stream
(ITU-T T.81, annex B; ITU-T T.87; ISO 15444-1, annex A).
"""

import struct
from dataclasses import dataclass
from typing import Final

__all__ = ["Stream", "encoded_size", "jpeg_scans", "png_chunks", "read_stream"]

_J2K_START: Final = b"\xff\x4f\xff\x51"
_JPEG_START: Final = b"\xff\xd8"
_START_OF_SCAN: Final = 0xDA
_JPEG_LS: Final = 0xF7
#: A file with more segments than this is read no further here.
_MOST_SEGMENTS: Final = 10_000


@dataclass(frozen=True)
class Stream:
    """The frame header of a JPEG, JPEG-LS or JPEG 2000 stream.

    Attributes:
        height: Rows.
        width: Columns.
        components: Samples of a pixel.
        precision: Bits of a sample.
        process: Number of the JPEG process, as in SOF0 to SOF15; 0xF7 for JPEG-LS; −1
            for JPEG 2000.
    """

    height: int
    width: int
    components: int
    precision: int
    process: int


def read_stream(frame: bytes) -> Stream | None:
    """The frame header of a stream; None if it has none, as run-length coding has."""
    start = frame.find(_J2K_START, 0, 4096)
    if start >= 0 and len(frame) >= start + 43:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        (components,) = struct.unpack_from(">H", frame, start + 40)
        precision = (frame[start + 42] & 0x7F) + 1
        height, width = max(0, bottom - top), max(0, right - left)
        return Stream(height, width, components, precision, -1)
    if frame[:2] != _JPEG_START:
        return None
    offset = 2
    for _ in range(_MOST_SEGMENTS):
        if offset + 10 > len(frame) or frame[offset] != 0xFF:
            return None
        marker = frame[offset + 1]
        if marker == 0xFF:  # a fill byte
            offset += 1
        elif _is_frame(marker):
            precision, height, width, components = struct.unpack_from(
                ">BHHB", frame, offset + 4
            )
            process = marker if marker == _JPEG_LS else marker - 0xC0
            return Stream(height, width, components, precision, process)
        elif marker == _START_OF_SCAN:
            return None
        else:
            offset += 2 + int(struct.unpack_from(">H", frame, offset + 2)[0])
    return None


def _is_frame(marker: int) -> bool:
    tables = (0xC4, 0xC8, 0xCC)
    return (0xC0 <= marker <= 0xCF and marker not in tables) or marker == _JPEG_LS


def encoded_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream says it has.

    Returns:
        None if it says nothing, as run-length coding does.
    """
    stream = read_stream(frame)
    return None if stream is None else (stream.height, stream.width)


def jpeg_scans(content: bytes) -> int:
    """At most how many scans a JPEG file has: a preview in its header counts, too.

    Within a scan the byte 0xFF is followed by 0 or a restart marker.

    >>> jpeg_scans(bytes.fromhex("ffd8 ffda 01 ff00 ffda 02"))
    2
    """
    return content.count(bytes((0xFF, _START_OF_SCAN)))


def png_chunks(content: bytes) -> int:
    """The number of chunks of a PNG file; counting ends at 10,000.

    >>> png_chunks(b"")
    0
    """
    offset, count = 8, 0
    while offset + 12 <= len(content) and count < _MOST_SEGMENTS:
        offset += 12 + int.from_bytes(content[offset : offset + 4], "big")
        count += 1
    return count
