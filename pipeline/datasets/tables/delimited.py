"""CSV files as text: every cell a string, every complaint with its file and line.

pyarrow parses (223,414 rows of CheXpert in a fraction of a second); Python's own `csv`
module looks for the line to name once something is wrong. Types are never guessed:
guessing would turn the age ``058Y`` of one file and the ``58`` of the next into columns
of different types, and a patient ``00012`` into ``12``.
"""

import codecs
import csv
import io
import re
from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

import pyarrow as pa
import pyarrow.csv as pa_csv

from retune.store.errors import DatasetError

from .packed import read_file

if TYPE_CHECKING:
    from _csv import Reader as _CsvReader

__all__ = [
    "CONTROLS",
    "STEERING",
    "Dialect",
    "Places",
    "TextTable",
    "check_encoding",
    "check_names",
    "join_places",
    "legible",
    "read_csv",
    "read_header",
]

#: Characters that steer a terminal, or the direction of what it shows, for RE2.
CONTROLS: Final = r"[\x00-\x1f\x7f-\x{9f}\x{2028}-\x{202e}\x{2066}-\x{2069}]"

#: The same for Python's `re`.
STEERING: Final = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")

#: Row numbers (0 = first row below the header) -> "FILE, line N" for each of them.
Places = Callable[[Sequence[int]], list[str]]

_UTF8_HINT = "Save the table as UTF-8."
_PIECE_BYTES: Final = 1 << 20
#: Smaller files gain nothing by threads.
_THREADED_BYTES: Final = 1 << 23


@dataclass(frozen=True)
class Dialect:
    """How a file of delimited columns is written.

    Attributes:
        delimiter: Between the cells of a row.
        quote: Around a cell that has a delimiter in it; doubled within such a cell.
        escape: Before a quote that is part of a cell, where it is not doubled.
        encoding: Encoding of the file's bytes, a codec of Python.
        titles: How many lines stand above the names of the columns.
    """

    delimiter: str = ","
    quote: str = '"'
    escape: str | None = None
    encoding: str = "utf-8"
    titles: int = 0

    def decoded(self, content: bytes) -> bytes:
        r"""The bytes as UTF-8, without titles and the line ``sep=;`` of Excel.

        >>> Dialect(encoding="cp1252").decoded(b"\xe4") == "ä".encode()
        True
        """
        if self.encoding != "utf-8":
            content = content.decode(self.encoding).encode()
        line = _SEPARATOR_LINE.match(content)
        return self.without_titles(content if line is None else content[line.end() :])

    def without_titles(self, content: bytes) -> bytes:
        r"""The same lines, those above the names of the columns emptied.

        >>> Dialect(titles=1).without_titles(b"List of May\npath,age\n")
        b'\npath,age\n'
        """
        ends = [*islice(_LINE_END.finditer(content), self.titles)]
        if not ends:
            return content
        return b"".join(end.group() for end in ends) + content[ends[-1].end() :]

    def rows(self, content: bytes, *, strict: bool = True) -> "_CsvReader":
        """A reader of the rows of UTF-8 bytes."""
        return csv.reader(
            _lines(content),
            delimiter=self.delimiter,
            quotechar=self.quote,
            escapechar=self.escape,
            doublequote=self.escape is None,
            strict=strict,
        )


_COMMAS: Final = Dialect()
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
#: Excel's first line; its line end stays, so that lines keep their numbers.
_SEPARATOR_LINE: Final = re.compile(
    rb"\A(?:\xef\xbb\xbf)?sep=.(?=[\r\n])", re.IGNORECASE
)


@dataclass(frozen=True)
class TextTable:
    """A label table whose cells are still the text of the file.

    Attributes:
        file: Where it was read from.
        cells: One string column per named column of the file; no nulls, blank is
            ``""``. Columns without a name (a data frame's index) are left out.
        places: Says where a row stands in the file.
    """

    file: Path
    cells: pa.Table
    places: Places

    def column(self, name: str) -> pa.StringArray:
        """The cells of one column, in one chunk."""
        return self.cells.column(name).combine_chunks()

    def require(self, names: Sequence[str]) -> None:
        """Check that the table has these columns.

        Raises:
            DatasetError: One is missing; the message says what is there instead.
        """
        columns = self.cells.column_names
        missing = [name for name in names if name not in columns]
        if missing:
            raise DatasetError(
                f"{self.file}, line 1: no column {_quoted(missing)};"
                f" the columns are {_quoted(columns)}",
                "Check that this is the file you mean and that its first line names"
                " the columns.",
            )


def read_csv(file: Path, dialect: Dialect = _COMMAS) -> TextTable:
    """Read a comma-separated file: UTF-8 with or without BOM, any line ends, quotes.

    A name that ends in ``.gz`` is unpacked, up to a limit.

    Args:
        file: What to read.
        dialect: How it is written, if otherwise.

    Raises:
        DatasetError: The file cannot be opened, is empty, has no rows, is not UTF-8, or
            a row cannot be read: a field too many or too few, an unclosed quote.
    """
    content = read_file(file)
    if dialect.encoding == "utf-8":
        check_encoding(file, content)
    content = dialect.decoded(content)
    line, header = _header(file, content, dialect)
    quoted = dialect.quote.encode() in content
    if quoted:
        _check_quotes(file, content, dialect)
    # pyarrow needs a name for every column; unnamed ones get a placeholder.
    names = [name or f"\0{i}" for i, name in enumerate(header)]
    try:
        cells = pa_csv.read_csv(
            pa.BufferReader(content),
            read_options=pa_csv.ReadOptions(
                column_names=names,
                skip_rows=line - 1,
                skip_rows_after_names=1,
                # Arrow's threads may abort a program that ends while they start.
                use_threads=len(content) > _THREADED_BYTES,
            ),
            parse_options=pa_csv.ParseOptions(
                delimiter=dialect.delimiter,
                quote_char=dialect.quote,
                double_quote=dialect.escape is None,
                escape_char=dialect.escape or False,
                newlines_in_values=quoted,
            ),
            convert_options=pa_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                include_columns=[name for name in header if name],
                strings_can_be_null=False,
            ),
        )
    except pa.ArrowInvalid as error:
        _explain(file, content, error, dialect)
    if cells.num_rows == 0:
        raise _no_rows(file)
    return TextTable(file, cells, partial(_csv_places, file, dialect))


def read_header(file: Path) -> list[str]:
    """The column names of a CSV file, without reading the rest of it.

    Raises:
        DatasetError: The file cannot be opened, is empty or is not UTF-8.
    """
    start = read_file(file, 1 << 16)
    first_lines = b"".join(start.splitlines(keepends=True)[:-1]) or start
    check_encoding(file, first_lines)
    return _header(file, first_lines, _COMMAS)[1]


def join_places(tables: Sequence[TextTable]) -> Places:
    """The places of rows of several tables that were laid end to end."""

    def places(rows: Sequence[int]) -> list[str]:
        line_of: dict[int, str] = {}
        start = 0
        for table in tables:
            end = start + table.cells.num_rows
            here = [row for row in rows if start <= row < end]
            local = [row - start for row in here]
            line_of.update(zip(here, table.places(local), strict=True))
            start = end
        return [line_of[row] for row in rows]

    return places


def check_names(where: str, names: Sequence[str]) -> None:
    """Refuse column names that would steer a terminal.

    Raises:
        DatasetError: One has a control character; it is shown escaped.
    """
    odd = [name for name in names if STEERING.search(name)]
    if odd:
        raise DatasetError(
            f"{where}: the column name {odd[0][:40]!a} contains a control character",
            "Give the column a plain name.",
        )


def legible(error: Exception) -> str:
    r"""What a library said, with control characters escaped.

    >>> legible(ValueError("no \x1b here"))
    'no \\x1b here'
    """
    said = " ".join(str(error).split())
    return STEERING.sub(lambda match: ascii(match.group())[1:-1], said)


def check_encoding(file: Path, content: bytes) -> None:
    """Check that a file is UTF-8 and not blank, a piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    is_blank = True
    view = memoryview(content)
    for start in range(0, len(content) + 1, _PIECE_BYTES):
        piece = view[start : start + _PIECE_BYTES]
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(piece, final=start + _PIECE_BYTES > len(content))
        except UnicodeDecodeError as error:
            byte_offset = max(start - pending, 0) + error.start
            line = 1 + len(_LINE_END.findall(view[:byte_offset]))
            raise DatasetError(
                f"{file}, line {line}: the byte 0x{content[byte_offset]:02x} is not "
                "UTF-8",
                _UTF8_HINT,
            ) from error
        is_blank = is_blank and not text.strip()
    if is_blank:
        raise DatasetError(f"{file} is empty", "Download or export the table again.")


def _header(file: Path, content: bytes, dialect: Dialect) -> tuple[int, list[str]]:
    """The line on which the header stands, and its names without outer blanks."""
    line, record = next(_records(file, content, dialect))
    names = [name.strip() for name in record]
    if not any(names):
        raise DatasetError(
            f"{file}, line {line}: no column has a name",
            "The first line must name the columns.",
        )
    separator = next((mark for mark in ";\t|" if mark in names[0]), None)
    if len(names) == 1 and separator and dialect == _COMMAS:
        raise DatasetError(
            f"{file}, line {line}: the columns are separated by {separator!r}",
            "Save the table with commas between the columns.",
        )
    check_names(f"{file}, line {line}", names)
    counts = Counter(names)
    twice = sorted(name for name, count in counts.items() if name and count > 1)
    if twice:
        raise DatasetError(
            f"{file}, line {line}: two columns are called {_quoted(twice)}",
            "Give every column its own name.",
        )
    return line, names


def _records(
    file: Path, content: bytes, dialect: Dialect
) -> Iterator[tuple[int, list[str]]]:
    """Every record that is not a blank line, with the line on which it begins."""
    reader = dialect.rows(content)
    while True:
        line = reader.line_num + 1
        try:
            record = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            most = csv.field_size_limit()
            is_long = "field limit" in str(error)
            reason = f"a cell has more than {most:,} characters" if is_long else error
            raise DatasetError(
                f"{file}, line {line}: cannot read this row: {reason}",
                'Close every quote; write a quote inside a quoted field as "".'
                + " If all quotes are closed, shorten the cell." * is_long,
            ) from error
        if record:
            yield line, record


def _lines(content: bytes) -> io.TextIOWrapper:
    """The text of a file, line by line; it is never there as a whole."""
    return io.TextIOWrapper(io.BytesIO(content), encoding="utf-8-sig", newline="")


def _check_quotes(file: Path, content: bytes, dialect: Dialect) -> None:
    """Raise where quotes do not pair up.

    A lenient parser reads an unclosed quote to the end of the file and so loses every
    row below it without a word.
    """
    try:
        deque(dialect.rows(content), maxlen=0)
    except csv.Error:
        # Again, slowly, for the line on which the bad record begins.
        deque(_records(file, content, dialect), maxlen=0)
        raise


def _explain(
    file: Path, content: bytes, error: pa.ArrowInvalid, dialect: Dialect
) -> NoReturn:
    """Turn pyarrow's complaint into one that names the line."""
    records = _records(file, content, dialect)
    width = len(next(records)[1])
    line = 0
    for line, record in records:
        if len(record) != width:
            raise DatasetError(
                f"{file}, line {line}: {len(record)} fields, not {width} as the header",
                "Quote fields that contain commas, and complete cut-off rows."
                if dialect == _COMMAS
                else f"Quote fields that contain {dialect.delimiter!r}, and complete "
                "cut-off rows.",
            ) from error
    if line == 0:
        raise _no_rows(file) from error
    raise DatasetError(
        f"{file} cannot be parsed: {legible(error)}",
        "Export the table again as plain CSV.",
    ) from error


def _csv_places(file: Path, dialect: Dialect, rows: Sequence[int]) -> list[str]:
    """Where rows stand in a CSV file; reads it again, so for messages only."""
    records = _records(file, dialect.decoded(read_file(file)), dialect)
    next(records)  # the header
    wanted, lines = set(rows), {}
    for row, (line, _) in enumerate(records):
        if row in wanted:
            lines[row] = line
    return [f"{file}, line {lines[row]}" for row in rows]


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)


def _no_rows(file: Path) -> DatasetError:
    return DatasetError(
        f"{file} has column names but no rows", "Download or export the table again."
    )
