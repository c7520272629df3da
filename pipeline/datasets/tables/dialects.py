"""How a file of delimited columns is written, found out from the file itself.

A guess is made from the beginning and compared with the whole file: `read_any_csv`
takes the first dialect by which every row has as many cells as the header.
"""

import csv
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from retune.store.errors import DatasetError

from .delimited import Dialect, TextTable, check_encoding, read_csv
from .packed import read_file
from .titles import LOOK_AT, count_titles

__all__ = ["find_dialect", "find_encoding", "read_any_csv", "sniffed_header"]

_DELIMITERS: Final = ",;\t|"
_SAMPLE_BYTES: Final = 1 << 18
_SAMPLE_ROWS: Final = 400
_MARKS: Final = (
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
#: What systems in Western Europe wrote before UTF-8, the likeliest first.
_OLD_ENCODINGS: Final = ("cp1252", "cp850", "mac_roman")
_LETTERS: Final = frozenset("äöüßÄÖÜéèêëàâçîïôùûœÉÈÀÇñáíóúÑÁÍÓÚìòãõÃÕ¿¡°åæøÅÆØ")


def find_encoding(content: bytes) -> str:
    """The encoding of a whole file.

    UTF-8 if the file is; else UTF-16 or UTF-32 by their marks or their zeros; else that
    of the old Western encodings by which its bytes spell the most letters.

    >>> find_encoding("Gerät".encode()), find_encoding("Gerät".encode("cp1252"))
    ('utf-8', 'cp1252')
    """
    for mark, name in _MARKS:
        if content.startswith(mark):
            return name
    if content.isascii() and b"\0" not in content[:4096]:
        return "utf-8"
    try:
        check_encoding(Path(), content)
    except DatasetError:
        return _without_mark(content)
    return _without_mark(content) if b"\0" in content[:4096] else "utf-8"


def _without_mark(content: bytes) -> str:
    """UTF-16 by its zeros, or an old encoding; ``utf-8`` where nothing fits."""
    head = content[:4096]
    odd, even = head[1::2].count(0), head[::2].count(0)
    if head and max(odd, even) > len(head) // 8:
        return "utf-16-le" if odd > even else "utf-16-be"
    bytes_seen = np.frombuffer(content, dtype=np.uint8)
    counts = np.bincount(bytes_seen, minlength=256)
    scores = {name: _letters(counts, name) for name in _OLD_ENCODINGS}
    fitting = {name: score for name, score in scores.items() if score is not None}
    return max(fitting, key=lambda name: fitting[name]) if fitting else "utf-8"


def _letters(counts: npt.NDArray[np.int64], encoding: str) -> int | None:
    """Letters among the bytes above 127, less other signs; None if one has none."""
    score = 0
    for byte in range(128, 256):
        if counts[byte]:
            try:
                sign = bytes([byte]).decode(encoding)
            except UnicodeDecodeError:
                return None
            score += int(counts[byte]) * (1 if sign in _LETTERS else -1)
    return score


def find_dialect(content: bytes, encoding: str) -> list[Dialect]:
    r"""Dialects that the beginning of a file allows, the likeliest first.

    Args:
        content: The file, or its beginning.
        encoding: Encoding of its bytes.

    Raises:
        UnicodeError: They are not of this encoding.

    >>> find_dialect(b"a;b\n1,5;2\n", "utf-8")[0].delimiter
    ';'
    """
    sample = _sample(content, encoding)
    ranked = sorted(
        (
            (_score(dialect, sample), -index, dialect)
            for index, dialect in enumerate(_candidates(sample, encoding))
        ),
        key=lambda one: one[:2],
        reverse=True,
    )
    return [dialect for score, _, dialect in ranked if score[0]]


def _sample(content: bytes, encoding: str) -> bytes:
    """Whole lines of the beginning, as UTF-8."""
    head = content[:_SAMPLE_BYTES]
    is_cut = len(head) == _SAMPLE_BYTES
    text = head.decode(encoding, "ignore" if is_cut else "strict")
    if is_cut:
        lines = text.splitlines(keepends=True)
        text = "".join(lines[:-1]) or text
    return Dialect().decoded(text.encode())


def _candidates(sample: bytes, encoding: str) -> Iterator[Dialect]:
    single = re.search(rb"(?:^|[\n,;\t|])'", sample) is not None
    for delimiter in _DELIMITERS:
        plain = Dialect(delimiter, encoding=encoding)
        dialects = [plain]
        if b'\\"' in sample:
            dialects.append(replace(plain, escape="\\"))
        if single:
            dialects.append(replace(plain, quote="'"))
        for dialect in dialects:
            yield replace(dialect, titles=_title_lines(dialect, sample))


def _title_lines(dialect: Dialect, sample: bytes) -> int:
    """How many lines of a file are above its header, if this is its dialect."""
    reader = dialect.rows(sample, strict=False)
    rows: list[list[str]] = []
    ends: list[int] = []
    with suppress(csv.Error):  # found again, and told, when the file is read
        for row in reader:
            if row:
                rows.append(row)
                ends.append(reader.line_num)
            if len(rows) == LOOK_AT:
                break
    n_titles = count_titles(rows)
    return ends[n_titles - 1] if n_titles else 0


def _score(dialect: Dialect, sample: bytes) -> tuple[bool, int, int]:
    """Whether it may be; then columns, less those whose names hold a delimiter."""
    reader = dialect.rows(dialect.without_titles(sample))
    widths: list[int] = []
    header: list[str] = []
    n_quotes = 0
    try:
        for row in reader:
            if not row:
                continue
            header = header or row
            widths.append(len(row))
            n_quotes += sum(cell[:1] in ("'", '"') for cell in row if cell)
            if len(widths) > _SAMPLE_ROWS:
                break
    except csv.Error:
        # A quote that the sample cuts off looks like one that is never closed.
        if len(widths) < _SAMPLE_ROWS // 2:
            return False, 0, 0
    others = set(_DELIMITERS) - {dialect.delimiter}
    mixed = sum(bool(others & set(name)) for name in header)
    is_even = len(set(widths)) == 1 and len(header) > 1
    return is_even, len(header) - 2 * mixed, -n_quotes


def read_any_csv(file: Path, encoding: str | None = None) -> tuple[TextTable, Dialect]:
    """Read a file of delimited columns, however it is written.

    Args:
        file: What to read.
        encoding: Encoding of its bytes; None: it is found out.

    Returns:
        The table, and how the file was written.

    Raises:
        DatasetError: No dialect fits the whole file; the complaint is the likeliest's.
    """
    content = read_file(file)
    chosen_encoding = encoding or find_encoding(content)
    if chosen_encoding == "utf-8":
        check_encoding(file, content)
    try:
        dialects = find_dialect(content, chosen_encoding) or [
            Dialect(encoding=chosen_encoding)
        ]
    except (UnicodeError, LookupError) as error:
        raise DatasetError(
            f"{file} is not written in {chosen_encoding}: {error}",
            "Save the table as UTF-8.",
        ) from error
    del content
    refused: DatasetError | None = None
    for dialect in dialects:
        try:
            return read_csv(file, dialect), dialect
        except UnicodeError as error:
            raise DatasetError(
                f"{file} is not written in {chosen_encoding}: {error}",
                "Save the table as UTF-8.",
            ) from error
        except DatasetError as error:
            refused = refused or error
    assert refused is not None
    raise refused


def sniffed_header(file: Path) -> list[str]:
    """The column names of a file of delimited columns, without its rows.

    Raises:
        DatasetError: The file cannot be opened or is empty.
    """
    start = read_file(file, _SAMPLE_BYTES)
    whole = start if len(start) < _SAMPLE_BYTES else start[: start.rfind(b"\n")]
    encoding = find_encoding(whole or start)
    if encoding == "utf-8":
        check_encoding(file, whole or start)
    try:
        sample = _sample(start, encoding)
        dialects = find_dialect(sample, "utf-8")
        dialect = dialects[0] if dialects else Dialect()
        row = next(
            (row for row in dialect.rows(dialect.without_titles(sample)) if row), []
        )
    except (UnicodeError, csv.Error):
        return []
    return [name.strip() for name in row]
