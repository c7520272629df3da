"""Rows as aligned text or as HTML; no numbers are computed here."""

import html
from collections.abc import Sequence

__all__ = ["cell_text", "escaped", "html_table", "text_table"]


def cell_text(value: object) -> str:
    """A value as a table shows it.

    >>> [cell_text(value) for value in (None, 0.12345, 1234, True, "PA")]
    ['-', '0.123', '1,234', 'True', 'PA']
    """
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return escaped(str(value))


def escaped(text: str) -> str:
    r"""A text in one line, in which a terminal finds no commands.

    >>> escaped("a\x1b[31mb")
    'a\\x1b[31mb'
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode()
        for char in text
    )


def text_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> list[str]:
    r"""Aligned lines, the header first; columns of numbers stand to the right.

    >>> print("\n".join(text_table(("view", "images"), [("PA", 1200), ("AP", 7)])))
    view  images
    PA     1,200
    AP         7
    """
    cells = [list(header), *([cell_text(value) for value in row] for row in rows)]
    places = range(len(header))
    widths = [max(len(line[column]) for line in cells) for column in places]
    right = [
        bool(rows) and all(isinstance(row[column], int | float) for row in rows)
        for column in places
    ]
    return [
        "  ".join(
            text.rjust(width) if to_right else text.ljust(width)
            for text, width, to_right in zip(line, widths, right, strict=True)
        ).rstrip()
        for line in cells
    ]


def html_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A ``<table>`` for a notebook; every text is escaped.

    >>> html_table(["a"], [["<b>"]])
    '<table><tr><th>a</th></tr><tr><td>&lt;b&gt;</td></tr></table>'
    """

    def line(tag: str, texts: Sequence[str]) -> str:
        inner = "".join(f"<{tag}>{html.escape(text)}</{tag}>" for text in texts)
        return f"<tr>{inner}</tr>"

    body = "".join(line("td", [cell_text(value) for value in row]) for row in rows)
    return f"<table>{line('th', header)}{body}</table>"
