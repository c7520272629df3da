"""Which patients a point of a curve learns from: nested, by a seed."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError

from ..problem.seeds import generator

__all__ = ["Draw", "draws", "parse_shots"]

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Draw:
    """The training images of one point.

    Attributes:
        n_patients: How many patients.
        seed: By which they were drawn.
        rows: Their images, ascending, shape (n,).
        is_all: Whether these are all training patients: every seed draws the same.
    """

    n_patients: int
    seed: int
    rows: Rows
    is_all: bool


def parse_shots(names: Sequence[str | int]) -> tuple[int | None, ...]:
    """Numbers of patients, each once, rising; None for all.

    Raises:
        ConfigurationError: One is neither a whole number above 0 nor ``all``.

    >>> parse_shots(["16", "all", 8])
    (8, 16, None)
    """
    counts: set[int] = set()
    everybody = False
    for name in names:
        text = str(name).strip()
        if text == "all":
            everybody = True
        elif text.isdecimal() and int(text) > 0:
            counts.add(int(text))
        else:
            raise ConfigurationError(
                f"'{text}' is not a number of patients",
                "Give `shots` as whole numbers above 0 or all: 8,16,32,all",
            )
    if not counts and not everybody:
        raise ConfigurationError(
            "`shots` names no number of patients", "Example: 8,16,32,all"
        )
    return (*sorted(counts), *([None] if everybody else []))


def draws(
    patient: Rows, train: Rows, shots: Sequence[int | None], seeds: Sequence[int]
) -> tuple[list[Draw], list[int]]:
    """The draws of all points, those of a seed nested in each other.

    Args:
        patient: Number of each image's patient, shape (N,).
        train: Training rows.
        shots: Numbers of patients, None for all.
        seeds: Seeds of the draws.

    Returns:
        The draws, seed by seed, with growing numbers of patients; and the numbers that
        are left out because there are fewer patients than that.
    """
    names, number = np.unique(patient[train], return_inverse=True)
    asked = [count for count in shots if count is not None]
    fitting = [count for count in asked if count < len(names)]
    beyond = [count for count in asked if count > len(names)]
    made: list[Draw] = []
    for seed in seeds:
        order = np.empty(len(names), dtype=np.int64)
        order[generator(seed, "shots").permutation(len(names))] = np.arange(len(names))
        made += [
            Draw(count, seed, train[order[number] < count], False) for count in fitting
        ]
    if None in shots or len(names) in asked:
        made.append(Draw(len(names), seeds[0], train, True))
    return made, beyond
