"""The loops that numba compiles; importing this file does it. See `kernels`.

Whoever runs one lets other threads run meanwhile. Numbers are kept to 32 bits by hand:
numba widens sums to 64 bits, which take vector units several times as long.
"""

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
import numpy.typing as npt

__all__ = ["across", "down", "unfilter"]

Pixels = npt.NDArray[np.uint8]

_SEEN = numba.types.Array(numba.uint8, 2, "C", readonly=True)
_MADE = numba.types.Array(numba.uint8, 2, "C")
_RESIZE = numba.void(
    _SEEN,
    numba.types.Array(numba.int32, 2, "C", readonly=True),
    numba.types.Array(numba.int64, 2, "C", readonly=True),
    _MADE,
)


def _compiled(signature: Any) -> Callable[[Callable[..., Any]], Any]:
    def compiled(function: Callable[..., Any]) -> Any:
        try:
            return numba.njit(signature, nogil=True, cache=True)(function)
        except RuntimeError:  # there is nowhere to keep compiled code
            return numba.njit(signature, nogil=True)(function)

    return compiled


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _paeth(left: int, above: int, corner: int) -> int:
    """Of three neighbours the one nearest to left + above - corner."""
    to_left = abs(above - corner)
    to_above = abs(left - corner)
    to_corner = abs(above + left - 2 * corner)
    nearest = above if to_above <= to_corner else corner
    # & instead of and: no branch that a processor could guess wrongly.
    return left if (to_left <= to_above) & (to_left <= to_corner) else nearest


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _two_paeth_rows(filtered: Pixels, pixels: Pixels, y: int) -> None:
    """Rows y and y + 1 of one byte per pixel, the second one pixel behind the first.

    A pixel waits for the one before it. With two rows at once one computes while the
    other waits.
    """
    width = pixels.shape[1]
    first, second = filtered[y], filtered[y + 1]
    up, upper, lower = pixels[y - 1], pixels[y], pixels[y + 1]
    corner = np.int32(up[0])
    left = (np.int32(first[1]) + _paeth(np.int32(0), corner, np.int32(0))) & 255
    upper[0] = np.uint8(left)
    lower_left = lower_corner = np.int32(0)
    for x in range(1, width):
        above, lower_above = np.int32(up[x]), left
        left = (np.int32(first[x + 1]) + _paeth(left, above, corner)) & 255
        lower_left = (
            np.int32(second[x]) + _paeth(lower_left, lower_above, lower_corner)
        ) & 255
        upper[x] = np.uint8(left)
        lower[x - 1] = np.uint8(lower_left)
        corner, lower_corner = above, lower_above
    last = np.int32(second[width]) + _paeth(lower_left, left, lower_corner)
    lower[width - 1] = np.uint8(last & 255)


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _paeth_row(filtered: Pixels, pixels: Pixels, y: int, step: int) -> None:
    for first in range(step):
        left = corner = np.int32(0)
        for x in range(first, pixels.shape[1], step):
            above = np.int32(pixels[y - 1, x])
            left = (np.int32(filtered[y, x + 1]) + _paeth(left, above, corner)) & 255
            pixels[y, x] = np.uint8(left)
            corner = above


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _other_row(
    filtered: Pixels, pixels: Pixels, y: int, step: int, filter_type: int
) -> None:
    """A row of the filters None, Sub, Up and Average: 0 to 3."""
    for x in range(pixels.shape[1]):
        left = (
            np.int32(pixels[y, x - step])
            if x >= step and filter_type & 1
            else np.int32(0)
        )
        above = np.int32(pixels[y - 1, x]) if y > 0 and filter_type & 2 else np.int32(0)
        guess = (left + above) >> 1 if filter_type == 3 else left + above
        pixels[y, x] = np.uint8((np.int32(filtered[y, x + 1]) + guess) & 255)


@_compiled(numba.boolean(_SEEN, _MADE, numba.int64))
def unfilter(filtered: Pixels, pixels: Pixels, step: int) -> bool:
    """Undo the filters of a PNG (its specification, clause 9).

    Args:
        filtered: Shape (height, 1 + bytes of a row); each row begins with its filter.
        pixels: Shape (height, bytes of a row); filled.
        step: Bytes of a pixel.

    Returns:
        False if a row has a filter that does not exist.
    """
    height = pixels.shape[0]
    y = 0
    while y < height:
        filter_type = filtered[y, 0]
        if filter_type > 4:
            return False
        if filter_type < 4 or y == 0:  # under nothing, Paeth is Sub
            _other_row(filtered, pixels, y, step, filter_type if filter_type < 4 else 1)
        elif step == 1 and y + 1 < height and filtered[y + 1, 0] == 4:
            _two_paeth_rows(filtered, pixels, y)
            y += 1
        else:
            _paeth_row(filtered, pixels, y, step)
        y += 1
    return True


@numba.njit(inline="always")  # type: ignore[untyped-decorator]
def _rounded(total: Any) -> Any:
    """A sum of weighed pixels as a pixel."""
    return np.uint8(min(max((total + (1 << 21)) >> 22, 0), 255))


@_compiled(_RESIZE)
def across(
    pixels: Pixels,
    weights: npt.NDArray[np.int32],
    span: npt.NDArray[np.int64],
    out: Pixels,
) -> None:
    """Resize along rows.

    Args:
        pixels: Shape (height, width).
        weights: Shape (new width, taps), in units of 2**-22.
        span: Shape (new width, 2): the first column that counts, and how many do.
        out: Shape (height, new width); filled.
    """
    for y in range(out.shape[0]):
        row = pixels[y]
        for x in range(out.shape[1]):
            first, count = span[x, 0], span[x, 1]
            here, shares = row[first : first + count], weights[x, :count]
            total = np.int32(0)
            for k in range(count):
                total = np.int32(total + np.int32(np.int32(here[k]) * shares[k]))
            out[y, x] = _rounded(total)


@_compiled(_RESIZE)
def down(
    pixels: Pixels,
    weights: npt.NDArray[np.int32],
    span: npt.NDArray[np.int64],
    out: Pixels,
) -> None:
    """Resize along columns; see `across`."""
    totals = np.empty(out.shape[1], np.int32)
    for y in range(out.shape[0]):
        totals[:] = 0
        first, count = span[y, 0], span[y, 1]
        for k in range(count):
            weight, row = weights[y, k], pixels[first + k]
            for x in range(len(totals)):
                totals[x] = np.int32(totals[x] + np.int32(np.int32(row[x]) * weight))
        for x in range(len(totals)):
            out[y, x] = _rounded(totals[x])
