"""Excel workbooks as text, by openpyxl (the extra `excel`)."""

import zipfile
from collections.abc import Generator, Iterator, Sequence
from datetime import date, datetime, time
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError

from .delimited import TextTable, check_names, legible
from .listing import check_table_file
from .packed import check_table_size
from .titles import LOOK_AT, count_titles

__all__ = ["WORKBOOK_SUFFIXES", "read_workbook", "workbook_columns"]

WORKBOOK_SUFFIXES: Final = (".xlsx", ".xlsm")
#: Cells that only fill a sheet's corner with formats are not read beyond this.
_MOST_COLUMNS: Final = 4_096


def workbook_columns(file: Path, sheet: str | None = None) -> list[str]:
    """The column names of a workbook's sheet.

    Raises:
        ConfigurationError: openpyxl is not installed.
        DatasetError: The file cannot be read, or has no such sheet.
    """
    rows = _rows(file, sheet)
    names = next(rows, (0, []))[1]
    rows.close()
    return names


def read_workbook(file: Path, sheet: str | None = None) -> TextTable:
    """Read one sheet of a workbook: dates as ISO, true as ``1``, 3.0 as ``3``.

    Args:
        file: An .xlsx or .xlsm file.
        sheet: Its name; None: the first that is filled in.

    Raises:
        ConfigurationError: openpyxl is not installed.
        DatasetError: The file cannot be read, is larger unpacked than a table may be,
            has no such sheet, no rows, or two columns of one name.
    """
    rows = _rows(file, sheet)
    header = next(rows, (0, []))[1]
    if not any(header):
        raise DatasetError(f"{file} is empty", "Export the table again.")
    check_names(str(file), header)
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{file}: two columns are called {', '.join(map(repr, twice))}",
            "Give every column its own name.",
        )
    columns: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    n_bytes = 0
    for line, row in rows:
        cells = [*row[: len(header)], *[""] * (len(header) - len(row))]
        if any(row[len(header) :]):
            raise DatasetError(
                f"{file}, row {line}: a cell beyond the last column that has a name",
                "Name its column in the first row, or remove it.",
            )
        if not any(cells):
            continue
        lines.append(line)
        for column, cell in zip(columns, cells, strict=True):
            column.append(cell)
        n_bytes += sum(map(len, cells)) + 4 * len(cells)
        check_table_size(file, n_bytes, is_packed=True)
    if not lines:
        raise DatasetError(f"{file} has no rows", "Export the table again.")
    named = {
        name: pa.array(cells, pa.string())
        for name, cells in zip(header, columns, strict=True)
        if name
    }
    return TextTable(file, pa.table(named), partial(_places, file, lines))


def _places(file: Path, lines: Sequence[int], rows: Sequence[int]) -> list[str]:
    return [f"{file}, row {lines[row]}" for row in rows]


def _rows(file: Path, sheet: str | None) -> Generator[tuple[int, list[str]]]:
    """The header, then each row, with its number in the sheet."""
    try:
        import openpyxl
    except ImportError as error:
        raise ConfigurationError(
            f"{file.name} is an Excel file, and openpyxl is not installed",
            "pip install 'retune-cli[excel]', or save the table as CSV.",
        ) from error
    check_table_size(file, check_table_file(file), is_packed=False)
    try:
        with zipfile.ZipFile(file) as packed:
            check_table_size(
                file, sum(one.file_size for one in packed.infolist()), is_packed=True
            )
        book = openpyxl.load_workbook(file, read_only=True, data_only=True)
        try:
            yield from _cells(book, file, sheet)
        finally:
            book.close()
    except (ConfigurationError, DatasetError, GeneratorExit):
        raise
    # openpyxl meets a damaged file with errors of almost any kind.
    except Exception as error:
        raise DatasetError(
            f"cannot read {file}: {legible(error)}",
            "Check that it is a complete Excel file, or save the table as CSV.",
        ) from error


def _cells(book: Any, file: Path, sheet: str | None) -> Iterator[tuple[int, list[str]]]:
    if sheet is not None and sheet not in book.sheetnames:
        names = ", ".join(map(repr, book.sheetnames))
        raise DatasetError(
            f"{file} has no sheet {sheet!r}; it has {names}", "Name one of these."
        )
    chosen = [book[sheet]] if sheet is not None else _filled(book.worksheets)
    for page in chosen:
        is_empty = True
        rows = page.iter_rows(values_only=True, max_col=_MOST_COLUMNS)
        first = _header_row(page)
        for line, row in enumerate(rows, start=1):
            cells = [_as_text(cell) for cell in row]
            while cells and not cells[-1]:
                cells.pop()
            if line < first or (is_empty and not any(cells)):
                continue
            yield line, [cell.strip() for cell in cells] if is_empty else cells
            is_empty = False
        if not is_empty:
            return


def _filled(pages: Sequence[Any]) -> Sequence[Any]:
    """The sheets, without cover sheets: those of a single column are no tables.

    If none has two columns, nothing is left out, so that errors say what is there.
    """
    tables = [page for page in pages if _n_columns(page) > 1]
    return tables or pages


def _first_rows(page: Any) -> list[tuple[int, list[str]]]:
    """The first rows that are filled, with their numbers in the sheet."""
    rows = page.iter_rows(values_only=True, max_col=_MOST_COLUMNS)
    texts = (
        (line, [_as_text(cell) for cell in row])
        for line, row in enumerate(rows, start=1)
    )
    return list(islice((one for one in texts if any(one[1])), LOOK_AT))


def _header_row(page: Any) -> int:
    """The row below the titles of a sheet."""
    rows = _first_rows(page)
    n_titles = count_titles([cells for _, cells in rows])
    return rows[n_titles][0] if n_titles else 1


def _n_columns(page: Any) -> int:
    """How many cells the header of a sheet fills."""
    rows = [cells for _, cells in _first_rows(page)]
    header = rows[count_titles(rows)] if rows else []
    return sum(bool(cell) for cell in header)


def _as_text(cell: object) -> str:
    """A cell as a CSV would hold it.

    >>> _as_text(3.0), _as_text(True), _as_text(datetime(2026, 1, 31))
    ('3', '1', '2026-01-31')
    """
    if cell is None:
        return ""
    if isinstance(cell, bool):
        return str(int(cell))
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return str(int(cell))
    if isinstance(cell, datetime):
        is_day = cell.time() == time()
        return cell.date().isoformat() if is_day else cell.isoformat(sep=" ")
    if isinstance(cell, date | time):
        return cell.isoformat()
    return str(cell)
