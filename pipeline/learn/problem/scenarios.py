"""Scenarios: which cells of the label matrix a learner sees, and when.

Every scenario is a list of tasks, and a task is some rows with a mask over rows and
findings. That is all the difference there is between class-, label- and
data-incremental learning; the trainer knows none of these words.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from retune.store.errors import ConfigurationError, TrainingError
from retune.store.plural import counted

from .features import PatientIds, number_patients
from .seeds import generator
from .targets import SOFT_TARGET, Targets

__all__ = [
    "SCENARIOS",
    "Scenario",
    "Task",
    "Visible",
    "merge_tasks",
    "nothing_new",
    "patient_parts",
    "plan_scenario",
]

SCENARIOS = ("zero-shot", "joint", "class", "label", "data")
Visible = Literal["current", "cumulative"]
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Task:
    """What is learned in one step.

    Attributes:
        name: For tables: the finding, or the part.
        rows: Indices of images, shape (n,), ascending.
        mask: Cells that may be looked at, shape (n, K).
    """

    name: str
    rows: Rows
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Scenario:
    """T tasks over K findings.

    Attributes:
        name: One of `SCENARIOS`, or ``merge``.
        tasks: In the order of learning; none for ``zero-shot``.
        introduced: The task (counted from 1) that first shows each finding, shape (K,).
    """

    name: str
    tasks: tuple[Task, ...]
    introduced: Rows


def patient_parts(
    patient_id: PatientIds, rows: Rows, n_parts: int, seed: int
) -> list[Rows]:
    """Divide rows into parts that share no patient.

    Args:
        patient_id: Patient ids of all images, shape (N,); ids, or numbers in the order
            of ids.
        rows: The rows to divide.
        n_parts: How many parts.
        seed: Seed of the shuffle of the patients.

    Returns:
        The rows of each part, ascending; the parts' numbers of patients differ by at
        most one.

    Raises:
        TrainingError: There are fewer patients than parts.
    """
    number = number_patients(patient_id[rows])
    n_patients = int(number.max(initial=-1)) + 1
    if n_patients < n_parts:
        raise TrainingError(
            f"{counted(n_patients, 'training patient')} cannot be divided into "
            f"{counted(n_parts, 'task')} without sharing one",
            "Use fewer findings (`findings`), fewer `tasks`, or more data.",
        )
    shuffled = generator(seed, "parts").permutation(n_patients)
    part_of = np.empty(n_patients, dtype=np.int64)
    for part, members in enumerate(np.array_split(shuffled, n_parts)):
        part_of[members] = part
    return [rows[part_of[number] == part] for part in range(n_parts)]


def plan_scenario(
    name: str,
    targets: Targets,
    patient_id: PatientIds,
    rows: Rows,
    findings: Sequence[str],
    *,
    order: Sequence[int] | None = None,
    n_tasks: int = 5,
    visible: Visible = "current",
    seed: int = 0,
) -> Scenario:
    """Make the tasks of a scenario.

    Args:
        name: One of `SCENARIOS`.
        targets: Targets of all N images.
        patient_id: Patient ids of all N images.
        rows: The training rows.
        findings: K names.
        order: The order in which findings come, a permutation of 0..K-1.
        n_tasks: Parts of the ``data`` scenario.
        visible: ``current``: a task shows only its own finding; ``cumulative``: also
            those of the tasks before it.
        seed: Seed of the division into parts.

    Raises:
        ConfigurationError: The name, the order or `visible` does not exist.
        TrainingError: Too few patients, or a task in which nothing is observed.
    """
    n_findings = len(findings)
    sequence = list(range(n_findings) if order is None else order)
    if sorted(sequence) != list(range(n_findings)):
        raise ConfigurationError(
            f"{sequence} is no order of {counted(n_findings, 'finding')}"
        )
    if visible not in get_args(Visible):
        raise ConfigurationError(
            f"unknown `visible` {visible}", "Use current or cumulative."
        )
    everything = np.ones(n_findings, dtype=bool)
    if name == "zero-shot":
        tasks: list[Task] = []
    elif name == "joint":
        tasks = [_task("all", rows, everything, targets)]
    elif name == "data":
        parts = patient_parts(patient_id, rows, n_tasks, seed)
        tasks = [
            _task(f"part {number}", part, everything, targets)
            for number, part in enumerate(parts, start=1)
        ]
    elif name in ("class", "label"):
        tasks = _finding_tasks(
            name, targets, patient_id, rows, findings, sequence, visible, seed
        )
    else:
        raise ConfigurationError(
            f"unknown scenario '{name}'", f"Use one of {', '.join(SCENARIOS)}."
        )
    introduced = np.ones(n_findings, dtype=np.int64)
    if name in ("class", "label"):
        introduced[sequence] = np.arange(1, n_findings + 1)
    return Scenario(name, tuple(tasks), introduced)


def nothing_new(findings: Sequence[str]) -> Scenario:
    """A scenario of one task without images: what merging runs learns here."""
    empty = np.zeros((0, len(findings)), dtype=bool)
    task = Task("merged states", np.zeros(0, dtype=np.int64), empty)
    return Scenario("merge", (task,), np.ones(len(findings), dtype=np.int64))


def _finding_tasks(
    name: str,
    targets: Targets,
    patient_id: PatientIds,
    rows: Rows,
    findings: Sequence[str],
    sequence: Sequence[int],
    visible: str,
    seed: int,
) -> list[Task]:
    """One task for each finding, in the given sequence."""
    if name == "class":
        positive = (targets.value > SOFT_TARGET) & targets.observed
        parts = [rows[positive[rows, finding]] for finding in sequence]
    else:
        parts = patient_parts(patient_id, rows, len(sequence), seed)
    tasks = []
    for index, (finding, part) in enumerate(zip(sequence, parts, strict=True)):
        shown = np.zeros(len(sequence), dtype=bool)
        shown[list(sequence[: index + 1]) if visible == "cumulative" else finding] = (
            True
        )
        tasks.append(_task(findings[finding], part, shown, targets))
    return tasks


def _task(
    name: str, rows: Rows, shown: npt.NDArray[np.bool_], targets: Targets
) -> Task:
    mask = targets.observed[rows] & shown
    if not mask.any():
        raise TrainingError(
            f"the task '{name}' has no observed label among its "
            f"{counted(len(rows), 'image')}",
            "Leave this finding out (`findings`), or change `uncertain` or `blank`.",
        )
    return Task(name, rows, mask)


def merge_tasks(tasks: Sequence[Task], n_images: int) -> Task:
    """All cells that a sequence of tasks observes, in one task.

    Training on it is the bound ``joint-observed``: what a learner could do that saw
    the same labels, but all at once.

    >>> one = Task("a", np.array([0]), np.array([[True, False]]))
    >>> other = Task("b", np.array([0, 2]), np.array([[False, False], [False, True]]))
    >>> merge_tasks([one, other], 3).mask.tolist()
    [[True, False], [False, True]]
    """
    seen = np.zeros((n_images, tasks[0].mask.shape[1]), dtype=bool)
    for task in tasks:
        seen[task.rows] |= task.mask
    rows = np.flatnonzero(seen.any(axis=1))
    return Task("all observed", rows, seen[rows])
