"""DICOM radiographs become 8-bit pictures, by the standard's own steps.

Stored values → modality LUT or rescale → VOI LUT or window → for MONOCHROME1, which
writes bright as dark, inverted within the range that came out (DICOM PS3.4, annex N.2).
Then that range is spread over 0..255. Padding takes no part and comes out black.

Only the elements in `_READ` are looked at: pixels and what it takes to show them.
Names, dates and ids of a patient are passed over in the file and can reach no message.
docs/pixels.md lists what is honoured, what is passed over, and why.
"""

import functools
import io
import struct
import warnings
import zlib
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from retune.store.errors import ImageError

from ..bounds import check_memory, check_size, most_bytes
from ..picture import Picture, told
from ..streams import encoded_size
from ..value_tables import occurring_values, through_table
from .display import grey_table, spread_over_8_bit
from .pixels import check_form, colour_samples, grey_cells

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = [
    "decode_dicom",
    "decode_dicom_picture",
    "encoded_size",
    "is_dicom",
    "spread_over_8_bit",
]

_READ: Final = (
    "SpecificCharacterSet", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData", "FloatPixelData",
    "DoubleFloatPixelData", "PixelDataProviderURL",
    "PixelPaddingValue", "PixelPaddingRangeLimit",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
#: Pixels that are elsewhere or of another kind than is read here.
_OTHER_PIXELS: Final = {
    "FloatPixelData": "its pixels are floating-point numbers, which is not supported",
    "DoubleFloatPixelData": "its pixels are floating-point numbers, which is not "
    "supported",
    "PixelDataProviderURL": "its pixels are on a server, not in the file",
}
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")


def is_dicom(content: bytes) -> bool:
    """Whether a file's bytes begin as DICOM does, with the preamble or without.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"BM")
    (True, False)
    """
    without = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"
    return content[128:132] == b"DICM" or without


def decode_dicom(content: bytes, max_pixels: int) -> Image.Image:
    """Decode a DICOM file of one frame into mode ``L`` or ``RGB``.

    Args:
        content: The bytes of the file.
        max_pixels: More are refused before they are decoded.

    Raises:
        ImageError: It is damaged, too large, holds no image or several, or is
            compressed in a way that needs another package.
    """
    return decode_dicom_picture(content, max_pixels).image


def decode_dicom_picture(content: bytes, max_pixels: int) -> Picture:
    """`decode_dicom`, with what was applied.

    Raises:
        ImageError: As there.
    """
    _check_inflated(content, max_pixels)
    # pydicom reports oddities by warnings, with values in them; what matters is told
    # by what comes out.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\..*)?")
    _silent_pydicom()
    try:
        dataset = _read(content)
        notes = _check_shape(dataset, len(content), max_pixels)
        return _shown(dataset, notes)
    except ImageError:
        raise
    except MemoryError as error:
        raise ImageError("decoding it needs more memory than there is") from error
    # pydicom and its decoders report damage as errors of almost any kind. What they say
    # of a value is not repeated: it may have been read from the wrong place.
    except Exception as error:
        raise ImageError(f"damaged DICOM file ({type(error).__name__})") from error


@functools.cache
def _silent_pydicom() -> Any:
    """The package, told not to complain about values that are read leniently."""
    import logging

    import pydicom
    from pydicom import config

    config.settings.reading_validation_mode = config.IGNORE
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)
    return pydicom


def _read(content: bytes) -> "Dataset":
    pydicom = _silent_pydicom()
    dataset: Dataset = pydicom.dcmread(
        io.BytesIO(content), force=True, specific_tags=list(_READ)
    )
    if "PixelData" not in dataset:
        for name, reason in _OTHER_PIXELS.items():
            if name in dataset:
                raise ImageError(reason)
        raise ImageError("a DICOM file without pixels")
    if "TransferSyntaxUID" not in dataset.file_meta:
        # Files without a header are as a rule in DICOM's default transfer syntax.
        little, implicit = dataset.original_encoding[1], dataset.original_encoding[0]
        uid = pydicom.uid
        dataset.file_meta.TransferSyntaxUID = (
            uid.ImplicitVRLittleEndian
            if implicit
            else (uid.ExplicitVRLittleEndian if little else uid.ExplicitVRBigEndian)
        )
    return dataset


def _check_shape(dataset: "Dataset", file_bytes: int, max_pixels: int) -> list[str]:
    """Refuse what has no picture, before it is unpacked; gives what is to be noted."""
    for name in ("Rows", "Columns", "BitsAllocated", "PhotometricInterpretation"):
        if dataset.get(name) in (None, ""):
            raise ImageError(f"damaged DICOM file: {name} is missing")
    height, width = int(dataset.Rows), int(dataset.Columns)
    check_size(height, width, max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"{frames:,} frames; a radiograph has one")
    notes = check_form(dataset, max_pixels)
    samples, bits = int(dataset.get("SamplesPerPixel") or 1), int(dataset.BitsAllocated)
    # Values of 32 bits are sorted to find the distinct ones.
    each = 2 * bits // 8 + 3 if bits <= 16 else 48
    check_memory(2 * file_bytes + height * width * samples * each, max_pixels)
    return notes


def _shown(dataset: "Dataset", notes: list[str]) -> Picture:
    """The picture as a viewer would show it."""
    photometric = str(dataset.PhotometricInterpretation)
    if photometric not in _GREY:
        colours = colour_samples(dataset)
        if photometric == "PALETTE COLOR":
            colours = spread_over_8_bit(colours)
        return Picture(Image.fromarray(colours), told([photometric, *notes]))
    cells, high_bit = grey_cells(dataset)
    raw, places, length, codes = occurring_values(cells)
    values, said = grey_table(dataset, raw, high_bit, codes, places)
    table = np.zeros(length, np.uint8)
    table[places] = values
    shown: npt.NDArray[np.uint8] = through_table(codes, table)
    return Picture(Image.fromarray(shown), told([photometric, *said, *notes]))


def _check_inflated(content: bytes, max_pixels: int) -> None:
    """Refuse a deflated file that inflates to more than its pixels could need."""
    body = _end_of_header(content)
    header = content if body < 0 else content[:body]
    if _DEFLATED not in header[: 1 << 20]:
        return
    if not 0 < body < len(content):
        raise ImageError("damaged DICOM file: its header has no end")
    limit = most_bytes(max_pixels) // 3
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        left = memoryview(content)[body:]
        size = 0
        while left and not inflater.eof:
            size += len(inflater.decompress(left, 1 << 20))
            if size > limit:
                raise ImageError(
                    f"it inflates to more than {limit:,} bytes, which the limit of "
                    f"{max_pixels:,} pixels does not need"
                )
            left = memoryview(inflater.unconsumed_tail)
    except zlib.error as error:
        raise ImageError("damaged DICOM file (deflated)") from error


def _end_of_header(content: bytes) -> int:
    """Where group 2 ends, which is never deflated; −1 if that cannot be told.

    Its first element says so, but may lie, and pydicom goes on to the first element of
    another group; so does this.
    """
    offset = 132 if content[128:132] == b"DICM" else 0
    while offset + 8 <= len(content):
        group, _, representation, short = struct.unpack_from("<HH2sH", content, offset)
        if group != 2:
            return offset
        if representation in (b"OB", b"OW", b"UN", b"UT", b"SQ", b"OF", b"UC", b"UR"):
            if offset + 12 > len(content):
                return -1
            offset += 12 + int(struct.unpack_from("<I", content, offset + 8)[0])
        else:
            offset += 8 + int(short)
    return -1
