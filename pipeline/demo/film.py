"""One film from start to end: anatomy, signs, attenuation, exposure, markers."""

import numpy as np
from PIL import Image

from .anatomy import Chest, sample_chest
from .exposure import expose, sample_exposure, turn_film
from .grid import Array, Grid, grid_of
from .markers import put_collimation, put_markers
from .population import Patient, Study, View
from .signs import apply, prominence, reshape
from .skeleton import draw_skeleton
from .tissue import draw_tissue
from .vessels import draw_vessels, parenchyma

__all__ = ["draw_film", "film_attenuation", "film_chest"]

# One stream for each stage: a sign never changes what another stage draws.
_SHAPE, _BONE, _VESSEL, _SIGN, _EXPOSURE, _GRAIN, _LETTERS = range(10, 17)


def film_chest(seed: int, patient: Patient, study: Study, view: View) -> Chest:
    """The anatomy that `draw_film` draws, with what the signs do to its shape."""
    chest = sample_chest(seed, patient, study.age, study.number, view)
    rng = np.random.default_rng([_SHAPE, seed, patient.number])
    return reshape(chest, study.signs, rng)


def film_attenuation(
    seed: int, patient: Patient, study: Study, view: View, grid: Grid
) -> Array:
    """What the beam of one film meets: -log of its transmitted share; (R, R) float32.

    The same patient, study and view with other signs differ by the signs alone.
    """

    def stream(stage: int) -> np.random.Generator:
        return _stream(stage, seed, patient, study, view)

    chest = film_chest(seed, patient, study, view)
    bones, vessels = stream(_BONE), stream(_VESSEL)
    tissue = draw_tissue(chest, grid, bones)
    tissue.bone = draw_skeleton(chest, grid, bones)
    tissue.marks += draw_vessels(chest, grid, vessels, prominence(study.signs))
    tissue.haze += parenchyma(chest, tissue.coarse, vessels)
    apply(tissue, chest, study.signs, stream(_SIGN))
    return tissue.attenuation()


def draw_film(
    seed: int, patient: Patient, study: Study, view: View, size: int
) -> Image.Image:
    """One radiograph of `size` × `size`, 8-bit grey.

    Depends on its arguments alone: not on other films, workers, or order.
    """

    def stream(stage: int) -> np.random.Generator:
        return _stream(stage, seed, patient, study, view)

    exposure = sample_exposure(stream(_EXPOSURE), view)
    grid = grid_of(size, exposure.zoom, exposure.move)
    attenuation = film_attenuation(seed, patient, study, view, grid)
    film = Image.fromarray(expose(attenuation, exposure, stream(_GRAIN)))
    put_collimation(film, exposure.collimated)
    film = turn_film(film, exposure.turn)
    put_markers(film, view, stream(_LETTERS))
    return film


def _stream(
    stage: int, seed: int, patient: Patient, study: Study, view: View
) -> np.random.Generator:
    return np.random.default_rng(
        [stage, seed, patient.number, study.number, view.number]
    )
