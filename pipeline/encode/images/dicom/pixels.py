"""Stored samples of a DICOM file, from every transfer syntax.

What a compressed stream says of itself is compared with the header around it before it
is unpacked: decoders believe the stream.
"""

from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from retune.store.errors import ImageError

from ..bounds import check_size
from ..streams import Stream, read_stream

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["check_form", "colour_samples", "grey_cells"]

Cells = npt.NDArray[np.integer[Any]]

_SAMPLES: Final = {
    "MONOCHROME1": 1, "MONOCHROME2": 1, "PALETTE COLOR": 1, "RGB": 3, "YBR_FULL": 3,
    "YBR_FULL_422": 3, "YBR_ICT": 3, "YBR_RCT": 3,
}  # fmt: skip
_BITS_ALLOCATED: Final = (1, 8, 16, 32)
_JPEG_12_BIT: Final = "1.2.840.10008.1.2.4.51"
_BIG_ENDIAN: Final = "1.2.840.10008.1.2.2"


def check_form(dataset: "Dataset", max_pixels: int) -> list[str]:
    """Refuse samples that the header describes wrongly or that cannot be unpacked.

    Returns:
        What is odd, and does no harm.

    Raises:
        ImageError: The kind of samples is unknown, or is not what the stream holds, or
            needs another package.
    """
    photometric = str(dataset.PhotometricInterpretation)
    if photometric not in _SAMPLES:
        # Not repeated here: in a damaged file it may be anything.
        raise ImageError("its photometric interpretation is not known")
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if samples != _SAMPLES[photometric]:
        raise ImageError(
            f"damaged DICOM file: {samples} samples per pixel with {photometric}"
        )
    allocated = int(dataset.BitsAllocated)
    stored = _bits_stored(dataset)
    if allocated not in _BITS_ALLOCATED or not 0 < stored <= allocated:
        raise ImageError(
            f"damaged DICOM file: {stored} bits stored in {allocated} allocated"
        )
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        _check_length(dataset, photometric, samples, allocated)
        return []
    stream = read_stream(_only_frame(dataset))
    return [] if stream is None else _compare(dataset, stream, max_pixels)


def _bits_stored(dataset: "Dataset") -> int:
    given = dataset.get("BitsStored")
    return int(dataset.BitsAllocated if given in (None, "") else given)


def _check_length(
    dataset: "Dataset", photometric: str, samples: int, allocated: int
) -> None:
    n_samples = int(dataset.Rows) * int(dataset.Columns) * samples
    needed = -(-n_samples * allocated // 8)
    if photometric == "YBR_FULL_422":
        needed = needed * 2 // 3
    there = len(dataset.PixelData)
    if there < needed:
        raise ImageError(
            f"damaged DICOM file: {there:,} bytes of pixels where {needed:,} are needed"
        )


def _only_frame(dataset: "Dataset") -> bytes:
    from pydicom.encaps import generate_frames
    from pydicom.pixels.decoders.base import get_decoder

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise ImageError(f"compressed as {syntax.name}, which is no image") from error
    if not decoder.is_available:
        raise ImageError(
            f"compressed as {syntax.name}; reading that needs "
            "pip install 'retune-cli[dicom]'"
        )
    frame: bytes = next(generate_frames(dataset.PixelData, number_of_frames=1))
    return frame


def _compare(dataset: "Dataset", stream: Stream, max_pixels: int) -> list[str]:
    check_size(stream.height, stream.width, max_pixels)
    height, width = int(dataset.Rows), int(dataset.Columns)
    if (stream.height, stream.width) != (height, width):
        raise ImageError(
            f"damaged DICOM file: its stream has {stream.width}×{stream.height} "
            f"pixels, its header says {width}×{height}"
        )
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if stream.components != samples:
        raise ImageError(
            f"damaged DICOM file: its stream has {stream.components} samples per "
            f"pixel, its header says {samples}"
        )
    allocated, stored = int(dataset.BitsAllocated), _bits_stored(dataset)
    # Where a sample has 8 bits, decoders give bytes, whatever the header allocates.
    if stream.precision > allocated or (stream.precision <= 8 < allocated):
        raise ImageError(
            f"damaged DICOM file: its stream has {stream.precision} bits per sample, "
            f"its header says {stored} in {allocated}"
        )
    if stream.precision != stored:
        return [f"stream of {stream.precision} bits"]
    return []


def grey_cells(dataset: "Dataset") -> tuple[Cells, int]:
    """Cells of a grey picture: the stored value and whatever stands in other bits.

    Returns:
        Shape (height, width), and the place of the highest bit of a value.

    Raises:
        ImageError: The stream cannot be decoded.
    """
    stored, allocated = _bits_stored(dataset), int(dataset.BitsAllocated)
    lowest_end = stored - 1
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == _JPEG_12_BIT and stored > 8:
        return _jpeg_of_12_bits(dataset), lowest_end
    big = syntax == _BIG_ENDIAN
    if syntax.is_compressed or allocated == 1 or (big and allocated == 8):
        return _by_pydicom(dataset, raw=True), lowest_end
    cells = np.frombuffer(
        dataset.PixelData,
        np.dtype(f"{'>' if big else '<'}u{allocated // 8}"),
        int(dataset.Rows) * int(dataset.Columns),
    )
    high_bit = dataset.get("HighBit")
    given = lowest_end if high_bit in (None, "") else int(high_bit)
    lowest_bit = given if lowest_end <= given < allocated else lowest_end
    return cells.reshape(int(dataset.Rows), int(dataset.Columns)), lowest_bit


def _by_pydicom(dataset: "Dataset", *, raw: bool) -> Cells:
    from pydicom.pixels.utils import pixel_array

    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        return pixel_array(dataset, index=0, raw=raw)
    except MemoryError:
        raise
    except Exception as error:
        if not syntax.is_compressed:
            raise
        raise ImageError(
            f"its pixels, compressed as {syntax.name}, cannot be decoded: they are "
            "damaged, or of a kind that no installed decoder knows"
        ) from error


def _jpeg_of_12_bits(dataset: "Dataset") -> Cells:
    """Decode JPEG Extended with GDCM itself, which pydicom does not ask.

    Raises:
        ImageError: GDCM is not installed, or cannot decode it.
    """
    try:
        import gdcm  # an extra: it may be absent
    except ImportError as error:
        raise ImageError(
            "compressed as JPEG of 12 bits; reading that needs "
            "pip install 'retune-cli[dicom]'"
        ) from error
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(_only_frame(dataset))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetDataElement(element)
    grey = gdcm.PhotometricInterpretation.GetPIType("MONOCHROME2")
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(grey))
    syntax = gdcm.TransferSyntax.GetTSType(_JPEG_12_BIT)
    image.SetTransferSyntax(gdcm.TransferSyntax(syntax))
    image.SetPixelFormat(gdcm.PixelFormat(1, 16, 12, 11, 0))
    decoded = image.GetBuffer().encode("utf-8", "surrogateescape")
    n_pixels = int(dataset.Rows) * int(dataset.Columns)
    if len(decoded) < 2 * n_pixels:
        raise ImageError("its pixels, compressed as JPEG of 12 bits, are damaged")
    cells: Cells = np.frombuffer(decoded, "<u2", n_pixels)
    return cells.reshape(int(dataset.Rows), int(dataset.Columns))


def colour_samples(dataset: "Dataset") -> npt.NDArray[Any]:
    """Colours: 8 bits, shape (height, width, 3); of a palette as its tables have them.

    Raises:
        ImageError: The stream cannot be decoded.
    """
    from pydicom.pixels.processing import apply_color_lut

    photometric, bits = str(dataset.PhotometricInterpretation), _bits_stored(dataset)
    if photometric == "PALETTE COLOR":
        indices = _by_pydicom(dataset, raw=False)
        mask = np.array((1 << bits) - 1).astype(indices.dtype)
        return np.asarray(apply_color_lut(indices & mask, dataset))
    native = not dataset.file_meta.TransferSyntaxUID.is_compressed
    if photometric.startswith("YBR_FULL") and bits != 8 and native:
        return _from_ybr(_by_pydicom(dataset, raw=True), bits)
    values = _by_pydicom(dataset, raw=False)
    if values.dtype == np.uint8 and bits == 8:
        return np.asarray(values)
    top = (1 << bits) - 1
    masked = values & np.array(top).astype(values.dtype)
    scaled = masked.astype(np.float32) * np.float32(255.0 / top)
    return np.asarray(np.rint(scaled).clip(0, 255), dtype=np.uint8)


def _from_ybr(samples: Cells, bits: int) -> npt.NDArray[np.uint8]:
    """Colours of YBR_FULL samples of any depth (DICOM PS3.3, C.7.6.3.1.2)."""
    top, middle = np.float32((1 << bits) - 1), np.float32(1 << bits - 1)
    shown = np.empty(samples.shape, np.uint8)
    for row, line in enumerate(samples):
        y, b, r = (line & np.array(int(top)).astype(line.dtype)).astype(np.float32).T
        b, r = b - middle, r - middle
        colours = (y + 1.402 * r, y - 0.344136 * b - 0.714136 * r, y + 1.772 * b)
        scaled = np.stack(colours, axis=1) * np.float32(255.0) / top
        shown[row] = np.rint(scaled).clip(0, 255)
    return shown
