"""Grey pictures resized as Pillow's bicubic filter does it, bit for bit.

Pillow weighs the pixels around each new one in whole numbers of 22 bits after the
point, along rows and then along columns, and rounds after each (its Resample.c). The
same sums are made here by compiled loops. Of pictures that lose more than twice as many
rows as columns Pillow 13 resizes columns first; these are left to it.
"""

import functools
import math
from contextlib import suppress
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from .kernels import WEIGHT_BITS, Kernels

__all__ = ["agrees_with_pillow", "resized", "target_size"]

_SUPPORT = 2.0
_SHARPNESS = -0.5


def target_size(step: Any, width: int, height: int) -> tuple[int, int] | None:
    """Width and height that a step of torchvision resizes to with a bicubic filter.

    Returns:
        None if the step does something else, does not make the picture smaller in both
        directions, or makes it so much lower that Pillow begins with columns.
    """
    if type(step).__name__ != "Resize" or getattr(step, "max_size", 0) is not None:
        return None
    if getattr(step.interpolation, "value", None) != "bicubic":
        return None
    size = [step.size] if isinstance(step.size, int) else list(step.size)
    if len(size) == 1:
        short = min(width, height)
        longer = int(size[0] * max(width, height) / short)
        new = (size[0], longer) if width <= height else (longer, size[0])
    else:
        new = (size[1], size[0])
    lost = width - new[0], height - new[1]
    return new if min(lost) > 0 and lost[1] <= 2 * lost[0] else None


@functools.cache
def agrees_with_pillow(loops: Kernels) -> bool:
    """Whether this version of Pillow resizes in the way that is followed here."""
    random = np.random.default_rng(0)
    for shape, size in (((61, 47), (16, 21)), ((40, 90), (31, 12))):
        image = Image.fromarray(random.choice([0, 7, 255], shape).astype(np.uint8))
        wanted = image.resize(size, Image.Resampling.BICUBIC).tobytes()
        if resized(image, size, loops).tobytes() != wanted:
            return False
    return True


def resized(image: Image.Image, size: tuple[int, int], loops: Kernels) -> Image.Image:
    """What `image.resize(size, Image.Resampling.BICUBIC)` gives.

    Args:
        image: Mode ``L``.
        size: Width and height, both smaller than those of the picture.
        loops: Compiled.
    """
    pixels = _pixels(image)
    width, height = size
    between = np.empty((image.height, width), np.uint8)
    loops.across(pixels, *_weights(image.width, width), between)
    out = np.empty((height, width), np.uint8)
    loops.down(between, *_weights(image.height, height), out)
    return Image.fromarray(out)


def _pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    """A grey picture's own memory where Pillow shows it, else a copy."""
    if hasattr(image, "__arrow_c_array__"):
        # It refuses pictures that do not lie in one piece.
        with suppress(ValueError, MemoryError, pa.ArrowException):
            flat = pa.array(image).to_numpy(zero_copy_only=True)
            whole: npt.NDArray[np.uint8] = flat.reshape(image.height, image.width)
            return whole
    return np.asarray(image)


@functools.lru_cache(maxsize=256)
def _weights(
    n_old: int, n_new: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Weights of the old pixels in each new one, and which pixels these are.

    Returns:
        Shapes (n_new, taps) and (n_new, 2): the first pixel, and how many count.
    """
    scale = n_old / n_new
    reach = _SUPPORT * scale
    weights = np.zeros((n_new, math.ceil(reach) * 2 + 1), np.int32)
    span = np.zeros((n_new, 2), np.int64)
    for index in range(n_new):
        centre = (index + 0.5) * scale
        first = max(int(centre - reach + 0.5), 0)
        count = min(int(centre + reach + 0.5), n_old) - first
        shares = [
            _cubic((k + first - centre + 0.5) * (1.0 / scale)) for k in range(count)
        ]
        total = sum(shares)
        for k, share in enumerate(shares):
            scaled = share / total * (1 << WEIGHT_BITS)
            weights[index, k] = int(scaled - 0.5 if scaled < 0 else scaled + 0.5)
        span[index] = first, count
    return weights, span


def _cubic(x: float) -> float:
    """Keys' cubic convolution (1981) with Pillow's parameter."""
    a, x = _SHARPNESS, abs(x)
    if x < 1:
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * a if x < 2 else 0.0
