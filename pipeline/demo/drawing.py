"""Many films: drawn and written by one process, or by several.

Threads would not help: a film is a few hundred short array operations, and between
them each thread waits for the interpreter's lock.
"""

import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from retune.store.errors import PipelineError

from .film import draw_film
from .population import Patient, Study, View

__all__ = ["Film", "FilmJob", "draw_jobs"]

_JPEG_QUALITY: Final = 90
_BATCH: Final = 8

# Starting a process costs about as much as drawing this many films.
_WORTH_A_PROCESS: Final = 48

_KEPT_BYTES: Final = 16 << 20


class Film(NamedTuple):
    """One film that is to be drawn, and its path below the demo's folder."""

    path: str
    patient: Patient
    study: Study
    view: View


class FilmJob(NamedTuple):
    """What all films of one call share."""

    folder: Path
    seed: int
    size: int


def draw_jobs(
    job: FilmJob, films: Sequence[Film], workers: int | None
) -> Iterator[int]:
    """Draw and write films, yielding how many more are done.

    Args:
        job: Where and how.
        films: What to draw.
        workers: Processes, or None for as many as there are usable cores and work for.

    Raises:
        PipelineError: A worker process died.
        OSError: A film cannot be written.
    """
    if workers is None:
        workers = min(_usable_cores(), 1 + len(films) // _WORTH_A_PROCESS)
    if workers == 1 or len(films) < 2:
        for film in films:
            yield write_films(job, [film])
        return
    batches = [films[at : at + _BATCH] for at in range(0, len(films), _BATCH)]
    # A fresh interpreter: forking is not safe where the caller has started threads.
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_set_up
    )
    try:
        waiting = [pool.submit(write_films, job, batch) for batch in batches]
        for finished in as_completed(waiting):
            yield finished.result()
    except BrokenProcessPool as error:
        raise PipelineError(
            "a process that draws the demo died",
            "Try again with one worker. A script that calls write_demo with several "
            "must do so below `if __name__ == '__main__':`.",
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def write_films(job: FilmJob, films: Sequence[Film]) -> int:
    """Draw films and write each as a JPEG file that is either whole or absent."""
    for film in films:
        target = job.folder / film.path
        target.parent.mkdir(parents=True, exist_ok=True)
        part = target.with_suffix(".part")
        image = draw_film(job.seed, film.patient, film.study, film.view, job.size)
        image.save(part, "JPEG", quality=_JPEG_QUALITY)
        part.replace(target)
    return len(films)


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _set_up() -> None:
    """Prepare one drawing process.

    Ctrl-C is for the calling process, which then stops the others. Freeing one large
    block teaches glibc to keep freed memory; otherwise it hands each film's arrays back
    to the system, and a seventh of the time goes into fetching them again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    np.empty(_KEPT_BYTES, np.uint8)
