"""Writing to the terminal: results to stdout, everything else to stderr."""

import csv
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from datetime import date, time
from typing import TYPE_CHECKING, Any

from retune.store.plural import counted

from .log import log_line
from .wording import in_options

if TYPE_CHECKING:
    from retune.pipeline.progress import Progress, ProgressCallback

__all__ = [
    "contamination_line",
    "print_csv",
    "print_json",
    "print_line",
    "print_table",
    "progress_bar",
    "remark",
    "visible",
]


def visible(text: str) -> str:
    r"""A text in which a terminal finds no commands; line breaks stay.

    >>> visible("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    from retune.pipeline.report.text_table import escaped

    return "\n".join(escaped(line) for line in text.split("\n"))


def print_line(text: str = "") -> None:
    """Write a line of the result."""
    log_line("info", text)
    sys.stdout.write(visible(text) + "\n")


def remark(text: str, *, quiet: bool = False) -> None:
    """Write a line that is not part of the result."""
    log_line("info", in_options(text))
    if not quiet:
        sys.stderr.write(visible(in_options(text)) + "\n")


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
    '3 images of patients that the backbone was trained on, left out'
    """
    who = f"{counted(n_images, 'image')} of patients that the backbone was trained on"
    if allowed:
        return f"{who}, included: the figures are too good (--allow-contaminated)"
    return f"{who}, left out"


def print_json(value: Any) -> None:
    """Write a value as JSON; dates and the like as text."""
    text = json.dumps(_plain(value), ensure_ascii=False, indent=2)
    if not text.replace("\n", "").isprintable():
        text = "".join(
            char if char.isprintable() or char == "\n" else json.dumps(char)[1:-1]
            for char in text
        )
    sys.stdout.write(text + "\n")


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Write aligned columns; numbers to the right."""
    from retune.pipeline.report.text_table import text_table

    for line in text_table(header, rows):
        print_line(line)


def print_csv(header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write a table as CSV: nothing for NULL, JSON for lists, dates as ISO 8601."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(header)
    for row in rows:
        writer.writerow([_csv_cell(value) for value in row])


def _csv_cell(value: object) -> object:
    if isinstance(value, list | tuple | dict):
        return json.dumps(_plain(value), ensure_ascii=False)
    if isinstance(value, date | time):
        return value.isoformat()
    return value


def progress_bar(*, quiet: bool) -> "AbstractContextManager[ProgressCallback]":
    """Draw progress on stderr if it is a terminal; one bar per stage."""
    return _logged_bar(quiet=quiet)


@contextmanager
def _logged_bar(*, quiet: bool) -> "Iterator[ProgressCallback]":
    """A bar on the terminal, and its notes, but no progress, in the log."""
    from retune.pipeline.app.progress_bar import terminal_bar

    with terminal_bar(quiet=quiet) as show:

        def tell(progress: "Progress") -> None:
            if progress.total == 0 and progress.note:
                log_line("note", f"{progress.stage}: {progress.note}")
            show(progress)

        yield tell
