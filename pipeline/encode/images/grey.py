"""The one rule by which grey values of more than 8 bits become 8.

A PNG or TIFF of 16 bits does not say how many of them are used: a detector of 12 bits
leaves values up to 4,095, which would come out nearly black. So the bit depth is the
smallest common one that holds all pixels but a few outlying ones. A burnt-in letter or
a defect of one pixel must not decide how bright a lung is.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

from .value_tables import through_table

__all__ = ["bit_depth", "to_8_bit"]

_BIT_DEPTHS: Final = (8, 10, 12, 14, 15, 16)
#: The share of samples that may lie above the bit depth; they come out white.
_OUTLYING: Final = 0.001


def bit_depth(pixels: npt.NDArray[np.integer]) -> int:
    """The smallest of 8, 10, 12, 14, 15 and 16 bits that holds nearly all pixels.

    At most 1 of 1,000 samples may exceed it, and only if the others are a picture by
    themselves.

    Args:
        pixels: Any shape, integers of at most 16 bits, none negative; of colour
            pictures the samples of all channels.

    >>> bit_depth(np.array([0, 2048, 4095]))
    12
    >>> bit_depth(np.append(np.arange(4096), 60_000))
    12
    """
    brightest = int(pixels.max(initial=0))
    index = next(i for i, bits in enumerate(_BIT_DEPTHS) if brightest < 1 << bits)
    while index:
        fits = pixels < (1 << _BIT_DEPTHS[index - 1])
        if pixels.size - np.count_nonzero(fits) > _OUTLYING * pixels.size:
            break
        if pixels.min() == pixels.max(where=fits, initial=0):
            break
        index -= 1
    return _BIT_DEPTHS[index]


def to_8_bit(pixels: npt.NDArray[np.integer]) -> npt.NDArray[np.uint8]:
    """Scale grey values linearly from 0 to the end of `bit_depth` over 0..255.

    Args:
        pixels: Any shape, integers of at most 16 bits, none negative.

    Returns:
        The same shape, uint8.

    >>> to_8_bit(np.array([0, 2048, 4095])).tolist()
    [0, 128, 255]
    """
    top = (1 << bit_depth(pixels)) - 1
    values = np.arange(int(pixels.max(initial=0)) + 1).clip(max=top)
    scaled = values.astype(np.float32) * np.float32(255.0 / top)
    return through_table(pixels, np.rint(scaled).astype(np.uint8))
