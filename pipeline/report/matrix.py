"""A run as text: findings down, figures across, and what the figures mean."""

import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .text_table import escaped

__all__ = ["format_matrix", "markdown_table", "spark", "wrapped_name"]

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

_SUMMARY_WORDS = {
    "final_auroc": "final AUROC (mean over findings)",
    "final_auroc_positive": "final AUROC of s+ alone (the reference's score)",
    "average_incremental_auroc": "average over tasks (findings seen so far)",
    "zero_shot_auroc": "zero-shot AUROC",
    "forgetting": "forgetting (0 is best)",
    "backward_transfer": "backward transfer",
    "forward_transfer": "forward transfer",
    "zero_shot_retention": "unseen findings against zero-shot",
    "sequence_gap": "gap to joint-observed (price of learning in sequence)",
    "joint_gap": "gap to joint (all labels at once)",
}
_S = (
    "s+, s-: similarity to sentences that affirm or deny a finding; s+ alone is the "
    "reference's score"
)
_JOINT_OBSERVED = (
    "joint: trained at once on all labels; joint-observed: at once on just those that "
    "the tasks showed"
)
_NAME, _HEAD = 26, 10
#: Lowest and highest AUROC of a spark.
_SPARK = (0.5, 1.0)
_BARS = "▁▂▃▄▅▆▇█"


@dataclass(frozen=True)
class _Column:
    """A column: its head, a cell per finding, and the cell of the mean."""

    head: str
    cells: Sequence[str]
    mean: str = ""


def format_matrix(
    findings: Sequence[str],
    auroc: Floats,
    introduced: npt.NDArray[np.int64],
    *,
    summary: Mapping[str, float],
    final_low: Floats,
    final_high: Floats,
    n_positive: npt.NDArray[np.int64],
    excluded: Mapping[str, str],
    bounds: Mapping[str, Floats],
    task_names: Sequence[str],
    intervals: Mapping[str, tuple[float, float]] | None = None,
    score: str = "difference",
    counted: Mask | None = None,
    width: int = 100,
    tasks_saw: str = "",
    sparks: bool = True,
) -> str:
    """Lay a run out for a terminal.

    Args:
        findings: K names.
        auroc: Test AUROC before the first task and after each, shape (T+1, K).
        introduced: The task that introduced each finding, shape (K,), from 1.
        summary: Figures by name, of `retune.pipeline.learn.stats.incremental`.
        final_low: Lower end of the last row's 95 % intervals, shape (K,).
        final_high: Upper end, shape (K,).
        n_positive: Positive test images, shape (K,).
        excluded: Finding -> why it has no figure.
        bounds: Name -> AUROC, shape (K,).
        task_names: T names.
        intervals: Ends of the 95 % intervals of `summary`; None: not printed.
        score: Whose AUROC it is, ``difference`` or ``positive``.
        counted: Findings that enter means, shape (K,); None: all with a figure.
        width: Columns of the terminal; columns that do not fit go to a next block.
        tasks_saw: What each task saw, in a sentence; empty if nobody knows.
        sparks: Whether the course over tasks is drawn in block letters.
    """
    names = [wrapped_name(name) for name in findings]
    n_tasks = len(task_names)
    of_score = "s+" if score == "positive" else "s+ - s-"
    before = "" if np.isnan(auroc[0]).all() else "zero-shot and "
    when = f", {before}after task {n_tasks}" if n_tasks > 1 else ""
    lines = [*textwrap.wrap(tasks_saw, width), ""] if tasks_saw else []
    lines += textwrap.wrap(f"test AUROC of {of_score}{when}", width)
    every = np.ones(len(findings), dtype=bool) if counted is None else counted
    lead = _lead_columns(n_positive, introduced, findings, task_names)
    final = _final_columns(auroc, final_low, final_high, n_tasks, every)
    held = [_auroc_column(name, row, every) for name, row in bounds.items()]
    course = []
    if n_tasks > 1 and sparks:
        bars = [spark(auroc[:, k].tolist()) for k in range(len(findings))]
        course = [_Column("course", bars, spark([_mean(row[every]) for row in auroc]))]
    lines += _blocks(names, [*lead, *final, *held, *course], width)
    if n_tasks > 1:
        words = "test AUROC after each task; * learned by then"
        words += ", 0 is zero-shot" if before else ""
        lines += textwrap.wrap(words, width)
        lines += _blocks(names, _task_columns(auroc, introduced, every), width)
    lines += _summary_lines(summary, intervals or {})
    lines += [f"no figure for {escaped(name)}: {why}" for name, why in excluded.items()]
    explained = [_S, *([_JOINT_OBSERVED] if "joint-observed" in bounds else [])]
    lines += ["", *(line for text in explained for line in textwrap.wrap(text, width))]
    return "\n".join(line.rstrip() for line in lines)


def wrapped_name(name: str, width: int = _NAME) -> list[str]:
    """A name in lines of at most so many columns, none of it left out.

    >>> wrapped_name("Enlarged Cardiomediastinum", 18)
    ['Enlarged', 'Cardiomediastinum']
    """
    lines = textwrap.wrap(escaped(name), width // 2 if _is_wide(name) else width)
    return lines or [""]


def _is_wide(text: str) -> bool:
    return any(unicodedata.east_asian_width(letter) in "WF" for letter in text)


def _columns_of(text: str) -> int:
    """How many columns of a terminal a text takes.

    >>> _columns_of("Edema"), _columns_of("肺炎")
    (5, 4)
    """
    return sum(
        0
        if unicodedata.combining(letter)
        else 2
        if unicodedata.east_asian_width(letter) in "WF"
        else 1
        for letter in text
    )


def spark(values: Sequence[float]) -> str:
    """A course as block letters, from an AUROC of 0.5 to 1; a dot where there is none.

    >>> spark([0.5, 0.75, 1.0, float("nan")])
    '▁▅█·'
    """
    low, high = _SPARK
    places = [(value - low) / (high - low) * len(_BARS) for value in values]
    return "".join(
        "·" if np.isnan(level) else _BARS[int(np.clip(level, 0, len(_BARS) - 1))]
        for level in places
    )


def _cell(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}"


def _mean(values: Floats) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")


def _auroc_column(head: str, values: Floats, counted: Mask) -> _Column:
    cells = [_cell(value) for value in values.tolist()]
    return _Column(head, cells, _cell(_mean(values[counted])))


def _lead_columns(
    n_positive: npt.NDArray[np.int64],
    introduced: npt.NDArray[np.int64],
    findings: Sequence[str],
    task_names: Sequence[str],
) -> list[_Column]:
    """Task of a finding, if tasks bring findings, and positive test images."""
    columns = [_Column("positive", [f"{n:,}" for n in n_positive.tolist()])]
    if len(task_names) > 1 and set(task_names) <= set(findings):
        tasks = _Column("task", [str(task) for task in introduced.tolist()])
        columns.insert(0, tasks)
    return columns


def _final_columns(
    auroc: Floats, low: Floats, high: Floats, n_tasks: int, counted: Mask
) -> list[_Column]:
    ends = [
        "-" if np.isnan([a, b]).any() else f"{a:.3f} to {b:.3f}"
        for a, b in zip(low.tolist(), high.tolist(), strict=True)
    ]
    columns = [_auroc_column("zero-shot", auroc[0], counted)]
    if n_tasks and np.isnan(auroc[0]).all():
        columns = []  # an encoder without vectors of texts has no zero-shot
    if n_tasks:
        columns.append(_auroc_column("final", auroc[-1], counted))
    return [*columns, _Column("95 % interval", ends)]


def _task_columns(
    auroc: Floats, introduced: npt.NDArray[np.int64], counted: Mask
) -> list[_Column]:
    columns = []
    for task, values in enumerate(auroc):
        if not task and np.isnan(values).all():
            continue
        learned = introduced <= task if task else np.zeros(len(introduced), dtype=bool)
        cells = [
            _cell(value) + ("*" if mark else " ")
            for value, mark in zip(values.tolist(), learned.tolist(), strict=True)
        ]
        columns.append(_Column(f"{task} ", cells, _cell(_mean(values[counted])) + " "))
    return columns


def _blocks(
    names: Sequence[Sequence[str]], columns: Sequence[_Column], width: int
) -> list[str]:
    """Columns side by side, as many as fit; each block has the names and the means."""
    label = max(_columns_of(line) for name in [*names, ["finding"]] for line in name)
    blocks: list[list[_Column]] = []
    room = 0
    for column in columns:
        if not blocks or room + _width(column) + 2 > width:
            blocks.append([])
            room = label
        blocks[-1].append(column)
        room += _width(column) + 2
    return [line for block in blocks for line in ["", *_block(names, block, label)]] + [
        ""
    ]


def _head(column: _Column) -> list[str]:
    """A head in lines, broken at blanks and after dashes."""
    if len(column.head) <= _HEAD or column.head.startswith("95"):
        return [column.head]
    return textwrap.wrap(column.head, _HEAD)


def _width(column: _Column) -> int:
    return max(map(len, [*_head(column), *column.cells, column.mean]))


def _block(
    names: Sequence[Sequence[str]], columns: Sequence[_Column], label: int
) -> list[str]:
    widths = [_width(column) for column in columns]
    heads = [_head(column) for column in columns]
    height = max(map(len, heads))

    def line(name: str, cells: Sequence[str]) -> str:
        start = name + " " * (label - _columns_of(name))
        return start + "".join(
            f"  {cell.rjust(width)}" for cell, width in zip(cells, widths, strict=True)
        )

    lines = []
    for head_row in range(height):
        cells = [
            head[head_row - height + len(head)]
            if head_row >= height - len(head)
            else ""
            for head in heads
        ]
        lines.append(line("finding" if head_row == height - 1 else "", cells))
    for row, name in enumerate(names):
        lines.append(line(name[0], [column.cells[row] for column in columns]))
        lines += [f"  {more}" for more in name[1:]]
    if any(column.mean for column in columns):
        lines.append(line("mean", [column.mean for column in columns]))
    return lines


def _summary_lines(
    summary: Mapping[str, float], intervals: Mapping[str, tuple[float, float]]
) -> list[str]:
    """A line per figure that is defined, every difference with its sign."""
    wide = max(map(len, _SUMMARY_WORDS.values()))
    known = {key for key in intervals if not np.isnan(intervals[key]).any()}
    lines = []
    if known & summary.keys():
        lines.append(" " * (wide + 10) + "95 % over test patients")
    for key, words in _SUMMARY_WORDS.items():
        if np.isnan(summary.get(key, np.nan)):
            continue
        sign = " " if "auroc" in key else "+"
        line = f"{words.ljust(wide)}  {round(summary[key], 3) + 0.0:{sign}.3f}"
        if key in known:
            low, high = (end + 0.0 for end in np.round(intervals[key], 3))
            line += f"  {low:{sign}.3f} to {high:{sign}.3f}"
        lines.append(line)
    return lines


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table for README or an issue.

    >>> print(markdown_table(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = [header, *rows]
    text = [f"| {' | '.join(line)} |" for line in lines]
    text.insert(1, "|" + "---|" * len(header))
    return "\n".join(text)
