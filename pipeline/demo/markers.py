"""Lead letters and shutters: what a radiographer adds to the film."""

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .population import View

__all__ = ["put_collimation", "put_markers"]

_SMALLEST_LETTERS: Final = 6


def put_collimation(
    film: Image.Image, covered: tuple[float, float, float, float]
) -> None:
    """Black borders where the shutters covered the film: left, top, right, bottom."""
    size = film.width
    left, top, right, bottom = (round(part * size) for part in covered)
    film.paste(0, (0, 0, left, size))
    film.paste(0, (0, 0, size, top))
    film.paste(0, (size - right, 0, size, size))
    film.paste(0, (0, size - bottom, size, size))


def put_markers(film: Image.Image, view: View, rng: np.random.Generator) -> None:
    """The letter of a side beside that shoulder; films in bed are marked as such.

    The patient faces the reader: L stands at the right of the film.
    """
    size = film.width
    draw = ImageDraw.Draw(film)
    side = "L" if rng.random() < 0.75 else "R"
    x = rng.uniform(0.88, 0.94) if side == "L" else rng.uniform(0.03, 0.08)
    y = rng.uniform(0.05, 0.22)
    letters = max(round(size * rng.uniform(0.05, 0.07)), _SMALLEST_LETTERS)
    grey = int(rng.uniform(225, 256))
    draw.text((x * size, y * size), side, fill=grey, font=_font(letters))
    if rng.random() < 0.3:
        r = letters * 0.62
        middle = (x * size + letters * 0.30, y * size + letters * 0.62)
        box = (middle[0] - r, middle[1] - r, middle[0] + r, middle[1] + r)
        draw.ellipse(box, outline=grey)
    if view.projection == "AP":
        small = max(letters // 2, _SMALLEST_LETTERS)
        words = "AP PORTABLE" if rng.random() < 0.6 else "AP"
        left = 0.03 if side == "L" else 0.72
        position = (left * size, rng.uniform(0.03, 0.10) * size)
        draw.text(position, words, fill=grey, font=_font(small))


@lru_cache(maxsize=64)
def _font(pixels: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(pixels)
