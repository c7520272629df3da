"""Lines that a system writes above a table: its name, a date, who made it."""

from collections.abc import Sequence
from typing import Final

__all__ = ["LOOK_AT", "count_titles"]

#: Rows in which the header is looked for.
LOOK_AT: Final = 21
_WIDE: Final = 4


def count_titles(rows: Sequence[Sequence[str]]) -> int:
    """How many of the first rows stand above the names of the columns.

    A title fills one cell; above a table of four columns or more it may fill two, a
    name and its value. A header fills more.

    Args:
        rows: The first `LOOK_AT` rows that are not blank.

    >>> count_titles([["List of May"], ["path", "age"], ["a.png", "48"]])
    1
    >>> count_titles([["path", "age"], ["a.png", ""]])
    0
    """
    filled = [sum(bool(cell.strip()) for cell in row) for row in rows[:LOOK_AT]]
    width = max(filled, default=0)
    most = 2 if width >= _WIDE else 1
    return next((n for n, count in enumerate(filled) if count > most), 0)
