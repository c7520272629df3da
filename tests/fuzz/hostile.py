"""Files that ended a job, took gigabytes or never came to an end, by kind."""

import io
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from dicom_samples import dicom, saved
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
)

__all__ = ["HOSTILE", "HOSTILE_FILES"]

_GREY = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype("u1")


def _file(image: Image.Image, form: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def _png(width: int, height: int, colour_type: int, depth: int = 8) -> bytes:
    """A PNG of zeros, written by hand: small, and large when unpacked."""

    def chunk(name: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(name + body)
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", crc)

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour_type]
    row = bytes(1 + -(-width * samples * depth // 8))
    packer = zlib.compressobj(9)
    body = b"".join(packer.compress(row * 64) for _ in range(-(-height // 64)))
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", body + packer.flush()), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def _in_dicom(stream: bytes, syntax: str) -> bytes:
    dataset = dicom(_GREY, syntax=syntax)
    dataset.PixelData = encapsulate([stream])
    dataset["PixelData"].VR = "OB"
    return saved(dataset)


def _broken_jpeg() -> bytes:
    stream = bytearray(_file(Image.fromarray(_GREY), "JPEG"))
    middle = len(stream) // 2
    stream[middle : middle + 40] = bytes(40)
    return _in_dicom(bytes(stream), JPEGLosslessSV1)


def _box_of_length_0() -> bytes:
    stream = bytearray(_file(Image.fromarray(_GREY), "JPEG2000", irreversible=False))
    offset = stream.find(b"jp2h") - 4
    stream[offset : offset + 4] = bytes(4)
    return _in_dicom(bytes(stream), JPEG2000Lossless)


def _jpeg_of_scans(count: int) -> bytes:
    whole = _file(Image.fromarray(_GREY), "JPEG", progressive=True)
    last = whole.rfind(b"\xff\xda")
    return whole[:last] + whole[last:-2] * count + whole[-2:]


def _deflated_bomb(behind: int) -> bytes:
    """A deflated DICOM whose header is long before it says that it is deflated."""
    content = saved(dicom(_GREY, syntax=DeflatedExplicitVRLittleEndian))
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(2_000)) + packer.flush()
    body = 144 + struct.unpack_from("<I", content, 140)[0]
    version = struct.pack("<HH2sHI", 2, 1, b"OB", 0, behind) + bytes(behind)
    elements = content[144:body]
    first = elements.find(struct.pack("<HH", 2, 2))
    length = len(version) + len(elements) - first
    head = content[:140] + struct.pack("<I", length)
    return head + version + elements[first:] + bomb


def _tiff_of_odd_types() -> bytes:
    content = bytearray(_file(Image.fromarray(_GREY), "TIFF"))
    (start,) = struct.unpack_from("<I", content, 4)
    for offset in range(start + 2, len(content) - 12, 12):
        content[offset + 2] = 2  # every number is said to be text
    return bytes(content)


def _nested_sequences() -> bytes:
    inner = struct.pack("<HHII", 0x0008, 0x1140, 0xFFFFFFFF, 0)[:8]
    item = struct.pack("<HHI", 0xFFFE, 0xE000, 0xFFFFFFFF)
    start = struct.pack("<HHI", 8, 8, 0)
    return bytes(128) + b"DICM" + start + (inner + item) * 20_000


def _many_segments() -> bytes:
    whole = _file(Image.fromarray(_GREY), "JPEG")
    return whole[:2] + b"\xff\xfe\x00\x02" * 1_000_000 + whole[2:]


def _many_chunks() -> bytes:
    whole = _file(Image.fromarray(_GREY), "PNG")
    empty = struct.pack(">I4sI", 0, b"teST", zlib.crc32(b"teST"))
    return whole[:33] + empty * 500_000 + whole[33:]


def _wrong_size(syntax: str, form: str) -> bytes:
    stream = _file(Image.new("L", (3000, 3000), 7), form)
    return _in_dicom(stream, syntax)


#: Content by the name of its kind; made when asked for.
HOSTILE: Mapping[str, Callable[[], bytes]] = {
    "broken JPEG in DICOM": _broken_jpeg,
    "JPEG 2000 box of length 0": _box_of_length_0,
    "PNG of 1 x 100,000": lambda: _png(1, 100_000, 0),
    "PNG of 100,000 x 1": lambda: _png(100_000, 1, 2),
    "RGBA PNG of 170 million pixels": lambda: _png(17_000, 10_000, 6),
    "RGBA PNG of 16 bits": lambda: _png(14_000, 10_000, 6, 16),
    "grey PNG of 170 million pixels": lambda: _png(17_000, 10_000, 0),
    "grey PNG of 16 bits": lambda: _png(15_000, 10_000, 0, 16),
    "PNG of 10^9 pixels": lambda: _png(2**20, 2**10, 0),
    "JPEG of 3,000 scans": lambda: _jpeg_of_scans(3_000),
    "JPEG of 90 scans": lambda: _jpeg_of_scans(90),
    "JPEG of a million segments": _many_segments,
    "PNG of 500,000 chunks": _many_chunks,
    "deflated bomb": lambda: _deflated_bomb(10),
    "deflated bomb behind 5,000 bytes": lambda: _deflated_bomb(5_000),
    "TIFF of odd types": _tiff_of_odd_types,
    "nested sequences": _nested_sequences,
    "JPEG larger than its header": lambda: _wrong_size(JPEGBaseline8Bit, "JPEG"),
    "JPEG 2000 larger": lambda: _wrong_size(JPEG2000Lossless, "JPEG2000"),
    "DICOM of zeros": lambda: bytes(128) + b"DICM" + bytes(4_000),
}


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        file.truncate(8 << 30)


#: What stands where a file should, by kind; made at a path.
HOSTILE_FILES: Mapping[str, Callable[[Path], None]] = {
    "pipe": _pipe,
    "device": _device,
    "sparse file of 8 GB": _sparse,
    "folder": lambda path: path.mkdir(),
}
