"""One table, in whatever kind of file it lies: delimited text, Parquet, a workbook."""

from pathlib import Path
from typing import Final

from .columnar import parquet_columns, read_parquet
from .delimited import Dialect, TextTable
from .dialects import read_any_csv, sniffed_header
from .workbooks import WORKBOOK_SUFFIXES, read_workbook, workbook_columns

__all__ = ["TABLE_SUFFIXES", "any_columns", "read_any_table", "tables_in"]

#: Names of tables, by how they end.
TABLE_SUFFIXES: Final = (
    ".csv", ".csv.gz", ".tsv", ".tsv.gz", ".parquet", *WORKBOOK_SUFFIXES,
)  # fmt: skip
_DELIMITERS: Final = {",": "commas", ";": "semicolons", "\t": "tabs", "|": "bars"}
_ENCODINGS: Final = {"cp1252": "Windows-1252", "cp850": "DOS (850)", "mac_roman": "Mac"}


def tables_in(root: Path) -> list[Path]:
    """The tables of a folder, without the locks that Excel leaves (``~$``)."""
    return sorted(
        path
        for path in root.iterdir()
        if path.name.lower().endswith(TABLE_SUFFIXES) and not path.name.startswith("~$")
    )


def any_columns(file: Path, sheet: str | None = None) -> list[str]:
    """The column names of a table, without reading its rows.

    Raises:
        ConfigurationError: It is a workbook, and openpyxl is not installed.
        DatasetError: The file cannot be read.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return parquet_columns(file)
    if suffix in WORKBOOK_SUFFIXES:
        return workbook_columns(file, sheet)
    return sniffed_header(file)


def read_any_table(
    file: Path, *, encoding: str | None = None, sheet: str | None = None
) -> tuple[TextTable, str, list[str]]:
    """Read a table, however it is written.

    Args:
        file: What to read.
        encoding: Encoding of a text file; None: it is found.
        sheet: Sheet of a workbook; None: the first that is filled in.

    Returns:
        Its cells, how it is written, and what should be noted of that.

    Raises:
        ConfigurationError: It is a workbook, and openpyxl is not installed.
        DatasetError: The file cannot be read.
    """
    suffix = file.suffix.lower()
    if suffix == ".parquet":
        return read_parquet(file), "Parquet", []
    if suffix in WORKBOOK_SUFFIXES:
        return read_workbook(file, sheet), "a workbook", []
    table, dialect = read_any_csv(file, encoding)
    notes = []
    if encoding is None and dialect.encoding in _ENCODINGS:
        notes.append(
            f"the table is not UTF-8: it was read as {_ENCODINGS[dialect.encoding]}"
        )
    if dialect.titles:
        notes.append(
            f"lines above the names of the columns: {dialect.titles}, not read"
        )
    return table, _described(dialect), notes


def _described(dialect: Dialect) -> str:
    """In words.

    >>> _described(Dialect(";", encoding="cp1252"))
    'semicolons between columns, cp1252'
    """
    parts = [f"{_DELIMITERS[dialect.delimiter]} between columns", dialect.encoding]
    if dialect.quote != '"':
        parts.append(f"quotes {dialect.quote}")
    if dialect.escape:
        parts.append(f"quotes escaped by {dialect.escape}")
    return ", ".join(parts)
