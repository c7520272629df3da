"""The demo on disk, in the layout of CheXpert-v1.0-small."""

import csv
import io
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from retune.store.errors import ConfigurationError, PipelineError
from retune.store.plural import counted

from .drawing import Film, FilmJob, draw_jobs
from .labels import HEADER, train_cells, truth, valid_cells
from .population import DRAWN_FINDINGS, Patient, patients

__all__ = ["DRAWING_VERSION", "DemoSummary", "write_demo"]

#: Changes whenever the same arguments would draw other films or labels.
DRAWING_VERSION: Final = 1

_ROOT: Final = "CheXpert-v1.0-small"
_RECORD: Final = "demo.json"
_README: Final = "README.txt"
_LABEL_STREAM: Final = 4
_SIZES: Final = (64, 1024)

# CheXpert's validation patients are numbered after its training patients. Numbering
# ours so keeps every patient the same in a smaller and in a larger demo.
_FIRST_VALID: Final = 64541
_MOST_IMAGES: Final = 80_000

_README_TEXT: Final = """\
Synthetic chest radiographs
===========================

Every image in this folder was drawn by a program (retune-cli demo). They show no
patient: the people, their ages and their findings are invented. The labels say what
was drawn.

They are for trying out the software and for testing it. Do not use them, or a model
that has learned from them, for any medical purpose, and do not report results on them
as if they were results on radiographs.

The layout is that of CheXpert-v1.0-small, so that whatever reads CheXpert reads this.
demo.json holds the arguments that draw these same images again.
"""


@dataclass(frozen=True)
class DemoSummary:
    """What `write_demo` wrote.

    Attributes:
        folder: The folder that was asked for; the data set lies below it.
        n_images: Films, training and validation together.
        n_patients: People; nobody is in both.
        n_studies: Visits.
        positives: Films that show each drawn finding, whatever the tables say of it.
        seconds: Wall time.
    """

    folder: Path
    n_images: int
    n_patients: int
    n_studies: int
    positives: dict[str, int]
    seconds: float


class _Split(NamedTuple):
    name: str
    people: list[Patient]


def write_demo(
    folder: Path,
    n_images: int = 600,
    seed: int = 0,
    *,
    size: int = 320,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> DemoSummary:
    """Draw synthetic frontal radiographs and write them in CheXpert's layout.

    About a quarter of the films are validation films, of other patients than the
    training films. The same arguments give the same bytes, with any number of workers;
    films that are already there are not drawn again, so an interrupted call can be
    repeated.

    Args:
        folder: Where to write; empty or absent, or a demo of the same arguments.
        n_images: Films in all, 2 … 80,000.
        seed: Which patients are drawn, at least 0.
        size: Width and height in pixels, 64 … 1024.
        workers: Processes that draw; one per usable core if None.
        progress: Called with (films done, films in all) from the calling thread.

    Raises:
        ConfigurationError: An argument is out of range, or the folder holds
            something else.
        PipelineError: The folder cannot be written, or a worker process died.
    """
    started = time.perf_counter()
    _check_arguments(n_images, seed, size, workers)
    folder = Path(folder)
    record = _record(n_images, seed, size)
    _check_folder(folder, record)
    splits = _splits(n_images, seed)
    films = [film for split in splits for film in _films(split)]
    try:
        _write_words(folder, record, splits, seed)
        _draw_missing(folder, films, seed, size, workers, progress)
    except OSError as error:
        raise PipelineError(
            f"cannot write the demo to {folder}: {error.strerror or error}",
            "Free some space or choose another folder, then run the same call again: "
            "it goes on where it stopped.",
        ) from error
    shown = [truth(film.study.signs) for film in films]
    return DemoSummary(
        folder=folder,
        n_images=len(films),
        n_patients=sum(len(split.people) for split in splits),
        n_studies=sum(len(p.studies) for split in splits for p in split.people),
        positives={name: sum(film[name] for film in shown) for name in DRAWN_FINDINGS},
        seconds=time.perf_counter() - started,
    )


def _check_arguments(n_images: int, seed: int, size: int, workers: int | None) -> None:
    if not 2 <= n_images <= _MOST_IMAGES:
        raise ConfigurationError(
            f"a demo of {counted(n_images, 'image')} cannot be drawn",
            f"Ask for 2 to {_MOST_IMAGES}: at least one to train, one to validate.",
        )
    if seed < 0:
        raise ConfigurationError(f"the seed is {seed}", "Use 0 or a positive number.")
    if not _SIZES[0] <= size <= _SIZES[1]:
        raise ConfigurationError(
            f"images of {size} pixels cannot be drawn",
            f"Choose a size from {_SIZES[0]} to {_SIZES[1]}.",
        )
    if workers is not None and workers < 1:
        raise ConfigurationError(
            f"{workers} workers cannot draw", "Use 1 or more, or leave it out."
        )


def _record(n_images: int, seed: int, size: int) -> dict[str, int]:
    return {
        "drawing_version": DRAWING_VERSION,
        "n_images": n_images,
        "seed": seed,
        "size": size,
    }


def _check_folder(folder: Path, record: dict[str, int]) -> None:
    """An absent or empty folder will do, or one that holds this same demo."""
    hint = "Name an empty or a new folder."
    if folder.exists() and not folder.is_dir():
        raise ConfigurationError(f"{folder} is a file, not a folder", hint)
    try:
        empty = not folder.is_dir() or next(folder.iterdir(), None) is None
        if empty:
            return
        held = json.loads((folder / _RECORD).read_text("utf-8"))
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"{folder} is not empty and holds no demo", hint
        ) from error
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"{folder} holds a {_RECORD} that cannot be read: {error}", hint
        ) from error
    if held != record:
        raise ConfigurationError(
            f"{folder} holds another demo: {json.dumps(held)} instead of "
            f"{json.dumps(record)}",
            f"{hint} To complete that demo, repeat its own arguments.",
        )


def _splits(n_images: int, seed: int) -> tuple[_Split, _Split]:
    """Training and validation patients; at least one film each."""
    n_valid = max(round(n_images / 4), 1)
    return (
        _Split("train", list(patients(seed, 1, n_images - n_valid))),
        _Split("valid", list(patients(seed, _FIRST_VALID, n_valid))),
    )


def _films(split: _Split) -> list[Film]:
    """The films of one split in the order of its table, with their paths."""
    return [
        Film(
            f"{_ROOT}/{split.name}/patient{patient.number:05d}/study{study.number}"
            f"/view{view.number}_frontal.jpg",
            patient,
            study,
            view,
        )
        for patient in split.people
        for study in patient.studies
        for view in study.views
    ]


def _table(split: _Split, seed: int) -> str:
    """`train.csv` or `valid.csv`; the films of one study have the same labels."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for film in _films(split):
        patient, study, view = film.patient, film.study, film.view
        rng = np.random.default_rng([_LABEL_STREAM, seed, patient.number, study.number])
        signs = study.signs
        cells = train_cells(signs, rng) if split.name == "train" else valid_cells(signs)
        row = (film.path, patient.sex, study.age, "Frontal", view.projection)
        writer.writerow([*row, *cells])
    return text.getvalue()


def _write_words(
    folder: Path, record: dict[str, int], splits: tuple[_Split, ...], seed: int
) -> None:
    """The record first: it is what allows an interrupted demo to be completed."""
    (folder / _ROOT).mkdir(parents=True, exist_ok=True)
    texts = {
        _RECORD: json.dumps(record, indent=2) + "\n",
        _README: _README_TEXT,
        **{f"{_ROOT}/{split.name}.csv": _table(split, seed) for split in splits},
    }
    for name, text in texts.items():
        part = folder / f"{name}.part"
        part.write_text(text, "utf-8", newline="")
        part.replace(folder / name)


def _draw_missing(
    folder: Path,
    films: list[Film],
    seed: int,
    size: int,
    workers: int | None,
    progress: Callable[[int, int], None] | None,
) -> None:
    missing = [film for film in films if not (folder / film.path).is_file()]
    done = len(films) - len(missing)
    if progress is not None:
        progress(done, len(films))
    for drawn in draw_jobs(FilmJob(folder, seed, size), missing, workers):
        done += drawn
        if progress is not None:
            progress(done, len(films))
