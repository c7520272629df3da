"""Grey values of a DICOM file as its header asks for them to be shown.

Everything here is done once per value that occurs, never per pixel.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from retune.store.errors import ImageError

from ..value_tables import count_codes

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["grey_table", "spread_over_8_bit", "stored_values"]

Values = npt.NDArray[Any]

#: A window or LUT that makes all but so many of the pixels black or white hides the
#: picture. It is a wrong hint about display and says nothing about the pixels.
_LEAST_GREY: Final = 0.01
#: Up to here float32 holds whole numbers exactly.
_EXACT: Final = 1 << 24


def spread_over_8_bit(values: Values) -> npt.NDArray[np.uint8]:
    """Grey values, from the darkest to the brightest that occurs, over 0..255.

    >>> spread_over_8_bit(np.array([-100.0, 0.0, 100.0])).tolist()
    [0, 128, 255]
    >>> spread_over_8_bit(np.array([7, 7])).tolist()
    [0, 0]
    """
    low, high = float(values.min()), float(values.max())
    if high == low:
        return np.zeros(values.shape, np.uint8)
    if max(abs(low), abs(high)) < _EXACT and high - low > 1e-3:
        scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(
            255.0 / (high - low)
        )
    else:
        scaled = (values.astype(np.float64) - low) / (high - low) * 255.0
    grey: npt.NDArray[np.uint8] = np.rint(scaled).clip(0, 255).astype(np.uint8)
    return grey


def stored_values(raw: Values, bits: int, high_bit: int, *, signed: bool) -> Values:
    """The values in cells, without the bits that do not belong to them.

    Older files have overlays in those bits; a decoder hands them on.

    Args:
        raw: Cells, any shape, unsigned or signed.
        bits: Bits stored.
        high_bit: Place of the highest of them.
        signed: Whether they are in two's complement.

    >>> stored_values(np.array([0x8FFF, 0x1001], "u2"), 12, 11, signed=True).tolist()
    [-1, 1]
    >>> stored_values(np.array([0xFFF0], "u2"), 12, 15, signed=False).tolist()
    [4095]
    """
    size = 8 * raw.dtype.itemsize
    cells = raw.view(f"{raw.dtype.byteorder}u{raw.dtype.itemsize}")
    cells = cells.astype(f"u{raw.dtype.itemsize}")
    cells = cells << np.array(size - 1 - high_bit).astype(cells.dtype)
    if signed:
        cells = cells.view(f"i{raw.dtype.itemsize}")
    shifted: Values = cells >> np.array(size - bits).astype(cells.dtype)
    return shifted


def grey_table(
    dataset: "Dataset", raw: Values, high_bit: int, codes: Values, places: Values
) -> tuple[npt.NDArray[np.uint8], list[str]]:
    """What each cell that occurs is shown as.

    Args:
        dataset: The header.
        raw: V distinct cells.
        high_bit: Place of the highest bit of a value.
        codes: The picture; each pixel is the place of its cell in a table.
        places: The place of each of the V cells in that table.

    Returns:
        V values of 0..255, and what was applied.

    Raises:
        ImageError: There is nothing to see.
    """
    signed = int(dataset.get("PixelRepresentation") or 0) == 1
    bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
    stored = stored_values(raw, bits, high_bit, signed=signed)
    padding = _is_padding(dataset, raw, stored, signed=signed)
    native = stored[~padding]
    if not native.size:
        raise ImageError("all its pixels are padding: there is nothing to see")
    if native.min() == native.max():
        raise ImageError("all its pixels have the same value: there is nothing to see")
    notes = ["padding"] if padding.any() else []

    def grey_share(shown: Values) -> float:
        """The share of pixels that are neither black nor white."""
        counts = count_codes(codes)[places[~padding]]
        between = (shown > shown.min()) & (shown < shown.max())
        return float(counts[between].sum() / counts.sum())

    shown = _modality(dataset, native, notes)
    shown = _windowed(dataset, shown, grey_share, notes)
    if str(dataset.PhotometricInterpretation) == "MONOCHROME1":
        shown = shown.max() - (shown.astype(np.float64) - shown.min())
    table = np.zeros(raw.size, np.uint8)
    table[~padding] = spread_over_8_bit(shown)
    return table, notes


def _is_padding(
    dataset: "Dataset", raw: Values, stored: Values, *, signed: bool
) -> npt.NDArray[np.bool_]:
    """Which cells are padding (DICOM PS3.3, C.7.5.1.1.2).

    Padding may lie outside of the bits stored, and its value may be written with the
    wrong sign; so it is compared with the whole cell, too.
    """
    first = _whole_number(dataset, "PixelPaddingValue")
    if first is None:
        return np.zeros(raw.shape, bool)
    last = _whole_number(dataset, "PixelPaddingRangeLimit")
    bits = 8 * raw.dtype.itemsize
    whole = stored_values(raw, bits, bits - 1, signed=signed)
    given = (first, first if last is None else last)
    low, high = sorted(_wrapped(one, bits, signed=signed) for one in given)
    inside = [(low <= values) & (values <= high) for values in (stored, whole)]
    return np.asarray(inside[0] | inside[1])


def _whole_number(dataset: "Dataset", name: str) -> int | None:
    """A number of the header; None if there is none or it cannot be read as one."""
    try:
        value = dataset.get(name)
        return None if value in (None, "") else int(value)
    # The element may hold anything.
    except Exception:  # noqa: BLE001
        return None


def _wrapped(value: int, bits: int, *, signed: bool) -> int:
    """A number as a cell of so many bits would hold it.

    >>> _wrapped(63536, 16, signed=True), _wrapped(-2000, 16, signed=False)
    (-2000, 63536)
    """
    value %= 1 << bits
    return value - (1 << bits) if signed and value >> bits - 1 else value


def _modality(dataset: "Dataset", values: Values, notes: list[str]) -> Values:
    """Through the modality LUT or rescaling; as they are if that leaves no contrast."""
    from pydicom.pixels.processing import apply_modality_lut

    has_lut, has_slope = "ModalityLUTSequence" in dataset, "RescaleSlope" in dataset
    if not has_lut and not has_slope:
        return values
    name = "modality LUT" if has_lut else "rescale"
    values_shown = _tried(lambda: apply_modality_lut(values, dataset))
    if values_shown is None:
        notes.append(f"{name} passed over")
        return values
    if has_lut:
        notes.append(name)
    elif np.argmax(values_shown) != np.argmax(values):
        notes.append("rescale inverts")
    return values_shown


def _windowed(
    dataset: "Dataset",
    values: Values,
    grey_share: Callable[[Values], float],
    notes: list[str],
) -> Values:
    """The first VOI LUT or window that can be applied and shows the picture."""
    for name, apply in _candidates(dataset, values):
        shown = _tried(apply)
        if shown is not None and (
            grey_share(shown) >= _LEAST_GREY or grey_share(values) < _LEAST_GREY
        ):
            notes.append(name)
            return shown
        if f"{name} passed over" not in notes:
            notes.append(f"{name} passed over")
    return values


def _candidates(
    dataset: "Dataset", values: Values
) -> Iterator[tuple[str, Callable[[], Values]]]:
    from pydicom.pixels.processing import apply_voi, apply_windowing

    if "VOILUTSequence" in dataset:
        yield "VOI LUT", partial(apply_voi, values, dataset, index=0)
    if "WindowCenter" not in dataset or "WindowWidth" not in dataset:
        return
    try:
        centre = dataset.WindowCenter
    # A number that is none, among several.
    except Exception:  # noqa: BLE001
        yield "window", partial(apply_windowing, values, dataset, index=0)
        return
    if centre in (None, ""):
        return
    listed = not isinstance(centre, str) and hasattr(centre, "__getitem__")
    for index in range(len(centre) if listed else 1):
        yield "window", partial(apply_windowing, values, dataset, index=index)


def _tried(apply: Callable[[], Values]) -> Values | None:
    """What a step gives; None if it fails or leaves no contrast."""
    try:
        with np.errstate(all="ignore"):
            shown = np.asarray(apply())
    except MemoryError:
        raise
    # Tables and numbers of the header may hold anything.
    except Exception:  # noqa: BLE001
        return None
    if not np.isfinite(shown).all() or shown.min() == shown.max():
        return None
    return shown
