"""The sign of each finding, drawn into one chest.

Two of the findings change the anatomy before anything is drawn: `reshape` widens the
heart, raises a hemidiaphragm, shifts the mediastinum. The others change what fills the
lung: `apply` puts fluid, oedema, consolidated lung and plates of collapsed lung in the
place of air. Each finding draws from its own stream, so a film with a sign differs from
the same film without it by that sign alone.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from .anatomy import Chest
from .grid import Array, Grid, smoothstep, upsample
from .population import DRAWN_FINDINGS, Sign
from .tissue import Tissue
from .vessels import hila

__all__ = ["apply", "prominence", "reshape"]

# One value per severity: mild, moderate, severe.
_HEART_RATIO: Final = ((0.515, 0.55), (0.56, 0.61), (0.62, 0.68))
_DOME_RISE: Final = (0.05, 0.10, 0.16)
_SHIFT: Final = (0.012, 0.030, 0.055)
_PLATES: Final = (1, 2, 3)
_PLATE_SHARE: Final = (0.26, 0.34, 0.42)
_HAZE: Final = (0.20, 0.32, 0.45)
_CONGESTION: Final = (1.25, 1.45, 1.6)
_FOCUS_SIZE: Final = (0.13, 0.18, 0.24)
_FOCUS_FILL: Final = (0.46, 0.60, 0.72)


def reshape(chest: Chest, signs: Sequence[Sign], rng: np.random.Generator) -> Chest:
    """The chest as a large heart and lost lung volume make it."""
    for sign in signs:
        grade = sign.severity - 1
        if sign.finding == "Cardiomegaly":
            chest = _enlarge_heart(chest, grade, rng)
        elif sign.finding == "Atelectasis":
            chest = _lose_volume(chest, grade, sign.side)
    return chest


def prominence(signs: Sequence[Sign]) -> float:
    """How much wider the lung's vessels are than in health, from 1.

    >>> prominence([]), prominence([Sign("Edema", 3)])
    (1.0, 1.6)
    """
    grades = [sign.severity - 1 for sign in signs if sign.finding == "Edema"]
    return max((_CONGESTION[grade] for grade in grades), default=1.0)


def apply(
    tissue: Tissue, chest: Chest, signs: Sequence[Sign], rng: np.random.Generator
) -> None:
    """Draw what fills the lung, in place; each finding from a stream of its own."""
    streams = dict(zip(DRAWN_FINDINGS, rng.spawn(len(DRAWN_FINDINGS)), strict=True))
    for sign in signs:
        own = streams[sign.finding]
        if sign.finding == "Edema":
            _put_edema(tissue, chest, sign, own)
        elif sign.finding == "Consolidation":
            _put_consolidation(tissue, chest, sign, own)
        elif sign.finding == "Atelectasis":
            _put_plates(tissue, chest, sign, own)
        elif sign.finding == "Pleural Effusion":
            _put_effusion(tissue, chest, sign, own)


def _enlarge_heart(chest: Chest, grade: int, rng: np.random.Generator) -> Chest:
    """A cardiothoracic ratio above 0.5; the heart grows mostly to the left."""
    ratio = rng.uniform(*_HEART_RATIO[grade])
    magnified = 1.03 if chest.in_bed else 1.0
    return replace(
        chest,
        ratio=ratio * magnified,
        heart_tilt=chest.heart_tilt - 0.12,
        heart_right=chest.heart_right - 0.01 * grade,
    )


def _lose_volume(chest: Chest, grade: int, side: int) -> Chest:
    """The hemidiaphragm of that side rises, the mediastinum moves to that side."""
    right, left = chest.dome_y
    rise = _DOME_RISE[grade]
    domes = (right - rise, left) if side < 0 else (right, left - rise)
    return replace(chest, dome_y=domes, shift=chest.shift + side * _SHIFT[grade])


def _mottle(coarse: Grid, rng: np.random.Generator, cells: int) -> Array:
    """Smooth noise with about `cells` lumps across the film; (C, C) float32."""
    noise = rng.standard_normal((cells, cells), dtype=np.float32)
    return upsample(noise, coarse.pixels)


def _put_edema(
    tissue: Tissue, chest: Chest, sign: Sign, rng: np.random.Generator
) -> None:
    """Haze around both hila that spares the periphery, and septal lines at the bases.

    The haze is the bat's wing of alveolar oedema; the short horizontal lines that
    reach the side wall are Kerley's B lines.
    """
    coarse, grade = tissue.coarse, sign.severity - 1
    patches = np.maximum(1 + 0.40 * _mottle(coarse, rng, 22), 0.1)
    for side, (x, y) in zip((-1, 1), hila(chest), strict=True):
        centre_x, centre_y = x + side * 0.12, y + rng.uniform(0.04, 0.12)
        wide, tall = rng.uniform(0.21, 0.27), rng.uniform(0.29, 0.38)
        far = np.square((coarse.x - centre_x) / wide)
        far = far + np.square((coarse.y - centre_y) / tall)
        wing = np.exp(-far * np.sqrt(far)) * patches
        tissue.haze += np.float32(_HAZE[grade]) * wing
        _put_septal_lines(tissue, chest, side, grade, rng)
    tissue.haze += np.float32(0.05 * (grade + 1)) * smoothstep(-0.4, 0.5, coarse.y)


def _put_septal_lines(
    tissue: Tissue, chest: Chest, side: int, grade: int, rng: np.random.Generator
) -> None:
    grid = tissue.grid
    outer = side * (chest.half_width - 0.015)
    for _ in range(3 + 2 * grade):
        y = chest.dome_at(side) + rng.uniform(-0.22, 0.04)
        inner = outer - side * rng.uniform(0.05, 0.10)
        thick = 1.2 * grid.pixel
        part = grid.box(min(inner, outer), y, max(inner, outer), y + thick)
        tissue.marks[part] += np.float32(0.16)


def _put_consolidation(
    tissue: Tissue, chest: Chest, sign: Sign, rng: np.random.Generator
) -> None:
    """A focal opacity with a soft, lumpy margin; larger ones show open bronchi."""
    coarse, grade = tissue.coarse, sign.severity - 1
    floor = chest.dome_at(sign.side)
    y = chest.apex_y + 0.10 + sign.height * (floor - chest.apex_y - 0.12)
    x = sign.side * chest.half_width * rng.uniform(0.48, 0.70)
    size = _FOCUS_SIZE[grade] * rng.uniform(0.9, 1.15)
    stretch = rng.uniform(0.8, 1.25)
    far: Array = np.hypot(
        (coarse.x - x) / (size * stretch), (coarse.y - y) / (size / stretch)
    )
    far = far + 0.30 * _mottle(coarse, rng, 12) + 0.13 * _mottle(coarse, rng, 30)
    fill = (1 - smoothstep(0.20, 1.50, far)) * _FOCUS_FILL[grade]
    tissue.haze += (1 - tissue.haze) * fill
    if grade > 0:
        _put_bronchogram(tissue, (x, y), size, sign.side, rng)


def _put_bronchogram(
    tissue: Tissue,
    centre: tuple[float, float],
    size: float,
    side: int,
    rng: np.random.Generator,
) -> None:
    """Air-filled bronchi: dark lines that fan out from the hilum's side."""
    grid = tissue.grid
    (x, y), half = centre, 0.7 * size
    part = grid.box(x - half, y - half, x + half, y + half)
    along = side * (grid.x[:, part[1]] - np.float32(x)) / np.float32(half)
    down = (grid.y[part[0]] - np.float32(y)) / np.float32(half)
    fade = np.clip(1 - along * along, 0, 1) * np.clip(1 - down * down, 0, 1)
    for slope in rng.uniform(-0.7, 0.7, 3):
        line = np.float32(slope) * (along + 1) * np.float32(0.7)
        width = np.float32(0.075) * (np.float32(1.3) - np.float32(0.6) * along)
        off = (down - line) / width
        tissue.marks[part] -= np.float32(0.16) * np.exp(-off * off) * fade


def _put_plates(
    tissue: Tissue, chest: Chest, sign: Sign, rng: np.random.Generator
) -> None:
    """Plate-like opacities above the raised dome, in denser, crowded lung."""
    grade, coarse = sign.severity - 1, tissue.coarse
    dome = chest.dome_at(sign.side)
    x = sign.side * 0.48 * chest.half_width
    far = np.square((coarse.x - x) / 0.30) + np.square((coarse.y - dome) / 0.17)
    tissue.haze += np.float32(0.07 + 0.06 * grade) * np.exp(-far)
    for index in range(_PLATES[grade]):
        centre = (
            sign.side * chest.half_width * rng.uniform(0.48, 0.66),
            dome - 0.055 - 0.085 * index - rng.uniform(0, 0.025),
        )
        thick = rng.uniform(0.008, 0.015) + (0.003 * grade if index == 0 else 0.0)
        share = _PLATE_SHARE[grade] * rng.uniform(0.7, 1.1)
        _put_plate(tissue, centre, sign.side, thick, share, rng)


def _put_plate(
    tissue: Tissue,
    centre: tuple[float, float],
    side: int,
    thick: float,
    share: float,
    rng: np.random.Generator,
) -> None:
    """One plate seen on edge: a slightly bowed, mostly level line that fades out."""
    grid, (x, y) = tissue.grid, centre
    half, slope = rng.uniform(0.10, 0.20), rng.uniform(-0.22, 0.38) * side
    reach = half * abs(slope) + 3 * thick
    part = grid.box(x - half, y - reach, x + half, y + reach)
    along = (grid.x[:, part[1]] - np.float32(x)) / np.float32(half)
    bow = np.float32(rng.uniform(-0.02, 0.02)) * along * along
    line = np.float32(y) + np.float32(slope * half) * along + bow
    off = (grid.y[part[0]] - line) / np.float32(thick)
    taper = np.clip(1 - along * along, 0, 1) ** 0.7
    tissue.marks[part] += np.float32(share) * np.exp(-off * off) * taper


def _put_effusion(
    tissue: Tissue, chest: Chest, sign: Sign, rng: np.random.Generator
) -> None:
    """Fluid fills the costophrenic angle; its upper border climbs at the side wall.

    In bed the fluid also spreads behind the lung and veils it from below.
    """
    grid, grade = tissue.grid, sign.severity - 1
    dome = chest.dome_at(sign.side)
    angle = dome + chest.dome_drop
    level = (
        angle - rng.uniform(0.10, 0.13),
        dome - rng.uniform(0.02, 0.10),
        dome - rng.uniform(0.28, 0.45),
    )[grade]
    climb = (0.07, 0.16, 0.20)[grade]
    span = (0.0, 1.2) if sign.side > 0 else (-1.2, 0.0)
    part = grid.box(span[0], chest.apex_y, span[1], 1.2)
    u = np.minimum(np.abs(grid.x[:, part[1]]) / np.float32(chest.half_width), 1)
    rise = climb * np.exp((u - 1) / 0.13)
    border = (level - rise + 0.06 * (1 - u)).astype(np.float32)
    soft = 0.035 + (0.05 if chest.in_bed else 0.0) + 0.015 * grade
    fluid = smoothstep(-soft, soft, grid.y[part[0]] - border)
    if chest.in_bed and grade > 0:
        veil = smoothstep(level - 0.55, level, grid.y[part[0]])
        fluid = np.maximum(fluid, np.float32(0.12 + 0.06 * grade) * veil)
    tissue.air[part] *= 1 - np.float32(0.97) * fluid
