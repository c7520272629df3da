"""A scenario as a grid of patients by findings: which task sees which label."""

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store.plural import counted

from ...learn.problem.features import PatientIds, number_patients
from ...learn.problem.scenarios import Scenario, Task
from ..text_table import escaped
from .axis import number, svg_text, text_width

__all__ = [
    "GridCell",
    "PatientGroup",
    "ScenarioGrid",
    "scenario_grid",
    "scenario_lines",
    "scenario_svg",
    "tasks_saw",
]

#: Groups of patients that are drawn; the rest is counted.
_MOST_GROUPS = 12
_NAME = 26
_CELL, _ROW, _FONT = 54, 26, 12
#: Fills of tasks, in turn; the number in the cell says which task it is.
_FILLS = ("#b8d9ef", "#f6cdb0", "#b5e2d3", "#ecc9dc", "#f3dfa6", "#cfe6f7", "#d9d9d9")


@dataclass(frozen=True)
class GridCell:
    """The labels of a finding in a group of patients.

    Attributes:
        tasks: Which tasks see them, from 1; none: they are never seen.
        share: Share of these tasks' images of the group, how many have a label, 0 to 1.
    """

    tasks: tuple[int, ...]
    share: float

    @property
    def text(self) -> str:
        """Tasks as numbers; ``~`` where labels are missing.

        >>> [GridCell(tasks, 1.0).text for tasks in ((), (2,), (1, 2, 3), (1, 3))]
        ['.', '2', '1-3', '1,3']
        >>> GridCell((2,), 0.5).text
        '2~'
        """
        if not self.tasks:
            return "."
        first, last = self.tasks[0], self.tasks[-1]
        row = last - first + 1 == len(self.tasks) > 1
        told = f"{first}-{last}" if row else ",".join(map(str, self.tasks))
        return told + ("~" if self.share < 1 else "")


@dataclass(frozen=True)
class PatientGroup:
    """Patients whose images are in the same tasks; a cell per finding."""

    n_patients: int
    n_images: int
    cells: tuple[GridCell, ...]


@dataclass(frozen=True)
class ScenarioGrid:
    """What the tasks of a scenario observe of the training split.

    Attributes:
        name: Name of the scenario.
        findings: K names.
        groups: Groups of patients, those of the first task first.
        n_groups: Number of all groups, also those that are left out.
        n_patients: Number of patients of all groups.
    """

    name: str
    findings: tuple[str, ...]
    groups: tuple[PatientGroup, ...]
    n_groups: int
    n_patients: int

    @property
    def n_left_out(self) -> int:
        """Patients of the groups that are left out."""
        return self.n_patients - sum(group.n_patients for group in self.groups)


def scenario_grid(
    scenario: Scenario,
    findings: Sequence[str],
    patient_id: PatientIds,
    rows: npt.NDArray[np.int64],
) -> ScenarioGrid:
    """Put patients together whose images are in the same tasks.

    Args:
        scenario: Its tasks.
        findings: K names.
        patient_id: Patient ids of all N images.
        rows: The training images.

    >>> task = Task("a", np.array([0]), np.array([[True, False]]))
    >>> plan = Scenario("label", (task,), np.array([1, 1]))
    >>> grid = scenario_grid(plan, ["a", "b"], np.array(["p", "q"]), np.array([0, 1]))
    >>> [(one.n_patients, [cell.text for cell in one.cells]) for one in grid.groups]
    [(1, ['1', '.']), (1, ['.', '.'])]
    """
    patient = number_patients(patient_id)
    members = np.unique(patient[rows])
    seen_in = np.zeros((len(members), len(scenario.tasks)), dtype=bool)
    for task_index, task in enumerate(scenario.tasks):
        seen_in[np.searchsorted(members, np.unique(patient[task.rows])), task_index] = (
            True
        )
    patterns, of_pattern = np.unique(seen_in, axis=0, return_inverse=True)
    of_pattern = of_pattern.reshape(-1)
    group_of = of_pattern[np.searchsorted(members, patient[rows])]
    sizes = np.bincount(of_pattern, minlength=len(patterns))
    largest = np.argsort(-sizes, kind="stable")[:_MOST_GROUPS]
    groups = []
    for pattern in sorted(largest.tolist(), key=lambda p: _first(patterns[p])):
        images = rows[group_of == pattern]
        cells = _cells(scenario.tasks, patterns[pattern], images, len(findings))
        groups.append(PatientGroup(int(sizes[pattern]), len(images), cells))
    return ScenarioGrid(
        scenario.name, tuple(findings), tuple(groups), len(patterns), len(members)
    )


def _first(pattern: npt.NDArray[np.bool_]) -> tuple[int, ...]:
    """Sorts groups by their first task; those of none come last."""
    tasks = np.flatnonzero(pattern).tolist()
    return tuple(tasks) if tasks else (len(pattern) + 1,)


def _cells(
    tasks: Sequence[Task],
    pattern: npt.NDArray[np.bool_],
    images: npt.NDArray[np.int64],
    n_findings: int,
) -> tuple[GridCell, ...]:
    shown: list[list[int]] = [[] for _ in range(n_findings)]
    seen, all_images = np.zeros(n_findings), np.zeros(n_findings)
    for task in np.flatnonzero(pattern).tolist():
        inside = np.isin(tasks[task].rows, images)
        mask = tasks[task].mask[inside]
        for finding in np.flatnonzero(mask.any(axis=0)).tolist():
            shown[finding].append(task + 1)
            seen[finding] += mask[:, finding].sum()
            all_images[finding] += len(mask)
    shares = np.divide(seen, all_images, out=np.zeros(n_findings), where=all_images > 0)
    return tuple(
        GridCell(tuple(one), float(share))
        for one, share in zip(shown, shares, strict=True)
    )


def tasks_saw(scenario: Scenario, patient_id: PatientIds) -> str:
    """What each task saw, in a sentence.

    Args:
        scenario: Its tasks.
        patient_id: Patient ids of all N images.
    """
    tasks = scenario.tasks
    if not tasks:
        return "There is no task: nothing was learned."
    if not any(len(task.rows) for task in tasks):
        return "No image was learned from here."
    images = _range([len(task.rows) for task in tasks], "image")
    patients = _range(
        [len(np.unique(patient_id[task.rows])) for task in tasks], "patient"
    )
    counts = [int(task.mask.any(axis=0).sum()) for task in tasks]
    n_findings = tasks[0].mask.shape[1]
    labels = _range([int(task.mask.sum()) for task in tasks], "label")
    if len(tasks) == 1:
        return (
            f"The task saw {images} of {patients}: {labels} of "
            f"{counted(counts[0], 'finding')}."
        )
    if set(counts) == {n_findings}:
        shown = f"all {counted(n_findings, 'finding')}"
    elif set(counts) == {1}:
        shown = "its own finding only"
    else:
        shown = f"{min(counts)} to {counted(max(counts), 'finding')}"
    overlap = sum(len(task.rows) for task in tasks) > len(
        np.unique(np.concatenate([task.rows for task in tasks]))
    )
    whose = "; images recur between tasks" if overlap else ", whom no other task saw"
    return (
        f"Each of {counted(len(tasks), 'task')} saw {images} of {patients}{whose}, and "
        f"labels of {shown} ({labels})."
    )


def _range(counts: Sequence[int], word: str) -> str:
    """The least and the most of some counts.

    >>> _range([3, 5], "image"), _range([1, 1], "label")
    ('3 to 5 images', '1 label')
    """
    low, high = min(counts), max(counts)
    told = f"{low:,}" if low == high else f"{low:,} to {high:,}"
    return f"{told} {word}{'' if high == 1 else 's'}"


def scenario_lines(grid: ScenarioGrid) -> list[str]:
    """The grid for a terminal: findings down, groups of patients across."""
    names = [textwrap.wrap(escaped(name), _NAME) or [""] for name in grid.findings]
    label = max(len(line) for name in [*names, ["training patients"]] for line in name)
    counts = [
        ("training patients", [f"{group.n_patients:,}" for group in grid.groups]),
        ("their images", [f"{group.n_images:,}" for group in grid.groups]),
    ]
    texts = [
        [group.cells[task].text for group in grid.groups] for task in range(len(names))
    ]
    wide = max(
        (len(t) for row in [*texts, *(c for _, c in counts)] for t in row), default=1
    )

    def line(name: str, cells: Sequence[str]) -> str:
        return (
            name.ljust(label) + "".join(f"  {c.rjust(wide)}" for c in cells)
        ).rstrip()

    lines = [
        f"scenario {grid.name}: a column is a group of patients; a number is the task "
        "that sees the label,",
        ". that none does, ~ that some of the images have no label",
        "",
        *(line(name, cells) for name, cells in counts),
    ]
    for name, cells in zip(names, texts, strict=True):
        lines.append(line(name[0], cells))
        lines += [f"  {more}" for more in name[1:]]
    if grid.n_left_out:
        lines.append(
            f"and {grid.n_groups - len(grid.groups):,} smaller groups of "
            f"{counted(grid.n_left_out, 'patient')} that are in other tasks together"
        )
    return lines


def scenario_svg(grid: ScenarioGrid) -> str:
    """The grid as an SVG image of its own, for a page or a document.

    Texts stay texts; the image is as wide as they need, and suits light and dark pages.
    """
    names = [escaped(name) for name in grid.findings]
    label = 16 + max(text_width(name, _FONT) for name in [*names, "their images"])
    width = label + _CELL * len(grid.groups) + 10
    parts = [svg_text("8", 18, f"scenario {grid.name}", more=' class="title"')]
    for word, y in (("patients", 40), ("their images", 56)):
        parts.append(svg_text("8", y, word, more=' class="soft"'))
    for column, group in enumerate(grid.groups):
        middle = number(label + _CELL * (column + 0.5))
        parts.append(svg_text(middle, 40, f"{group.n_patients:,}", "middle"))
        parts.append(
            svg_text(middle, 56, f"{group.n_images:,}", "middle", ' class="soft"')
        )
    top = 66
    for row, name in enumerate(names):
        y = top + _ROW * row
        parts.append(svg_text("8", y + 17, name))
        for column, group in enumerate(grid.groups):
            parts.append(_drawn(group.cells[row], label + _CELL * column, y))
    bottom = top + _ROW * len(grid.findings)
    parts.append(
        svg_text(
            "8",
            bottom + 18,
            "number: the task that sees the label",
            more=' class="soft"',
        )
    )
    parts.append(svg_text("8", bottom + 34, "empty: never seen", more=' class="soft"'))
    width = max(width, 16 + text_width("number: the task that sees the label", _FONT))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" '
        f'height="{bottom + 42}" viewBox="0 0 {width:.0f} {bottom + 42}" role="img">'
        f"<style>{_STYLE}</style>{''.join(parts)}</svg>"
    )


_STYLE = (
    f"text{{font:{_FONT}px system-ui,sans-serif;fill:#1b1b1b}}.soft{{fill:#5a5a5a}}"
    ".title{font-weight:600}rect{stroke:#8a8a8a;fill:none}rect.seen+text{fill:#1b1b1b}"
    "@media(prefers-color-scheme:dark){text{fill:#e6e6e6}.soft{fill:#b0b0b0}}"
)


def _drawn(cell: GridCell, x: float, y: float) -> str:
    """A cell: the colour of its first task, paler where labels are missing."""
    box = f'x="{number(x + 2)}" y="{y + 2}" width="{_CELL - 4}" height="{_ROW - 4}"'
    if not cell.tasks:
        return f'<rect {box} stroke-dasharray="2 3"/>'
    fill = _FILLS[(cell.tasks[0] - 1) % len(_FILLS)]
    pale = "" if cell.share >= 1 else f' fill-opacity="{max(0.3, cell.share):.2f}"'
    text = svg_text(number(x + _CELL / 2), y + 17, cell.text, "middle")
    return f'<rect class="seen" {box} style="fill:{fill}"{pale}/>{text}'
