"""Pictures through a table of values: what is shown depends on the stored value alone.

A radiograph has millions of pixels and at most 65,536 stored values. Each value is
worked out once, and no copy of the picture in wide numbers is made on the way.
"""

from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["count_codes", "occurring_values", "through_table"]

#: NumPy widens indices to 8 bytes, so only so many are looked up at once.
_AT_ONCE: Final = 1 << 18


def through_table(
    codes: npt.NDArray[np.integer[Any]], table: npt.NDArray[np.uint8]
) -> npt.NDArray[np.uint8]:
    """The entry of each code.

    Args:
        codes: Any shape, each from 0 to T - 1.
        table: Shape (T,).

    Returns:
        The same shape as `codes`.

    >>> through_table(np.array([[2, 0]]), np.array([9, 8, 7], np.uint8)).tolist()
    [[7, 9]]
    """
    shown = np.empty(codes.size, np.uint8)
    flat = codes.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        shown[start : start + _AT_ONCE] = table[flat[start : start + _AT_ONCE]]
    return shown.reshape(codes.shape)


def occurring_values(
    pixels: npt.NDArray[np.integer[Any]],
) -> tuple[npt.NDArray[Any], npt.NDArray[Any], int, npt.NDArray[Any]]:
    """The distinct values of a picture.

    Args:
        pixels: Any shape.

    Returns:
        The V distinct values; the place of each in a table; the length of such a
        table; and the pixels as places in it.

    >>> values, places, length, codes = occurring_values(np.array([5, -1, 5], np.int8))
    >>> values.tolist(), places.tolist(), length, codes.tolist()
    ([5, -1], [5, 255], 256, [5, 255, 5])
    """
    if pixels.dtype.itemsize > 2:
        values, codes = np.unique(pixels, return_inverse=True)
        return values, np.arange(len(values)), len(values), codes
    codes = np.ascontiguousarray(pixels).view(f"u{pixels.dtype.itemsize}")
    occurs = np.zeros(1 << 8 * pixels.dtype.itemsize, bool)
    flat = codes.reshape(-1)
    for start in range(0, flat.size, _AT_ONCE):
        occurs[flat[start : start + _AT_ONCE]] = True
    places = np.flatnonzero(occurs)
    return places.astype(codes.dtype).view(pixels.dtype), places, len(occurs), codes


def count_codes(codes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.int64]:
    """How often each code occurs; the place of a count is its code.

    >>> count_codes(np.array([[2, 0], [2, 2]])).tolist()
    [1, 0, 3]
    """
    flat = codes.reshape(-1)
    counts = np.zeros(int(flat.max(initial=0)) + 1, np.int64)
    for start in range(0, flat.size, _AT_ONCE):
        counts += np.bincount(flat[start : start + _AT_ONCE], minlength=len(counts))
    return counts
