"""Soft tissue and air: the thicknesses that a beam meets, before any bone.

The film's attenuation is a sum along the beam, so each part only says how many
centimetres of what it puts there; superposition is then right by construction.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from .anatomy import (
    Chest,
    Ellipse,
    diaphragm,
    heart_box,
    heart_ellipses,
    lung_borders,
)
from .grid import Array, Grid, smoothstep, upsample
from .skeleton import shoulder_girdle

__all__ = [
    "ATTENUATION_PER_CM",
    "HEALTHY_DENSITY",
    "Tissue",
    "draw_tissue",
    "ellipsoid",
    "heart_chord",
]

#: Water at about 70 keV, the mean energy of a 120 kVp beam behind a chest.
ATTENUATION_PER_CM: Final = 0.19

#: Share of an inflated lung that is blood and tissue rather than air.
HEALTHY_DENSITY: Final = 0.24

_HEART_CM: Final = 11.5
_MEDIASTINUM_CM: Final = 13.0
_COARSE: Final = 4


@dataclass
class Tissue:
    """What the beam meets; R pixels a side, C = R / 4 coarse ones.

    Attributes:
        grid: The film's pixels.
        coarse: The same view, four times coarser, for what is smooth.
        soft: Centimetres of tissue if the chest held no air; (R, R) float32.
        air: Centimetres of inflated lung; (R, R) float32.
        haze: Smooth share of tissue in the inflated lung; (C, C) float32.
        marks: What vessels and lines add to that share; (R, R) float32.
        bone: Extra attenuation of bone, without unit; (R, R) float32.
    """

    grid: Grid
    coarse: Grid
    soft: Array
    air: Array
    haze: Array
    marks: Array
    bone: Array

    def attenuation(self) -> Array:
        """-log of the transmitted share of the beam; (R, R) float32, at least 0."""
        gas = upsample(self.haze, self.grid.pixels)
        gas += self.marks
        np.subtract(1, gas, out=gas)
        np.clip(gas, 0, 1, out=gas)
        gas *= self.air
        total = self.soft - gas
        total *= np.float32(ATTENUATION_PER_CM)
        np.maximum(total, 0, out=total)
        total += self.bone
        return total


def draw_tissue(chest: Chest, grid: Grid, rng: np.random.Generator) -> Tissue:
    """A healthy chest without ribs or vessels, its lungs inflated."""
    coarse = grid.coarse(_COARSE)
    smooth = _trunk(chest, coarse) + _breasts(chest, coarse) + _abdomen(chest, coarse)
    smooth += shoulder_girdle(chest, coarse, rng) * np.float32(1 / ATTENUATION_PER_CM)
    soft = upsample(smooth, grid.pixels)
    air = _lungs(chest, grid)
    _put_heart(air, chest, grid)
    _put_airways(soft, chest, grid)
    _put_gas(soft, chest, grid)
    haze = np.full((coarse.pixels, coarse.pixels), HEALTHY_DENSITY, np.float32)
    zero = np.zeros_like(air)
    return Tissue(grid, coarse, soft, air, haze, zero, zero.copy())


def ellipsoid(x: Array, y: Array, ellipse: Ellipse) -> Array:
    """Chord through an ellipsoid: 1 in its middle, 0 from its border on, float32."""
    cos, sin = np.cos(ellipse.tilt), np.sin(ellipse.tilt)
    dx, dy = x - np.float32(ellipse.x), y - np.float32(ellipse.y)
    along = dx * np.float32(cos / ellipse.a) + dy * np.float32(sin / ellipse.a)
    across = dy * np.float32(cos / ellipse.b) - dx * np.float32(sin / ellipse.b)
    inside = 1 - along * along - across * across
    chord: Array = np.sqrt(np.maximum(inside, 0, out=inside), out=inside)
    return chord


def heart_chord(chest: Chest, x: Array, y: Array) -> Array:
    """Centimetres of heart, without the great vessels, at each pixel."""
    ventricles, atrium = heart_ellipses(chest)
    chord = np.maximum(ellipsoid(x, y, ventricles), ellipsoid(x, y, atrium))
    large = chest.ratio * chest.half_width / (0.43 * 0.66)
    return chord * np.float32(_HEART_CM * min(large, 1.12))


def _trunk(chest: Chest, grid: Grid) -> Array:
    """Neck, shoulders, arms and torso as one smooth union."""
    x, y = np.abs(grid.x), grid.y
    _, lateral = lung_borders(chest, y)
    half = lateral + chest.wall + 0.05 * smoothstep(0.1, 0.9, y)
    torso = chest.depth_cm * np.sqrt(np.maximum(1 - (x / half) ** 7, 0))
    torso *= smoothstep(chest.apex_y - 0.16, chest.apex_y + 0.18, y)
    neck_half = 0.235 + 0.03 * chest.male + 0.30 * smoothstep(-1.15, -0.65, y)
    neck = 14.0 * np.maximum(1 - np.square(x / neck_half), 0) ** 0.8
    neck *= 1 - smoothstep(-0.65, -0.2, y)
    limbs = _arms(chest, x, y, half)
    union: Array = np.sqrt(torso * torso + limbs * limbs + neck * neck)
    return union


def _arms(chest: Chest, x: Array, y: Array, torso_half: Array) -> Array:
    """Shoulders; then arms beside the trunk, or raised away from it."""
    slope = chest.shoulder_y - 0.36 * (1 - smoothstep(0.10, 0.95, x))
    shoulder = 23.0 * np.sqrt(np.clip((y - slope) / 0.30, 0, 1))
    shoulder *= 0.62 + 0.38 * smoothstep(0.45, 0.85, x)
    if chest.in_bed:
        shoulder *= 1 - smoothstep(-0.30, 0.15, y)
        off = (x - (torso_half + 0.17)) / 0.15
        arm = 13.0 * np.sqrt(np.maximum(1 - off * off, 0)) * smoothstep(-0.5, 0.1, y)
        return np.maximum(shoulder, arm)
    fold = 0.18 + 0.70 * (x - torso_half)
    raised: Array = shoulder * np.sqrt(np.clip((fold - y) / 0.60, 0, 1))
    return raised


def _breasts(chest: Chest, grid: Grid) -> Array:
    """Two half ellipsoids: a sharp lower fold, a smooth upper end; none in men."""
    if chest.breast_cm <= 0:
        return np.zeros((grid.pixels, grid.pixels), np.float32)
    size = 0.20 + 0.020 * chest.breast_cm
    low = chest.breast_y
    breast = Ellipse(0.62 * chest.half_width, low - size, size, size * 1.1, 0.0)
    field = ellipsoid(np.abs(grid.x), grid.y, breast)
    field *= smoothstep(low - 2.1 * size, low - 0.6 * size, grid.y)
    return field * np.float32(chest.breast_cm)


def _abdomen(chest: Chest, grid: Grid) -> Array:
    """The belly is thicker and denser than the airless chest."""
    grow = smoothstep(min(chest.dome_y) - 0.05, min(chest.dome_y) + 0.5, grid.y)
    across = np.maximum(1 - np.square(grid.x / (chest.half_width + chest.wall)), 0)
    belly: Array = grow * across * np.float32(3.0)
    return belly


def _lungs(chest: Chest, grid: Grid) -> Array:
    """Centimetres of lung, with what lies behind the domes of the diaphragm."""
    side, floor = chest.half_width + 0.02, max(chest.dome_y) + chest.dome_drop
    part = grid.box(-side, chest.apex_y - 0.02, side, floor + 0.1)
    columns, y = grid.x[:, part[1]], grid.y[part[0]]
    medial, lateral = lung_borders(chest, y)
    width = np.maximum(lateral - medial, np.float32(1e-3))
    u = (np.abs(columns) - medial) / width
    air = 1 - u * u
    np.sqrt(np.maximum(air, 0, out=air), out=air)
    # Behind the heart the lung's medial border is blurred: it wraps round the spine.
    ramp = width / (0.05 + 0.14 * smoothstep(-0.3, 0.1, y))
    air *= np.clip(u * ramp, 0, 1)
    deep = 0.40 + 0.60 * smoothstep(chest.apex_y - 0.03, chest.apex_y + 0.30, y)
    air *= np.float32(chest.inner_cm) * deep
    below = y - diaphragm(chest, columns)
    edge = np.clip(0.5 - below * np.float32(0.4 / grid.pixel), 0, 1)
    # The lung reaches down behind the dome: the shade fades, it does not stop.
    recess = np.clip(0.22 - below * np.float32(1.3), 0, 0.22)
    air *= np.maximum(edge, recess, out=edge)
    lungs = np.zeros((grid.pixels, grid.pixels), np.float32)
    lungs[part] = air
    return lungs


def _put_heart(air: Array, chest: Chest, grid: Grid) -> None:
    """Heart and great vessels take the place of lung.

    The vessels are a band with the aortic knob and the pulmonary bay on its left side.
    """
    solid = np.zeros_like(air)
    left, top, right, bottom = heart_box(chest)
    part = grid.box(left, top, right, bottom)
    solid[part] = heart_chord(chest, grid.x[:, part[1]], grid.y[part[0]])
    part = grid.box(-0.35, -1.2, 0.35, 0.9)
    x, y = grid.x[:, part[1]], grid.y[part[0]]
    arch = chest.apex_y + 0.43
    down = smoothstep(arch + 0.05, arch + 0.40, y)
    knob = np.exp(-np.square((y - arch) / 0.085)) * np.float32(0.060 * chest.knob)
    inner = 1 / (0.098 + 0.02 * chest.older + 0.02 * down)
    outer = 1 / (0.086 + knob + 0.10 * down)
    off = x - np.float32(chest.shift * 0.8)
    off = off * np.where(off < 0, inner, outer)
    band = np.sqrt(np.maximum(1 - off * off, 0)) * np.float32(_MEDIASTINUM_CM)
    np.maximum(solid[part], band, out=solid[part])
    air -= solid
    np.maximum(air, 0, out=air)


def _put_airways(soft: Array, chest: Chest, grid: Grid) -> None:
    """Trachea and main bronchi hold air: a dark column that forks at the carina."""
    carina = chest.apex_y + 0.52
    part = grid.box(-0.3, -1.2, 0.3, carina + 0.16)
    x, y = grid.x[:, part[1]], grid.y[part[0]]
    # The arch of the aorta pushes the trachea a little to the right.
    lean = chest.shift * 1.1 * smoothstep(-0.9, carina, y)
    lean = lean - 0.012 * smoothstep(carina - 0.3, carina, y)
    half = 0.046 if chest.male else 0.038
    down = np.maximum(y - np.float32(carina), 0)
    spread = down * np.where(x < 0, np.float32(1.0), np.float32(1.5))
    away = (np.abs(x - lean) - spread) / (half * (1 - 1.6 * np.minimum(down, 0.3)))
    chord = np.sqrt(np.maximum(1 - away * away, 0)) * np.float32(1.9)
    chord *= smoothstep(-1.05, -0.85, y) * (1 - smoothstep(0.02, 0.15, down))
    soft[part] -= chord


def _put_gas(soft: Array, chest: Chest, grid: Grid) -> None:
    """The stomach's bubble under the left dome."""
    if chest.gas <= 0:
        return
    a, b = 0.19 * chest.gas, 0.10 * chest.gas
    bubble = Ellipse(0.50 * chest.half_width, chest.dome_y[1] + 0.035 + b, a, b, 0.12)
    left, top = bubble.x - a, bubble.y - 1.3 * b
    part = grid.box(left, top, bubble.x + a, bubble.y + 1.3 * b)
    gas = ellipsoid(grid.x[:, part[1]], grid.y[part[0]], bubble)
    soft[part] -= gas * gas * np.float32(4.0 * chest.gas)
