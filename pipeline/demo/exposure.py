"""From attenuation to film: scatter, quanta, the film's curve, markers, collimation."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .grid import Array, upsample
from .population import View

__all__ = ["Exposure", "expose", "sample_exposure", "turn_film"]

# Scatter comes from the patient: beside the trunk the free beam adds none.
_MOST_SCATTER: Final = 0.06

_CURVE_BINS: Final = 1024
_CURVE_REACH: Final = 4.0


@dataclass(frozen=True)
class Exposure:
    """How one film was taken and developed.

    Attributes:
        turn: Radians by which the film is turned in its own plane.
        zoom: Magnification of the anatomy.
        move: Where the film shows the middle of the chest, parts of half a film.
        scatter: Share of the local mean beam that arrives as scatter.
        quanta: Quanta per pixel in the free beam.
        lung: Grey of the dark lung, 0 … 1.
        white: Grey of the densest part, 0 … 1.
        gamma: Steepness of the film's curve.
        sharpen: Strength of the edge enhancement.
        collimated: Film covered by the shutters at left, top, right, bottom; parts.
    """

    turn: float
    zoom: float
    move: tuple[float, float]
    scatter: float
    quanta: float
    lung: float
    white: float
    gamma: float
    sharpen: float
    collimated: tuple[float, float, float, float]


def sample_exposure(rng: np.random.Generator, view: View) -> Exposure:
    """How one film is taken.

    Films in bed are turned more, scatter more, and are less well centred.
    """
    bed = view.projection == "AP"
    turned = rng.random() < (0.35 if bed else 0.12)
    loose = 0.035 if bed else 0.02
    shutters = np.where(rng.random(4) < 0.22, rng.uniform(0.01, 0.05, 4), 0.0)
    left, top, right, bottom = shutters.tolist()
    return Exposure(
        turn=float(rng.normal(0, 0.04)) if turned else 0.0,
        zoom=float(rng.uniform(1.02, 1.20)),
        move=(float(rng.normal(0, loose)), float(rng.normal(0.03, loose))),
        scatter=float(rng.uniform(0.5, 0.9) if bed else rng.uniform(0.2, 0.5)),
        quanta=float(np.exp(rng.uniform(np.log(6e4), np.log(4e5)))),
        lung=float(rng.uniform(0.34, 0.50)),
        white=float(rng.uniform(0.92, 1.0)),
        gamma=float(rng.uniform(1.7, 2.4)),
        sharpen=float(rng.uniform(0.3, 0.9)),
        collimated=(left, top, right, bottom),
    )


def expose(
    attenuation: Array, exposure: Exposure, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """The developed film of an attenuation field.

    Args:
        attenuation: -log of the transmitted share of the beam; (R, R) float32.
        exposure: How it is taken.
        rng: Where the noise of the quanta comes from.

    Returns:
        Greys 0 … 255, dense is bright; (R, R) uint8.
    """
    pixels = attenuation.shape[0]
    beam = np.exp(-attenuation)
    small = np.array(Image.fromarray(beam).reduce(max(pixels // 16, 1)))
    np.minimum(small, np.float32(_MOST_SCATTER), out=small)
    beam += upsample(small * np.float32(exposure.scatter), pixels)
    np.maximum(beam, np.float32(1e-4), out=beam)
    noise = rng.random((pixels, pixels + 1), dtype=np.float32)
    # Neighbours share half of their noise, as a detector's blur makes them do.
    grain = noise[:, 1:] + noise[:, :-1]
    grain -= 1
    grain *= np.float32(2.45 / exposure.quanta**0.5)
    grain /= np.sqrt(beam)
    np.log(beam, out=beam)
    signal = grain - beam
    return _develop(signal, exposure)


def turn_film(film: Image.Image, turn: float) -> Image.Image:
    """The film turned about its middle; the corners that it leaves are black."""
    if turn == 0.0:
        return film
    size = film.width
    cos, sin, half = np.cos(turn), np.sin(turn), size / 2
    matrix = (cos, -sin, half * (1 - cos + sin), sin, cos, half * (1 - sin - cos))
    affine, smooth = Image.Transform.AFFINE, Image.Resampling.BILINEAR
    return film.transform(film.size, affine, matrix, smooth)


def _develop(signal: Array, exposure: Exposure) -> NDArray[np.uint8]:
    """Sharpen edges, then bring free beam to black and the dark lung to its grey.

    The dark lung is the tenth percentile inside a rim, as an automatic exposure
    measures it.
    """
    pixels = signal.shape[0]
    inner = signal[1:-1, 1:-1]
    edges = signal[:-2, 1:-1] + signal[2:, 1:-1] + signal[1:-1, :-2] + signal[1:-1, 2:]
    edges *= np.float32(-0.25)
    edges += inner
    edges *= np.float32(exposure.sharpen)
    inner += edges
    lowest = -np.log1p(np.float32(_MOST_SCATTER * exposure.scatter))
    step, rim = max(pixels // 48, 1), pixels // 8
    lung = np.sort(signal[rim:-rim:step, rim:-rim:step], axis=None)
    dark = max(float(lung[lung.size // 10] - lowest), 0.3)
    scale = (_CURVE_BINS - 1) / (_CURVE_REACH * dark)
    signal -= lowest
    signal *= np.float32(scale)
    np.clip(signal, 0, _CURVE_BINS - 1, out=signal)
    film: NDArray[np.uint8] = np.take(_curve(exposure), signal.astype(np.int64))
    return film


def _curve(exposure: Exposure) -> NDArray[np.uint8]:
    """Grey of each exposure from free beam to `_CURVE_REACH` times the dark lung's.

    Toe and shoulder of a photographic film: 1 - exp(-s**gamma), scaled so that the
    dark lung has its grey.
    """
    signal = np.linspace(0, _CURVE_REACH, _CURVE_BINS)
    dark = -np.log(1 - exposure.lung / exposure.white)
    grey = exposure.white * (1 - np.exp(-dark * signal**exposure.gamma))
    curve: NDArray[np.uint8] = np.round(255 * grey).astype(np.uint8)
    return curve
