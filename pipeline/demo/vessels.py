"""The lung's vessels: two trees that branch out of the hila and thin out.

All branches of one generation are computed together; Pillow then draws them as short
polylines at twice the film's resolution.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .anatomy import Chest
from .grid import Array, Grid, upsample

__all__ = ["draw_vessels", "hila"]

_GENERATIONS: Final = 4
_STEPS: Final = 2

# Directions of the main trunks of one lung, radians from outwards to downwards.
_TRUNKS: Final = (-1.40, -1.0, -0.5, 0.0, 0.45, 0.90, 1.30)


def hila(chest: Chest) -> tuple[tuple[float, float], tuple[float, float]]:
    """Where the vessels enter the right and the left lung; the left one is higher."""
    y = chest.apex_y + 0.64
    return (-0.155 + chest.shift, y + 0.02), (0.165 + chest.shift, y - 0.03)


def draw_vessels(
    chest: Chest, grid: Grid, rng: np.random.Generator, prominence: float = 1.0
) -> Array:
    """Share of the lung's depth that vessels fill; (R, R) float32, about 0 … 0.3.

    Args:
        chest: The anatomy.
        grid: The film.
        rng: Where the branching comes from.
        prominence: 1 in health; more in congestion, where vessels widen.
    """
    fine = 2 * grid.pixels
    image = Image.new("L", (fine, fine))
    draw = ImageDraw.Draw(image)
    unit = fine / 2 * grid.zoom
    # Thin branches first, so that the thick ones cover where they begin.
    for generation, lines in reversed(list(enumerate(_tree(hila(chest), rng)))):
        width = max(round(0.022 * 0.62**generation * prominence**0.5 * unit), 1)
        shade = min(int(58 * 0.90**generation * prominence), 255)
        for line in grid.to_raster(lines, fine).reshape(len(lines), -1).tolist():
            draw.line(line, fill=shade, width=width)
    return np.asarray(image.reduce(2), dtype=np.float32) * np.float32(0.45 / 255)


def _tree(
    roots: tuple[tuple[float, float], tuple[float, float]], rng: np.random.Generator
) -> Iterator[NDArray[np.float64]]:
    """Polylines of both lungs, a generation at a time: (n, _STEPS + 1, 2)."""
    count = len(_TRUNKS)
    side = np.repeat((-1.0, 1.0), count)
    angle = np.tile(_TRUNKS, 2) + rng.normal(0, 0.16, 2 * count)
    start = np.repeat(roots, count, axis=0)
    start += np.stack([-0.04 * side, 0.06 * np.sin(angle)], axis=1)
    length = rng.uniform(0.10, 0.20, 2 * count)
    for _ in range(_GENERATIONS):
        bend = angle + rng.normal(0, 0.16, (_STEPS, angle.size)).cumsum(axis=0)
        moves = np.stack([side * np.cos(bend), np.sin(bend)], axis=-1)
        moves *= (length / _STEPS)[:, None]
        path = np.concatenate([start[None], start + moves.cumsum(axis=0)])
        yield path.transpose(1, 0, 2)
        fork = rng.uniform(0.20, 0.55, angle.size)
        other = fork * rng.uniform(0.3, 1.0, angle.size)
        angle = np.concatenate([bend[-1] - fork, bend[-1] + other])
        # Vessels keep towards the nearest wall instead of turning back.
        angle = np.minimum(np.maximum(angle, -1.55), 1.60)
        start = np.concatenate([path[-1], path[-1]])
        side = np.concatenate([side, side])
        length = np.concatenate([length, length]) * rng.uniform(0.55, 0.95, angle.size)


def parenchyma(chest: Chest, coarse: Grid, rng: np.random.Generator) -> Array:
    """What small vessels add where they cannot be told apart; (C, C) float32.

    Mottle at two scales, and the denser roots of the lungs.
    """
    pixels = coarse.pixels
    fine = rng.standard_normal((pixels, pixels), dtype=np.float32)
    wide = rng.standard_normal((pixels // 4, pixels // 4), dtype=np.float32)
    haze = 0.030 * fine + 0.035 * upsample(wide, pixels)
    for x, y in hila(chest):
        far = np.square((coarse.x - x) / 0.10) + np.square((coarse.y - y) / 0.17)
        haze += np.float32(0.24) * np.exp(-far)
    return haze
