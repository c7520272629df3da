"""What is said of cells that were not understood: how many, which, and where."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..tables.cells import count_values
from ..tables.delimited import TextTable

__all__ = ["TableNotes"]

_SHOWN = 5


@dataclass
class TableNotes:
    """Notes about a table; places are looked up once for all of them.

    Attributes:
        table: The table.
        lines: Notes that name no cell.
    """

    table: TextTable
    lines: list[str] = field(default_factory=list)
    _odd: list[tuple[str, str, list[int], str]] = field(default_factory=list)

    def odd(
        self, column: str, cells: pa.StringArray, mask: npt.NDArray[np.bool_], what: str
    ) -> None:
        """Note the cells of a column that were not understood.

        Args:
            column: Its name.
            cells: N cells.
            mask: Which of them, shape (N,).
            what: What became of them: ``kept as unknown``.
        """
        rows = np.flatnonzero(mask)
        if not rows.size:
            return
        values = cells.filter(pa.array(mask))
        word = "value" if rows.size == 1 else "values"
        text = f"column {column!r}: {rows.size:,} {word} {what}: {count_values(values)}"
        first = [f"{value.as_py()!r}" for value in values[:_SHOWN]]
        self._odd.append((text, column, rows[:_SHOWN].tolist(), "\0".join(first)))

    def told(self) -> tuple[str, ...]:
        """All notes, those about cells with the first five places."""
        wanted = sorted({row for _, _, rows, _ in self._odd for row in rows})
        places = dict(zip(wanted, self.table.places(wanted), strict=True))
        said = []
        for text, _, rows, first in self._odd:
            where = [
                f"{places[row].rpartition(', ')[2]}: {value}"
                for row, value in zip(rows, first.split("\0"), strict=True)
            ]
            said.append(f"{text}; {'; '.join(where)}")
        return (*self.lines, *said)
