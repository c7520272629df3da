"""DICOM radiographs become 8-bit pictures, by the standard's own steps.

Stored values → modality LUT or rescale → VOI LUT or window → for MONOCHROME1, which
writes bright as dark, inverted within the range that came out (DICOM PS3.4, annex N.2).
Then that range is spread over 0..255.

Only the elements in `_READ` are looked at: pixels and what it takes to show them.
Names, dates and ids of a patient are passed over in the file and can reach no message.
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

from .value_tables import occurring_values, through_table

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["decode_dicom", "encoded_size", "is_dicom", "spread_over_8_bit"]

_READ: Final = (
    "SpecificCharacterSet", "Rows", "Columns", "SamplesPerPixel", "NumberOfFrames",
    "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelData",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence",
    "WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence",
    "RedPaletteColorLookupTableDescriptor", "RedPaletteColorLookupTableData",
    "GreenPaletteColorLookupTableDescriptor", "GreenPaletteColorLookupTableData",
    "BluePaletteColorLookupTableDescriptor", "BluePaletteColorLookupTableData",
    "SegmentedRedPaletteColorLookupTableData",
    "SegmentedGreenPaletteColorLookupTableData",
    "SegmentedBluePaletteColorLookupTableData",
)  # fmt: skip
_DEFLATED: Final = "1.2.840.10008.1.2.1.99"
#: What a header and a few private elements may add to a deflated file's pixels.
_HEADER_BYTES: Final = 1 << 24
_GREY: Final = ("MONOCHROME1", "MONOCHROME2")
_COLOUR: Final = (
    "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT",
)  # fmt: skip


def is_dicom(content: bytes) -> bool:
    """Whether a file's bytes begin as DICOM does, with the preamble or without.

    >>> is_dicom(bytes(128) + b"DICM"), is_dicom(b"BM")
    (True, False)
    """
    without = content[:2] in (b"\x02\x00", b"\x08\x00") and content[3:4] == b"\x00"
    return content[128:132] == b"DICM" or without


def spread_over_8_bit(values: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """Grey values, from the darkest to the brightest that occurs, over 0..255.

    >>> spread_over_8_bit(np.array([-100.0, 0.0, 100.0])).tolist()
    [0, 128, 255]
    >>> spread_over_8_bit(np.array([7, 7])).tolist()
    [0, 0]
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros(values.shape, np.uint8)
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(
        255.0 / (high - low)
    )
    grey: npt.NDArray[np.uint8] = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return grey


def decode_dicom(content: bytes, max_pixels: int) -> Image.Image:
    """Decode a DICOM file of one frame into mode ``L`` or ``RGB``.

    Args:
        content: The bytes of the file.
        max_pixels: More are refused before they are decoded.

    Raises:
        ImageError: It is damaged, too large, holds no image or several, or is
            compressed in a way that needs another package.
    """
    _check_inflated(content, max_pixels)
    # pydicom tells of oddities by warnings, with values in them; what matters is told
    # by what comes out.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"pydicom(\..*)?")
    pydicom = _silent_pydicom()
    try:
        dataset = _read(content)
        _check_shape(dataset, max_pixels)
        pixels = _shown(dataset)
    except ImageError:
        raise
    # pydicom and its decoders report damage as any of these. What they say of a value
    # is not repeated: it may have been read from the wrong place in a damaged file.
    except (
        ArithmeticError, AttributeError, EOFError, LookupError, MemoryError,
        NotImplementedError, OSError, RuntimeError, TypeError, UserWarning, ValueError,
        struct.error, zlib.error, pydicom.errors.BytesLengthException,
        pydicom.errors.InvalidDicomError,
    ) as error:  # fmt: skip
        raise ImageError(f"damaged DICOM file ({type(error).__name__})") from error
    return Image.fromarray(pixels)


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


def _check_shape(dataset: "Dataset", max_pixels: int) -> None:
    height, width = int(dataset.Rows), int(dataset.Columns)
    _check_size(height, width, max_pixels)
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ImageError(f"{frames:,} frames; a radiograph has one")
    kind = str(dataset.PhotometricInterpretation)
    if kind not in (*_GREY, *_COLOUR):
        # Not repeated here: in a damaged file it may be anything.
        raise ImageError("its photometric interpretation is not known")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_compressed:
        return
    from pydicom.encaps import generate_frames
    from pydicom.pixels.decoders.base import get_decoder

    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(f"compressed as {syntax.name}, which is no image") from error
    if not decoder.is_available:
        raise ImageError(
            f"compressed as {syntax.name}; reading that needs "
            "pip install 'retune-cli[dicom]'"
        )
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    size = encoded_size(frame)
    if size is not None:
        _check_size(*size, max_pixels)


def _check_size(height: int, width: int, max_pixels: int) -> None:
    if height * width > max_pixels:
        raise ImageError(
            f"{width}×{height} pixels are more than the limit of {max_pixels:,}"
            " (RETUNE_MAX_PIXELS raises it)"
        )


def encoded_size(frame: bytes) -> tuple[int, int] | None:
    """Height and width that a JPEG, JPEG-LS or JPEG 2000 stream says it has.

    The header around it may say less, and a decoder believes the stream (ITU-T T.81
    B.2.2; ISO 15444-1 A.5.1).

    Returns:
        None if it says nothing, as run-length coding does.
    """
    start = frame.find(b"\xff\x4f\xff\x51")
    if start >= 0 and len(frame) >= start + 24:
        right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
        return max(0, bottom - top), max(0, right - left)
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 9 <= len(frame) and frame[place] == 0xFF:
        marker = frame[place + 1]
        if (
            0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)
        ) or marker == 0xF7:
            height, width = struct.unpack_from(">2H", frame, place + 5)
            return height, width
        place += 2 + struct.unpack_from(">H", frame, place + 2)[0]
    return None


def _check_inflated(content: bytes, max_pixels: int) -> None:
    """Refuse a deflated file that inflates to more than its pixels could need."""
    start = content.find(_DEFLATED.encode(), 0, 4096)
    if start < 0:
        return
    if not 0 < (body := _end_of_header(content)) < len(content):
        raise ImageError("damaged DICOM file")
    limit = max_pixels * 6 + _HEADER_BYTES
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
    """Where group 2 ends, which is never deflated; its first element says so."""
    if content[128:136] != b"DICM\x02\x00\x00\x00" or len(content) < 144:
        return -1
    return 144 + int(struct.unpack_from("<I", content, 140)[0])


def _shown(dataset: "Dataset") -> npt.NDArray[np.uint8]:
    """Pixels as a viewer would show them, (height, width) or (height, width, 3)."""
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut
    from pydicom.pixels.utils import pixel_array

    values = pixel_array(dataset, index=0)
    kind = str(dataset.PhotometricInterpretation)
    if kind == "PALETTE COLOR":
        return spread_over_8_bit(apply_color_lut(values, dataset))
    if kind not in _GREY:
        if values.dtype == np.uint8:
            return np.asarray(values)
        top = (1 << int(dataset.BitsStored)) - 1
        scaled = values.astype(np.float32) * np.float32(255.0 / top)
        return np.asarray(np.rint(scaled).clip(0, 255), dtype=np.uint8)
    stored, places, length, codes = occurring_values(values)
    shown = _windowed(apply_modality_lut(stored, dataset), dataset)
    if not np.isfinite(shown).all():
        raise ImageError("rescaling gives values that are no numbers")
    if kind == "MONOCHROME1":
        shown = shown.max() - (shown.astype(np.float64) - shown.min())
    table = np.zeros(length, np.uint8)
    table[places] = spread_over_8_bit(shown)
    return through_table(codes, table)


def _windowed(values: npt.NDArray[Any], dataset: "Dataset") -> npt.NDArray[Any]:
    """The first VOI LUT, else the first window; as they are where there is neither.

    A window narrower than the standard allows is a wrong hint about display and is
    passed over; it says nothing about the pixels.
    """
    from pydicom.pixels.processing import apply_voi_lut

    if "VOILUTSequence" not in dataset:
        centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
        first = width[0] if _is_list(width) and width else width
        linear = str(dataset.get("VOILUTFunction") or "LINEAR") == "LINEAR"
        if centre in (None, "") or first in (None, ""):
            return values
        if float(first) < 1 if linear else float(first) <= 0:
            return values
    return apply_voi_lut(values, dataset, index=0)


def _is_list(value: object) -> bool:
    return not isinstance(value, str) and hasattr(value, "__getitem__")
