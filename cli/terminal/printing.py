"""Writing to the terminal: results to stdout, everything else to stderr."""

import json
import math
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from retune.pipeline.progress import Progress, ProgressCallback

__all__ = [
    "contamination_line",
    "print_json",
    "print_line",
    "print_table",
    "progress_bar",
    "remark",
]


def print_line(text: str = "") -> None:
    """Write a line of the result."""
    sys.stdout.write(text + "\n")


def remark(text: str, *, quiet: bool = False) -> None:
    """Write a line that is not part of the result."""
    if not quiet:
        sys.stderr.write(text + "\n")


def _plain(value: Any) -> Any:
    """A value as JSON has it: no NaN, no infinity, no tuples as keys."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, str | int | float | bool) or value is None:
        return value
    return str(value)


def contamination_line(n_images: int, allowed: bool) -> str:
    """What to say of images whose patients the backbone was trained on.

    >>> contamination_line(3, False)
    '3 images of patients that the backbone was trained on are left out'
    """
    who = f"{n_images:,} images of patients that the backbone was trained on"
    if allowed:
        return f"{who} count: the figures are too good (--allow-contaminated)"
    return f"{who} are left out"


def print_json(value: Any) -> None:
    """Write a value as JSON; dates and the like as text."""
    json.dump(_plain(value), sys.stdout, ensure_ascii=False, indent=2)
    sys.stdout.write("\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write aligned columns; numbers to the right."""
    cells = [[_cell(value) for value in row] for row in rows]
    widths = [
        max(len(line[column]) for line in [list(header), *cells])
        for column in range(len(header))
    ]
    right = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in range(len(header))
    ]
    for line in [list(header), *cells]:
        padded = [
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ]
        print_line("  ".join(padded).rstrip())


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value)


@contextmanager
def progress_bar(*, quiet: bool) -> Iterator["ProgressCallback"]:
    """Draw progress on stderr if it is a terminal; one bar per stage."""
    from tqdm import tqdm

    bar: tqdm[Any] | None = None
    stage = ""

    def show(progress: "Progress") -> None:
        nonlocal bar, stage
        if quiet:
            return
        if progress.total == 0:
            note = f": {progress.note}" if progress.note else " …"
            remark(progress.stage + note)
            return
        if bar is None or stage != progress.stage:
            if bar is not None:
                bar.close()
            stage = progress.stage
            bar = tqdm(
                desc=progress.stage,
                total=progress.total,
                unit="",
                disable=None,
                file=sys.stderr,
                dynamic_ncols=True,
            )
        bar.set_postfix_str(progress.note, refresh=False)
        bar.update(progress.done - bar.n)

    try:
        yield show
    finally:
        if bar is not None:
            bar.close()
