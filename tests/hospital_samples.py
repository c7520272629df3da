"""A hospital as its engineer finds it: a table of a German RIS and DICOM files."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from dicom_samples import dicom, saved

__all__ = ["GERMAN_HEADER", "Study", "made_up_studies", "write_hospital"]

GERMAN_HEADER = (
    "Bildpfad;Patienten-ID;Geschlecht;Alter;Projektion;Gerät;Pleuraerguss;Kardiomegalie"
)
_SIDE = 96
_BITS = 12


@dataclass(frozen=True)
class Study:
    """One image of a patient.

    Attributes:
        patient: Its patient's id.
        name: Of its file.
        number: From which sex, age and labels follow.
        day: `YYYYMMDD`, which stands in the DICOM file only.
    """

    patient: str
    name: str
    number: int
    day: str

    @property
    def labels(self) -> tuple[bool, bool]:
        """Effusion, cardiomegaly."""
        return self.number % 2 == 0, self.number % 3 == 0

    def row(self) -> str:
        """The line of the table."""
        words = ["ja" if shown else "nein" for shown in self.labels]
        sex, age = "mw"[self.number % 2], f"{40 + self.number % 45},0"
        return ";".join(
            [f"Bilder\\{self.name}", self.patient, sex, age, "PA", "Röntgen 1", *words]
        )


def made_up_studies(
    letter: str, n_patients: int, months: Sequence[str], first: int = 0
) -> list[Study]:
    """A study of each patient, six at a time in months such as `202601`."""
    return [
        Study(
            f"{letter}-PAT-{number:06d}",
            f"{letter}{number:06d}.DCM",
            number,
            f"{months[index // 6 % len(months)]}{1 + index % 27:02d}",
        )
        for index, number in enumerate(range(first, first + n_patients))
    ]


def _pixels(study: Study, exposure: float) -> npt.NDArray[np.uint16]:
    """Bright lungs' shapes with a band at the bottom or a disc in the middle."""
    random = np.random.default_rng([study.number, *study.patient.encode()])
    y, x = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
    grey = 0.25 + 0.3 * np.abs(x - 0.5) + 0.05 * random.normal(size=x.shape)
    effusion, wide = study.labels
    grey += 0.4 * effusion * (y > 0.72)
    grey += 0.4 * wide * (np.hypot(x - 0.5, y - 0.5) < 0.22)
    shown = np.clip(grey, 0, 1) ** exposure
    return np.round(shown * (2**_BITS - 1)).astype(np.uint16)


def write_hospital(
    root: Path,
    studies: Sequence[Study],
    table: str = "ris.csv",
    *,
    exposure: float = 1.0,
    images_of: Path | None = None,
) -> Path:
    """Write a table in Windows-1252 and, where they are not there, DICOM files.

    Args:
        root: The hospital's folder.
        studies: What it has.
        table: Name of the table.
        exposure: Power of grey values.
        images_of: Another such folder, of which the image files are taken.
    """
    folder = root / "Bilder"
    folder.mkdir(parents=True, exist_ok=True)
    for study in studies:
        if images_of is not None:
            os.link(images_of / "Bilder" / study.name, folder / study.name)
            continue
        pixels = _pixels(study, exposure)
        file = dicom(pixels, bits=_BITS, StudyDate=study.day, Modality="DX")
        (folder / study.name).write_bytes(saved(file))
    lines = [GERMAN_HEADER, *(study.row() for study in studies)]
    (root / table).write_text("\r\n".join(lines) + "\r\n", encoding="cp1252")
    return root
