"""Image paths of a label table: relative, inside the root, each listed once.

A label table comes from elsewhere, and its paths are opened later: one that is absolute
or climbs out of the root would read files that nobody meant to hand over.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.plural import counted

from .delimited import CONTROLS, Places

__all__ = ["check_paths", "row_places", "tidy_paths"]

#: What a path must not be: pattern, reason, hint. The first that matches is reported.
_FAULTS: Final = (
    (r"^\s*$", "is blank", "Every row needs the path of its image."),
    (
        r"\\",
        "contains a backslash",
        "Write paths with forward slashes, relative to the root.",
    ),
    (
        r"^(/|[A-Za-z][A-Za-z0-9+.-]*:/)",
        "is absolute",
        "Write paths relative to the folder that is ingested.",
    ),
    (
        r"(^|/)\.\.(/|$)",
        "leaves the root",
        "Ingest the folder that contains all images, and take '..' out of the paths.",
    ),
    (CONTROLS, "contains a control character", "Repair this row."),
    (r"(/|(^|/)\.)$", "names a folder", "Every row needs the path of one image file."),
)
_ANY_FAULT: Final = "|".join(pattern for pattern, _, _ in _FAULTS)
_UNTIDY: Final = r"(^|/)\./|//"


def row_places(rows: Sequence[int]) -> list[str]:
    """Places for a table without lines: ``row N``, counted from 1.

    >>> row_places([0, 4])
    ['row 1', 'row 5']
    """
    return [f"row {row + 1}" for row in rows]


def tidy_paths(paths: pa.StringArray) -> pa.StringArray:
    """One spelling per file: no ``./``, no doubled slash; ``..`` stays, to be refused.

    >>> tidy_paths(pa.array(["./a//b.png", "a/./b.png", "../c.png"])).to_pylist()
    ['a/b.png', 'a/b.png', '../c.png']
    """
    if not pc.any(pc.match_substring_regex(paths, _UNTIDY)).as_py():
        return paths
    # A leading slash is kept, doubled or not: it must still be seen as absolute.
    paths = pc.replace_substring_regex(paths, r"/(\./|/)+", "/")
    return pc.replace_substring_regex(paths, r"^(\./)+", "")


def check_paths(paths: pa.StringArray, places: Places = row_places) -> None:
    """Check that paths are relative, stay in the root and are all different.

    Args:
        paths: N paths with ``/`` between segments, no nulls.
        places: Says in which file and line a row stands.

    Raises:
        DatasetError: A path is blank, absolute, a folder, leaves the root, or has a
            backslash or a control character (the first such row is named); or paths
            occur twice (the first five are named, each with both its lines).

    >>> check_paths(pa.array(["a/b.png", "a/c.png"]))
    """
    faulty = pc.match_substring_regex(paths, _ANY_FAULT)
    if pc.any(faulty).as_py():
        _refuse(paths, pc.index(faulty, True).as_py(), places)
    if pc.count_distinct(paths).as_py() != len(paths):
        _refuse_duplicates(paths, places)


def _refuse(paths: pa.StringArray, row: int, places: Places) -> None:
    path = paths[row].as_py()
    for pattern, reason, hint in _FAULTS:
        if pc.match_substring_regex(pa.array([path]), pattern)[0].as_py():
            location = places([row])[0]
            raise DatasetError(f"{location}: the image path {path!r} {reason}", hint)


def _refuse_duplicates(paths: pa.StringArray, places: Places) -> None:
    codes = pc.dictionary_encode(paths).indices.to_numpy()
    _, first = np.unique(codes, return_index=True)  # codes count up from 0
    again = np.setdiff1d(np.arange(len(codes)), first)
    shown = again[:5]
    rows = [int(row) for row in shown]
    firsts = [int(first[codes[row]]) for row in shown]
    where = places(rows + firsts)
    pairs = zip(rows, where[len(rows) :], where[: len(rows)], strict=True)
    listed = "; ".join(f"{paths[row].as_py()!r}: {a} and {b}" for row, a, b in pairs)
    more = f"; and {again.size - 5:,} more" if again.size > 5 else ""
    raise DatasetError(
        f"{counted(again.size, 'row', 'list')} an image that was listed before: "
        f"{listed}{more}",
        "Keep one row per image.",
    )
