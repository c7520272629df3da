"""Who is drawn: patients, studies, views, and the signs that each study shows.

Every draw comes from a generator seeded with (seed, patient, …), so that one patient is
the same whatever the size of the demo and whoever draws it. The chances below are
chosen so that a demo of a few hundred films holds enough of each finding; they follow
the order of CheXpert's prevalences, not their values.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

__all__ = [
    "DRAWN_FINDINGS",
    "MILD",
    "MODERATE",
    "SEVERE",
    "Patient",
    "Side",
    "Sign",
    "Study",
    "View",
    "draw_patient",
    "patients",
]

#: The five competition findings of CheXpert (Irvin et al., AAAI 2019), in its order.
DRAWN_FINDINGS: Final = (
    "Cardiomegaly",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pleural Effusion",
)

MILD: Final = 1
MODERATE: Final = 2
SEVERE: Final = 3

#: -1 is the patient's right (left on the film), +1 the patient's left, 0 both.
Side = Literal[-1, 0, 1]
Projection = Literal["PA", "AP"]

# What seeds the generator of one patient, so that no other stage shares its stream.
_PATIENT_STREAM: Final = 1


@dataclass(frozen=True)
class Sign:
    """One finding as it shows in one study.

    Attributes:
        finding: One of `DRAWN_FINDINGS`.
        severity: `MILD`, `MODERATE` or `SEVERE`.
        side: The patient's side; 0 where the sign is bilateral or has no side.
        height: Where in the lung, 0 = apex, 1 = base; only consolidation uses it.
    """

    finding: str
    severity: int
    side: Side = 0
    height: float = 0.5


@dataclass(frozen=True)
class View:
    """One film of a study; `number` counts from 1 as CheXpert's file names do."""

    number: int
    projection: Projection


@dataclass(frozen=True)
class Study:
    """What one visit shows: the same signs on each of its films."""

    number: int
    age: int
    signs: tuple[Sign, ...]
    views: tuple[View, ...]


@dataclass(frozen=True)
class Patient:
    """One invented person.

    Attributes:
        number: The number in the path, ``patient00001`` is 1.
        sex: ``Male`` or ``Female``, CheXpert's words.
        build: Body fat and size, about 0 ± 1; the same on all films of the patient.
        studies: At least one.
    """

    number: int
    sex: Literal["Male", "Female"]
    build: float
    studies: tuple[Study, ...]


def patients(seed: int, first: int, n_images: int) -> Iterator[Patient]:
    """Patients from number `first` on, with exactly `n_images` films together.

    The last patient loses the films that would be too many.

    >>> sum(len(s.views) for p in patients(0, 1, 25) for s in p.studies)
    25
    """
    left, number = n_images, first
    while left > 0:
        patient = draw_patient(seed, number)
        studies = []
        for study in patient.studies:
            views = study.views[:left]
            if views:
                studies.append(Study(study.number, study.age, study.signs, views))
                left -= len(views)
        yield Patient(number, patient.sex, patient.build, tuple(studies))
        number += 1


def draw_patient(seed: int, number: int) -> Patient:
    """One patient with all studies; the same for the same arguments.

    >>> draw_patient(0, 7) == draw_patient(0, 7)
    True
    """
    rng = np.random.default_rng([_PATIENT_STREAM, seed, number])
    sex: Literal["Male", "Female"] = "Male" if rng.random() < 0.56 else "Female"
    age = int(np.clip(rng.normal(60.0, 17.0), 18, 90))
    build = float(np.clip(rng.normal(0.0, 1.0), -2.0, 2.2))
    heart = _severity(rng) if rng.random() < 0.10 + 0.30 * _older(age) else 0
    studies = []
    for index in range(1 + int(rng.choice(3, p=(0.62, 0.26, 0.12)))):
        signs = _study_signs(rng, heart)
        views = _study_views(rng, signs)
        studies.append(Study(index + 1, min(age + index // 2, 90), signs, views))
    return Patient(number, sex, build, tuple(studies))


def _older(age: int) -> float:
    """0 at 40 years and below, 1 at 80 and above."""
    return min(max((age - 40) / 40, 0.0), 1.0)


def _severity(rng: np.random.Generator) -> int:
    return int(rng.choice((MILD, MODERATE, SEVERE), p=(0.34, 0.40, 0.26)))


def _one_side(rng: np.random.Generator) -> Side:
    return -1 if rng.random() < 0.5 else 1


def _study_signs(rng: np.random.Generator, heart: int) -> tuple[Sign, ...]:
    """The signs of one visit, in the order in which one condition favours the next.

    Failure: a large heart makes oedema likely, and oedema makes effusions likely, then
    on both sides. Infection: a consolidation brings an effusion of its own side.
    Compression: an effusion makes atelectasis of that lung base likely.
    """
    signs: list[Sign] = []
    if heart:
        signs.append(Sign("Cardiomegaly", heart))
    oedema = rng.random() < (0.48 if heart else 0.11)
    if oedema:
        signs.append(Sign("Edema", _severity(rng)))
    focus: Side = 0
    if rng.random() < (0.10 if oedema else 0.22):
        focus = _one_side(rng)
        height = float(rng.uniform(0.22, 0.80))
        signs.append(Sign("Consolidation", _severity(rng), focus, height))
    effusion = _effusion_sides(rng, oedema=oedema, focus=focus)
    signs += [Sign("Pleural Effusion", _severity(rng), side) for side in effusion]
    if rng.random() < (0.38 if effusion else 0.15):
        side = effusion[0] if effusion and rng.random() < 0.8 else _one_side(rng)
        signs.append(Sign("Atelectasis", _severity(rng), side))
    return tuple(signs)


def _effusion_sides(
    rng: np.random.Generator, *, oedema: bool, focus: Side
) -> tuple[Side, ...]:
    if oedema and rng.random() < 0.55:
        return (-1, 1) if rng.random() < 0.7 else (_one_side(rng),)
    if focus and rng.random() < 0.38:
        return (focus,)
    return (_one_side(rng),) if rng.random() < 0.13 else ()


def _study_views(rng: np.random.Generator, signs: tuple[Sign, ...]) -> tuple[View, ...]:
    """Sicker patients are filmed in bed, from the front; some films are repeated."""
    burden = sum(sign.severity for sign in signs)
    in_bed = rng.random() < min(0.25 + 0.10 * burden, 0.85)
    projection: Projection = "AP" if in_bed else "PA"
    number = 1 + int(rng.random() < 0.22)
    return tuple(View(index + 1, projection) for index in range(number))
