"""The shape of one chest on one film: numbers first, then curves.

Coordinates are those of the film: x to the right, y down, the film spans -1 … 1, and
one unit is about 18 cm. The patient faces the reader, so the patient's right lung lies
at x < 0. Thicknesses are centimetres along the beam.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from .grid import Array
from .population import Patient, View

__all__ = [
    "Chest",
    "Ellipse",
    "diaphragm",
    "heart_box",
    "heart_ellipses",
    "lung_borders",
    "sample_chest",
]

# Short axis / long axis of the ventricles' shadow.
_HEART_ASPECT: Final = 0.64

_BODY_STREAM: Final = 2
_FILM_STREAM: Final = 3


@dataclass(frozen=True)
class Chest:
    """Everything that places the anatomy of one film; lengths in film units.

    `ratio` is the cardiothoracic ratio; a heart is called enlarged where it exceeds
    0.5 (Danzer, American Journal of the Medical Sciences, 1919).
    """

    male: bool
    older: float  # 0 = 40 years, 1 = 80 years
    half_width: float  # of the rib cage's inner side at its widest
    apex_y: float
    apex_x: float  # distance of the lung apex from the midline
    dome_y: tuple[float, float]  # of the right and the left hemidiaphragm
    dome_drop: float  # from the dome to the costophrenic angle
    ratio: float  # heart width / inner thoracic width
    heart_right: float  # share of the heart's width right of the midline
    heart_tilt: float  # radians
    shift: float  # of heart, mediastinum and trachea, towards +x
    wall: float  # soft tissue outside the ribs
    depth_cm: float  # of the trunk
    inner_cm: float  # of the rib cage's inner side
    shoulder_y: float
    breast_cm: float
    breast_y: float  # of the lower fold
    knob: float  # size of the aortic knob
    rib_phase: float
    rib_drop: float  # obliquity of the posterior ribs
    clavicle_y: float  # of its inner end, below the apex
    in_bed: bool  # then the arms lie beside the trunk
    gas: float  # size of the gastric bubble, 0 = none

    def dome_at(self, side: int) -> float:
        """Height of the hemidiaphragm of the right (-1) or the left (+1) side."""
        return self.dome_y[0 if side < 0 else 1]


@dataclass(frozen=True)
class Ellipse:
    """Centre, half axes, and the turn of the first axis from +x towards +y."""

    x: float
    y: float
    a: float
    b: float
    tilt: float


def sample_chest(
    seed: int, patient: Patient, age: int, study: int, view: View
) -> Chest:
    """The chest of a healthy heart and clear lungs, as one film shows it.

    What belongs to the person comes from (seed, patient), what belongs to the moment,
    such as the breath taken, from (seed, patient, study, view). In bed (AP) the heart
    is magnified by up to 8 %, and the breath is shallower.
    """
    body = np.random.default_rng([_BODY_STREAM, seed, patient.number])
    film = np.random.default_rng(
        [_FILM_STREAM, seed, patient.number, study, view.number]
    )
    male, in_bed = patient.sex == "Male", view.projection == "AP"
    older = min(max((age - 40) / 40, 0.0), 1.0)
    fat = (patient.build + 2.0) / 4.2  # 0 … 1
    half_width = body.uniform(0.63, 0.69) + 0.03 * male + 0.02 * (fat - 0.5)
    long_lung = body.uniform(0.0, 0.10) + 0.03 * male - 0.08 * (fat - 0.5)
    breath = film.uniform(-0.10, 0.0) - (0.12 if in_bed else 0.0)
    dome = 0.40 + long_lung + breath
    breast = 0.0 if male else body.uniform(0.8, 2.4) + 2.4 * fat
    ratio = body.uniform(0.385, 0.455) + film.uniform(-0.005, 0.005)
    return Chest(
        male=male,
        older=older,
        half_width=half_width,
        apex_y=-0.70 + body.uniform(-0.04, 0.04) - 0.3 * long_lung,
        apex_x=half_width * body.uniform(0.42, 0.48),
        dome_y=(dome, dome + body.uniform(0.02, 0.07)),
        dome_drop=body.uniform(0.17, 0.25) - (0.03 if in_bed else 0.0),
        ratio=ratio * (film.uniform(1.03, 1.07) if in_bed else 1.0),
        heart_right=body.uniform(0.25, 0.32),
        heart_tilt=body.uniform(0.55, 0.80) - 0.15 * fat - (0.10 if in_bed else 0.0),
        shift=film.uniform(-0.012, 0.012),
        wall=0.07 + 0.02 * male + 0.16 * fat**1.5 + body.uniform(0.0, 0.03),
        depth_cm=20.0 + 2.0 * male + 5.0 * fat,
        inner_cm=15.0 + 2.0 * male + body.uniform(-0.5, 1.5),
        shoulder_y=-0.70 + body.uniform(-0.06, 0.06) - (0.06 if in_bed else 0.0),
        breast_cm=breast,
        breast_y=dome + 0.12 + body.uniform(-0.10, 0.06),
        knob=body.uniform(0.75, 1.0) + 0.35 * older,
        rib_phase=body.uniform(0.0, 1.0),
        rib_drop=body.uniform(0.17, 0.27) - (0.06 if in_bed else 0.0),
        clavicle_y=0.17 + body.uniform(-0.03, 0.03) - (0.06 if in_bed else 0.0),
        in_bed=in_bed,
        gas=film.uniform(0.5, 1.0) if film.random() < 0.75 else 0.0,
    )


def lung_borders(chest: Chest, y: Array) -> tuple[Array, Array]:
    """Medial and lateral border of a lung at each height, as distances from x = 0.

    Both lungs share them; heart and mediastinum cover the difference. The lateral
    border is a quarter of a superellipse above, nearly straight below. The medial
    border turns over at the apex.

    Args:
        chest: The anatomy.
        y: (R, 1) heights.

    Returns:
        Two (R, 1) arrays; above the apex both are `apex_x`.
    """
    base = max(chest.dome_y) + chest.dome_drop
    t = np.clip((y - chest.apex_y) / (base - chest.apex_y), 0, 1.2)
    reach = 1 - np.clip(t / 0.62, 0, 1)
    bulge = np.sqrt(1 - reach**2.3)
    wide = chest.half_width * (1 - 0.05 * np.square(t - 0.72))
    lateral = chest.apex_x + (wide - chest.apex_x) * bulge
    inner = np.sqrt(1 - np.square(1 - np.clip(t / 0.22, 0, 1)))
    medial = chest.apex_x - (chest.apex_x - 0.02) * inner
    return medial.astype(np.float32), lateral.astype(np.float32)


def diaphragm(chest: Chest, x: Array) -> Array:
    """Height of the lung's lower border at each column; (1, R) like `x`.

    A dome with its top at the middle of each lung; it falls a little towards the heart
    and steeply into the costophrenic angle.
    """
    u = np.abs(x) / chest.half_width
    top = np.where(x < 0, chest.dome_y[0], chest.dome_y[1])
    outer = np.clip((u - 0.42) / 0.60, 0, 1)
    inner = np.clip((0.48 - u) / 0.48, 0, 1)
    fall = 0.55 * (1 - np.sqrt(1 - np.square(outer))) + 0.45 * np.square(outer)
    curve: Array = (top + chest.dome_drop * fall + 0.02 * np.square(inner)).astype(
        np.float32
    )
    return curve


def heart_ellipses(chest: Chest) -> tuple[Ellipse, Ellipse]:
    """Ventricles and right atrium, so placed that the heart has its width.

    The ventricles' ellipse touches the left border, the atrium's the right border;
    their sum is `ratio` times the thorax's inner width.
    """
    width = chest.ratio * 2 * chest.half_width
    right = chest.heart_right * width
    tilt, reach_x = chest.heart_tilt, 0.46 * width
    a = reach_x / float(np.hypot(np.cos(tilt), _HEART_ASPECT * np.sin(tilt)))
    b = _HEART_ASPECT * a
    reach_y = float(np.hypot(a * np.sin(tilt), b * np.cos(tilt)))
    floor = max(chest.dome_y) + 0.09
    x = width - right - reach_x + chest.shift
    ventricles = Ellipse(x, floor - reach_y, a, b, tilt)
    atrium_a = 0.30 * width
    x = atrium_a - right + chest.shift
    atrium = Ellipse(x, chest.dome_y[0] - 0.12, atrium_a, 0.50 * width, 0.0)
    return ventricles, atrium


def heart_box(chest: Chest) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of what `heart_ellipses` cover."""
    sides = []
    for e in heart_ellipses(chest):
        reach_x = float(np.hypot(e.a * np.cos(e.tilt), e.b * np.sin(e.tilt)))
        reach_y = float(np.hypot(e.a * np.sin(e.tilt), e.b * np.cos(e.tilt)))
        sides.append((e.x - reach_x, e.y - reach_y, e.x + reach_x, e.y + reach_y))
    (l1, t1, r1, b1), (l2, t2, r2, b2) = sides
    return min(l1, l2), min(t1, t2), max(r1, r2), max(b1, b2)
