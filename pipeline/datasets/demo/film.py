"""One film from start to end: anatomy, signs, attenuation, exposure, markers."""

from typing import Final

import numpy as np
from PIL import Image

from .anatomy import Chest, grid_of, sample_chest
from .exposure import expose, sample_exposure, turn_film
from .findings import apply, prominence, reshape
from .markers import put_collimation, put_markers
from .population import Patient, Study, View
from .skeleton import draw_skeleton
from .tissue import draw_tissue
from .vessels import draw_vessels, parenchyma

__all__ = ["draw_film", "film_chest"]

# One stream for each stage: a sign never changes what another stage draws.
_SHAPE, _BONE, _VESSEL, _SIGN, _EXPOSURE, _GRAIN = range(10, 16)


def film_chest(seed: int, patient: Patient, study: Study, view: View) -> Chest:
    """The anatomy that `draw_film` draws, with what the signs do to its shape."""
    chest = sample_chest(seed, patient, study.age, study.number, view)
    rng = np.random.default_rng([_SHAPE, seed, patient.number])
    return reshape(chest, study.signs, rng)


def draw_film(
    seed: int, patient: Patient, study: Study, view: View, size: int
) -> Image.Image:
    """One radiograph of `size` × `size`, 8-bit grey.

    Depends on its arguments alone: not on other films, workers, or order.
    """

    def stream(stage: int) -> np.random.Generator:
        return np.random.default_rng(
            [stage, seed, patient.number, study.number, view.number]
        )

    exposure = sample_exposure(stream(_EXPOSURE), view)
    grid = grid_of(size, exposure.zoom, exposure.move)
    chest = film_chest(seed, patient, study, view)
    tissue = draw_tissue(chest, grid)
    tissue.bone = draw_skeleton(chest, grid, stream(_BONE))
    vessels = stream(_VESSEL)
    tissue.marks += draw_vessels(chest, grid, vessels, prominence(study.signs))
    tissue.haze += parenchyma(chest, tissue.coarse, vessels)
    apply(tissue, chest, study.signs, stream(_SIGN))
    film = Image.fromarray(expose(tissue.attenuation(), exposure, stream(_GRAIN)))
    put_collimation(film, exposure.collimated)
    film = turn_film(film, exposure.turn)
    put_markers(film, view, stream(_EXPOSURE + 10))
    return film
