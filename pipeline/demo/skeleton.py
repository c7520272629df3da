"""Bone: ribs, clavicles, spine, shoulder blades and arms.

All ribs of one kind are drawn at once. A phase that grows by one from each rib to the
next is computed for every pixel, and its fraction is looked up in a profile across a
rib: a plate with a denser rim on either edge.
"""

from functools import lru_cache
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

from .anatomy import Chest, lung_borders
from .grid import Array, Grid, smoothstep

__all__ = ["draw_skeleton", "shoulder_girdle"]

_PROFILE_BINS: Final = 128
_RIBS: Final = 14
_SPACING: Final = 0.128

# Outlines relative to the blade's upper inner corner.
_BLADE: Final = (
    (0.0, 0.08),
    (-0.02, 0.22),
    (0.05, 0.58),
    (0.09, 0.61),
    (0.16, 0.38),
    (0.24, 0.15),
)
_RIDGE: Final = ((-0.01, 0.14), (0.16, 0.07), (0.32, -0.01))


def draw_skeleton(chest: Chest, grid: Grid, rng: np.random.Generator) -> Array:
    """Extra attenuation of ribs, clavicles and spine; (R, R) float32, no unit."""
    bone = np.zeros((grid.pixels, grid.pixels), np.float32)
    _put_ribs(bone, chest, grid, rng)
    _put_clavicles(bone, chest, grid)
    _put_spine(bone, chest, grid)
    return bone


@lru_cache(maxsize=2)
def _profile(width: float, rim: float) -> Array:
    """Attenuation across one rib over a whole spacing; (_PROFILE_BINS,) float32."""
    at = np.abs((np.arange(_PROFILE_BINS) + 0.5) / _PROFILE_BINS - 0.5)
    plate = 1 / (1 + np.exp((at - width) / 0.018))
    edge = np.exp(-np.square((at - width + 0.045) / 0.035))
    return (0.62 * plate + rim * edge).astype(np.float32)


def _put_ribs(bone: Array, chest: Chest, grid: Grid, rng: np.random.Generator) -> None:
    """Posterior ribs fall gently outwards, anterior ribs steeply inwards.

    Both sides of the cage are alike, so one half is computed and shown twice.
    """
    side = chest.half_width + 0.04
    part = grid.box(-side, chest.apex_y - 0.12, side, max(chest.dome_y) + 0.40)
    y = grid.y[part[0]]
    x = (np.arange(side / grid.pixel + 2, dtype=np.float32) * grid.pixel)[None, :]
    x = x.astype(np.float32)
    _, lateral = lung_borders(chest, y)
    u = x / (lateral + np.float32(0.02))
    # Near the side wall the beam runs along the ribs and meets more of them.
    path = 1 / np.sqrt(np.maximum(np.float32(1.03) - u * u, np.float32(0.45)))
    path *= np.clip((1 - u) * (lateral * np.float32(0.5 / grid.pixel)) + 0.5, 0, 1)
    shown = smoothstep(chest.apex_y - 0.10, chest.apex_y + 0.04, y)
    path *= shown * (1 - 0.7 * smoothstep(0.05, 0.45, y - min(chest.dome_y)))
    v = x / np.float32(chest.half_width)
    fall = v * v * v / np.float32(_SPACING)
    drop = chest.rib_drop + 0.06 * smoothstep(-0.6, 0.5, y)
    count = (y - chest.apex_y) / _SPACING + chest.rib_phase
    back = count - drop * fall - v * np.float32(0.02 / _SPACING)
    front = 0.34 * np.maximum(1.05 - v, 0) ** 1.35 / _SPACING
    plate = _lookup(back, _profile(0.24, 0.50), rng, 0.29)
    plate *= smoothstep(0.10, 0.22, x)
    thin = _lookup(count * 0.94 - front, _profile(0.30, 0.35), rng, 0.12)
    thin *= smoothstep(0.30, 0.55, v)
    thin *= smoothstep(-0.62, -0.45, y)
    plate += thin
    plate *= path
    mirror = np.round(np.abs(grid.x[0, part[1]]) / grid.pixel).astype(np.int64)
    bone[part] += np.take(plate, mirror, axis=1)


def _lookup(
    phase: Array, profile: Array, rng: np.random.Generator, strength: float
) -> Array:
    """The profile at the fraction of `phase`, each rib a little different."""
    weights = strength * rng.uniform(0.8, 1.2, _RIBS).astype(np.float32)
    table = (weights[:, None] * profile).ravel()
    index = ((phase + 2) * np.float32(_PROFILE_BINS)).astype(np.int64)
    return np.take(table, index, mode="clip")


def _put_clavicles(bone: Array, chest: Chest, grid: Grid) -> None:
    """Two S-shaped tubes from the breastbone to the shoulders."""
    inner = chest.apex_y + chest.clavicle_y
    part = grid.box(-0.95, inner - 0.25, 0.95, inner + 0.12)
    x, y = np.abs(grid.x[:, part[1]]), grid.y[part[0]]
    run = np.clip((x - 0.09) / 0.80, 0, 1)
    line = inner + 0.02 - 0.17 * run**0.9 + 0.025 * np.sin(6.0 * run)
    slope = np.gradient(line[0], grid.pixel).astype(np.float32)
    half = 0.028 + 0.012 * np.square(run - 0.5) * 4
    off = np.abs(y - line) / (np.sqrt(1 + slope * slope) * half)
    tube = np.sqrt(np.maximum(1 - off * off, 0))
    rim = np.exp(-np.square((off - np.float32(0.86)) * np.float32(6)))
    ends = smoothstep(0.085, 0.12, x) * (1 - smoothstep(0.84, 0.90, x))
    bone[part] += (np.float32(0.30) * tube + np.float32(0.20) * rim) * ends


def _put_spine(bone: Array, chest: Chest, grid: Grid) -> None:
    """Vertebral bodies with darker discs, pedicles and spinous processes."""
    part = grid.box(-0.12, -1.2, 0.12, 1.2)
    x, y = np.abs(grid.x[:, part[1]]), grid.y[part[0]]
    half = 0.066 + 0.016 * smoothstep(-0.5, 0.8, y)
    step = 0.110 + 0.03 * smoothstep(-0.8, 0.8, y)
    phase = (y - chest.apex_y) / step
    body = np.abs(phase - np.round(phase))
    disc = 1 - 0.35 * np.exp(-np.square((body - 0.5) / 0.09))
    off = x / half
    band = np.sqrt(np.maximum(1 - off**4, 0))
    across = np.square((x - 0.62 * half) / 0.014)
    pedicle = np.exp(-across - np.square((body - 0.22) / 0.10))
    spinous = np.exp(-np.square(x / 0.012) - np.square((body - 0.3) / 0.12))
    fade = 1 - 0.5 * smoothstep(-0.4, 0.2, y)
    bone[part] += band * (0.24 * disc * fade + 0.10 * pedicle * fade + 0.05 * spinous)


def shoulder_girdle(chest: Chest, grid: Grid, rng: np.random.Generator) -> Array:
    """Extra attenuation of shoulder blades and upper arms; (C, C) float32.

    On a PA film the shoulders are rolled forward, so that the blades leave the lungs;
    in bed they are not. They are drawn larger than the coarse grid, then softened.
    """
    pixels = 2 * grid.pixels
    image = Image.new("L", (pixels, pixels))
    draw = ImageDraw.Draw(image)
    edge = chest.half_width + (-0.06 if chest.in_bed else 0.10)
    edge += rng.uniform(-0.03, 0.03)
    top, lean = chest.shoulder_y, 0.03 if chest.in_bed else 0.35
    thick = max(round(pixels * 0.008), 1)
    corner = np.array((edge, top))
    blade = corner + _BLADE
    ridge = corner + _RIDGE
    head = corner + np.array((0.33, 0.13))
    shaft = head + np.array([(0.03, 0.05), (0.03 + lean, 1.2)])
    for side in (-1, 1):

        def moved(points: np.ndarray, side: int = side) -> list[float]:
            return grid.to_raster(points * (side, 1), pixels).ravel().tolist()

        draw.polygon(moved(blade), fill=30, outline=75, width=thick)
        draw.line(moved(ridge), fill=75, width=2 * thick)
        draw.line(moved(shaft), fill=90, width=round(pixels * 0.040))
        draw.line(moved(shaft), fill=50, width=round(pixels * 0.022))
        x, y = moved(head)
        r = pixels * 0.047
        draw.ellipse((x - r, y - r, x + r, y + r), fill=75, outline=110, width=thick)
    return np.asarray(image.reduce(2), dtype=np.float32) * np.float32(0.4 / 110)
