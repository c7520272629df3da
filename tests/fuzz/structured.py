"""Mutations of what a file says: behind checksums, compression and lengths.

A PNG with a flipped byte ends at its checksum or in zlib; here pixels, filters and the
header are changed first and packed again. So with the segments of a JPEG, the tags of a
TIFF and the attributes of a DICOM file.
"""

import io
import struct
import warnings
import zlib
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

__all__ = ["with_changed_structure"]

Random = np.random.Generator
#: Numbers at which types and sums run over.
_EDGES = (0, 1, 2, 3, 7, 8, 12, 15, 16, 17, 31, 32, 255, 256, 32_767, 32_768, 65_535)
_LARGE = (*_EDGES, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def _pick(random: Random, values: tuple[int, ...]) -> int:
    return int(values[int(random.integers(0, len(values)))])


def with_changed_structure(case: str, content: bytes, random: Random) -> bytes:
    """A file of a kind with a few of its parts changed and packed anew.

    Args:
        case: As in `image_fuzz.whole_files`; its first word counts.
        content: A whole file.
        random: Draws what is changed.
    """
    change = _CHANGES.get(case.split()[0])
    if change is None:
        return content
    with warnings.catch_warnings():  # pydicom says what it thinks of such values
        warnings.simplefilter("ignore")
        return change(content, random)


def _scribbled(content: bytes, random: Random, most: int = 8) -> bytes:
    """Some bytes replaced; the length stays."""
    changed = bytearray(content)
    for _ in range(int(random.integers(1, most + 1)) if changed else 0):
        changed[int(random.integers(0, len(changed)))] = int(random.integers(0, 256))
    return bytes(changed)


# PNG


def _chunks(content: bytes) -> list[tuple[bytes, bytes]]:
    chunks, offset = [], 8
    while offset + 12 <= len(content):
        (size,) = struct.unpack_from(">I", content, offset)
        name = content[offset + 4 : offset + 8]
        chunks.append((name, content[offset + 8 : offset + 8 + size]))
        offset += 12 + size
    return chunks


def _png(content: bytes, random: Random) -> bytes:
    """Half of them are sound and unusual: any depth, colour, filter, interlacing."""
    if random.random() < 0.5:
        return _unusual_png(random)
    chunks = _chunks(content)
    header = bytearray(chunks[0][1])
    pixels = zlib.decompress(b"".join(body for name, body in chunks if name == b"IDAT"))
    width, height = struct.unpack_from(">II", header)
    row = len(pixels) // height
    for _ in range(int(random.integers(1, 4))):
        way = int(random.integers(0, 8))
        if way == 0:
            pixels = _scribbled(pixels, random, 60)
        elif way == 1:  # filters: 5 to 255 do not exist
            changed = bytearray(pixels)
            for line in random.integers(0, height, 6).tolist():
                if line * row < len(changed):
                    changed[line * row] = _pick(random, (0, 1, 2, 3, 4, 5, 255))
            pixels = bytes(changed)
        elif way == 2:
            sides = (1, width - 1, width + 1, 2 * width, _pick(random, _LARGE))
            index = 4 * int(random.integers(0, 2))
            struct.pack_into(">I", header, index, _pick(random, sides))
        elif way == 3:
            header[8] = _pick(random, (0, 1, 2, 4, 8, 16, 3, 32))
        elif way == 4:
            header[9] = _pick(random, (0, 2, 3, 4, 6, 1, 5, 7))
        elif way == 5:
            header[10 + int(random.integers(0, 3))] = _pick(random, (0, 1, 2, 255))
        elif way == 6:
            cut = int(random.integers(0, len(pixels) + 1))
            pixels = pixels[:cut] + bytes(int(random.integers(0, 2)) * 4_000)
        else:
            extra = _PNG_CHUNKS[int(random.integers(0, len(_PNG_CHUNKS)))]
            body = random.bytes(int(random.integers(0, 800)))
            if extra in (b"iCCP", b"zTXt"):
                body = b"n\0\0" + zlib.compress(body)
            chunks.insert(int(random.integers(1, len(chunks) + 1)), (extra, body))
    return _png_of(chunks, bytes(header), pixels, random)


_DEPTHS = {0: (1, 2, 4, 8, 16), 2: (8, 16), 3: (1, 2, 4, 8), 4: (8, 16), 6: (8, 16)}
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
#: First column, first row and steps of the passes of an interlaced PNG.
_PASSES = (
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2),
    (0, 1, 1, 2),
)  # fmt: skip


def _unusual_png(random: Random) -> bytes:
    """A PNG that says of itself what it holds; few programs write such ones."""
    colour = _pick(random, tuple(_DEPTHS))
    depth = _pick(random, _DEPTHS[colour])
    width, height = (int(side) for side in random.integers(1, 70, 2))
    interlaced = int(random.integers(0, 2))
    pixels = bytearray()
    for left, top, right, down in _PASSES if interlaced else ((0, 0, 1, 1),):
        columns, rows = -(-(width - left) // right), -(-(height - top) // down)
        row_bytes = -(-columns * depth * _SAMPLES[colour] // 8)
        for _ in range(max(0, rows) if columns > 0 else 0):
            pixels += bytes([int(random.integers(0, 5))]) + random.bytes(row_bytes)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = [(b"IHDR", header)]
    if colour == 3 or random.random() < 0.1:
        size = _pick(random, (1, 2, 2**depth if depth < 9 else 256, 256))
        chunks.append((b"PLTE", random.bytes(3 * size)))
    if random.random() < 0.4:
        n_bytes = {0: 2, 2: 6}.get(colour, int(random.integers(0, 257)))
        chunks.append((b"tRNS", random.bytes(n_bytes)))
    if random.random() < 0.3:
        chunks.append((b"gAMA", random.bytes(4)))
    if random.random() < 0.3:
        chunks.append((b"sBIT", random.bytes(_SAMPLES[colour])))
    chunks += [(b"IDAT", b""), (b"IEND", b"")]
    return _png_of(chunks, header, bytes(pixels), random)


_PNG_CHUNKS = (
    b"PLTE", b"tRNS", b"gAMA", b"cHRM", b"sBIT", b"bKGD", b"iCCP", b"zTXt", b"eXIf",
    b"acTL", b"fcTL", b"fdAT", b"sPLT", b"IHDR", b"IEND", b"PLTE",
)  # fmt: skip


def _png_of(
    chunks: list[tuple[bytes, bytes]], header: bytes, pixels: bytes, random: Random
) -> bytes:
    packed = zlib.compress(pixels, int(random.integers(0, 10)))
    parts, written = [b"\x89PNG\r\n\x1a\n"], False
    for name, body in [(b"IHDR", header), *chunks[1:]]:
        bodies = [body]
        if name == b"IDAT":
            if written:
                continue
            written = True
            half = int(random.integers(0, len(packed) + 1))
            bodies = (
                [packed[:half], packed[half:]] if random.random() < 0.3 else [packed]
            )
        for one in bodies:
            crc = struct.pack(">I", zlib.crc32(name + one))
            parts.append(struct.pack(">I", len(one)) + name + one + crc)
    return b"".join(parts)


# JPEG


def _segments(content: bytes) -> list[bytes]:
    """Markers with their bodies; the last holds all behind the first scan header."""
    segments, offset = [content[:2]], 2
    while offset + 4 <= len(content):
        (size,) = struct.unpack_from(">H", content, offset + 2)
        if content[offset + 1] == 0xDA:
            break
        segments.append(content[offset : offset + 2 + size])
        offset += 2 + size
    return [*segments, content[offset:]]


def _jpeg(content: bytes, random: Random) -> bytes:
    segments = _segments(content)
    for _ in range(int(random.integers(1, 4))):
        index = int(random.integers(1, len(segments)))
        one = segments[index]
        way = int(random.integers(0, 7))
        if way == 0 and len(one) > 4:  # its length stays right
            segments[index] = one[:4] + _scribbled(one[4:], random, 3)
        elif way == 1:
            segments.insert(index, one)
        elif way == 2 and index < len(segments) - 1:
            del segments[index]
        elif way == 3:
            other = int(random.integers(1, len(segments)))
            segments[index], segments[other] = segments[other], segments[index]
        elif way == 4 and one[1] in (0xC0, 0xC1, 0xC2, 0xC3) and len(one) > 11:
            frame = bytearray(one)
            frame[1] = _pick(random, (0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC9, 0xCA))
            frame[4] = _pick(random, (8, 12, 16, 1))
            side = 5 + 2 * int(random.integers(0, 2))
            struct.pack_into(">H", frame, side, _pick(random, _EDGES))
            frame[11] = int(random.integers(0, 256))
            segments[index] = bytes(frame)
        elif way == 5:
            interval = b"\xff\xdd\0\4" + struct.pack(">H", _pick(random, _EDGES))
            segments.insert(index, interval)
        else:
            name = b"Adobe\0d\0\0\0\0" + bytes([_pick(random, (0, 1, 2, 255))])
            body = struct.pack(">H", 2 + len(name)) + name
            segments.insert(index, b"\xff\xee" + body)
        if len(segments) < 3:
            break
    return b"".join(segments)


# TIFF


def _tiff(content: bytes, random: Random) -> bytes:
    changed = bytearray(content)
    order = "<" if content[:2] == b"II" else ">"
    (start,) = struct.unpack_from(f"{order}I", content, 4)
    (count,) = struct.unpack_from(f"{order}H", content, start)
    for _ in range(int(random.integers(1, 4))):
        entry = start + 2 + 12 * int(random.integers(0, count))
        way = int(random.integers(0, 6))
        if way == 0:
            struct.pack_into(f"{order}I", changed, entry + 8, _pick(random, _LARGE))
        elif way == 1:
            struct.pack_into(
                f"{order}H", changed, entry + 2, _pick(random, _EDGES[:13])
            )
        elif way == 2:
            struct.pack_into(f"{order}I", changed, entry + 4, _pick(random, _LARGE))
        elif way == 3:  # another tag with this value
            struct.pack_into(f"{order}H", changed, entry, _pick(random, _TIFF_TAGS))
        elif way == 4:  # the next page: this one, the beginning, or nowhere
            behind = start + 2 + 12 * count
            page = _pick(random, (start, 0, 4, len(content) - 2, 2**31))
            struct.pack_into(f"{order}I", changed, behind, page)
        else:
            struct.pack_into(f"{order}H", changed, entry + 8, _pick(random, _EDGES))
    return bytes(changed)


_TIFF_TAGS = (
    254, 256, 257, 258, 259, 262, 266, 273, 274, 277, 278, 279, 280, 281, 284, 317, 320,
    322, 323, 324, 325, 330, 338, 339, 340, 341, 347, 34_665, 34_675,
)  # fmt: skip


# DICOM


def _dicom(content: bytes, random: Random) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content), force=True)
    for _ in range(int(random.integers(1, 4))):
        way = int(random.integers(0, 7))
        if way == 0:
            name = _NUMBERS[int(random.integers(0, len(_NUMBERS)))]
            _set(dataset, name, _pick(random, _EDGES))
        elif way == 1:
            name = _DECIMALS[int(random.integers(0, len(_DECIMALS)))]
            values = (
                "0",
                "-1",
                "1e30",
                "1e-30",
                "",
                "nan",
                "1\\2",
                "-0",
                "99999999999",
            )
            _set(dataset, name, values[int(random.integers(0, len(values)))])
        elif way == 2:
            kinds = ("MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422",
                     "PALETTE COLOR", "YBR_RCT", "ARGB", "", "grey")  # fmt: skip
            case = kinds[int(random.integers(0, len(kinds)))]
            _set(dataset, "PhotometricInterpretation", case)
        elif way == 3:
            dataset.file_meta.TransferSyntaxUID = _SYNTAXES[
                int(random.integers(0, len(_SYNTAXES)))
            ]
        elif way == 4:
            name = ("VOILUTSequence", "ModalityLUTSequence")[int(random.integers(0, 2))]
            _set(dataset, name, [_table(random)])
        elif way == 5 and "PixelData" in dataset:
            pixels = bytes(dataset.PixelData)
            cut = int(random.integers(0, len(pixels) + 1))
            dataset.PixelData = (pixels[:cut], pixels + pixels[:cut])[cut % 2]
        elif "PixelData" in dataset:
            dataset.PixelData = _scribbled(bytes(dataset.PixelData), random, 12)
    return _saved(dataset, content)


_NUMBERS = (
    "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "SamplesPerPixel",
    "PixelRepresentation", "PlanarConfiguration", "NumberOfFrames", "PixelPaddingValue",
    "PixelPaddingRangeLimit",
)  # fmt: skip
_DECIMALS = (
    "RescaleSlope", "RescaleIntercept", "WindowCenter", "WindowWidth",
    "PixelAspectRatio", "NumberOfFrames", "PixelSpacing",
)  # fmt: skip
_SYNTAXES = (
    ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit,
    JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless, RLELossless,
    "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.102", "1.2.3",
)  # fmt: skip


def _set(dataset: Dataset, name: str, value: object) -> None:
    # What pydicom does not write, other programs do; here it is not tried.
    with suppress(ValueError, TypeError, AttributeError, OverflowError):
        setattr(dataset, name, value)


def _table(random: Random) -> Dataset:
    table = Dataset()
    size = _pick(random, (0, 1, 2, 256, 4096, 65_535))
    bits = _pick(random, (1, 8, 12, 16, 32))
    table.LUTDescriptor = [size, _pick(random, (0, 1, 65_535)), bits]
    table.add_new(0x00283006, "OW", random.bytes(2 * int(random.integers(0, 600))))
    return table


def _saved(dataset: Dataset, before: bytes) -> bytes:
    stream = io.BytesIO()
    try:
        dataset.save_as(stream, enforce_file_format=False)
    except Exception:  # noqa: BLE001 - what cannot be written is not tried
        return before
    return stream.getvalue()


_CHANGES: dict[str, Callable[[bytes, Random], bytes]] = {
    "PNG": _png, "JPEG": _jpeg, "TIFF": _tiff, "DICOM": _dicom,
}  # fmt: skip
