"""Small typed tables: a sequence of rows that shows itself as a table."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from ...report.text_table import html_table, text_table

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Listing"]

Row = TypeVar("Row")
#: Rows that a screen shows; the others are counted.
_SHOWN = 30


class Listing(Sequence[Row], Generic[Row]):
    """Rows of one type; the names of the columns lead to the values.

    Args:
        rows: The rows.
        columns: Title -> what a row shows under it.

    >>> rows = Listing([("PA", 3), ("AP", 1)], {"view": lambda row: row[0]})
    >>> rows[0]
    ('PA', 3)
    >>> rows
    view
    PA
    AP
    """

    def __init__(
        self, rows: Sequence[Row], columns: Mapping[str, Callable[[Row], object]]
    ) -> None:
        self._rows = tuple(rows)
        self._columns = dict(columns)

    @classmethod
    def of(cls, rows: Sequence[Row], columns: Sequence[str]) -> "Listing[Row]":
        """Rows whose attributes have the columns' names.

        >>> Listing.of([3 + 4j], ["real", "imag"]).records()
        [{'real': 3.0, 'imag': 4.0}]
        """
        return cls(rows, {name: _attribute(name) for name in columns})

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> "Listing[Row]": ...
    def __getitem__(self, index: int | slice) -> "Row | Listing[Row]":
        if isinstance(index, slice):
            return Listing(self._rows[index], self._columns)
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    @property
    def columns(self) -> tuple[str, ...]:
        """Titles of the columns."""
        return tuple(self._columns)

    def records(self) -> list[dict[str, Any]]:
        """A dictionary per row."""
        return [
            {title: show(row) for title, show in self._columns.items()} for row in self
        ]

    def cells(self) -> list[tuple[object, ...]]:
        """A tuple of values per row."""
        return [tuple(show(row) for show in self._columns.values()) for row in self]

    def frame(self) -> "pd.DataFrame":
        """The rows as a pandas DataFrame."""
        import pandas as pd

        return pd.DataFrame(self.records(), columns=list(self._columns))

    def __repr__(self) -> str:
        if not self:
            return f"no rows ({', '.join(self._columns)})"
        lines = text_table(self.columns, self[:_SHOWN].cells())
        left = len(self) - _SHOWN
        return "\n".join([*lines, *([f"… and {left:,} more"] if left > 0 else [])])

    def _repr_html_(self) -> str:
        left = len(self) - _SHOWN
        more = f"<p>… and {left:,} more</p>" if left > 0 else ""
        return html_table(self.columns, self[:_SHOWN].cells()) + more


def _attribute(name: str) -> Callable[[Any], object]:
    def show(row: Any) -> object:
        value: object = getattr(row, name)
        return ", ".join(map(str, value)) or None if isinstance(value, tuple) else value

    return show
