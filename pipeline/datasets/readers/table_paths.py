"""Image paths as a hospital's system wrote them, made relative to the dataset's folder.

Backslashes become slashes, and the beginning that `path_prefix` names becomes another.
"""

from collections.abc import Sequence
from os.path import commonprefix
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.plural import counted

from ..tables.delimited import TextTable
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.listing import current_listing
from .table_notes import TableNotes

__all__ = ["relative_paths"]

_ABSOLUTE = r"^(/|[A-Za-z]:)"


def relative_paths(
    root: Path,
    table: TextTable,
    column: str,
    prefixes: Sequence[tuple[str, str]],
    notes: TableNotes,
) -> pa.StringArray:
    """The image paths of a table, relative to `root`, with ``/``.

    Args:
        root: The dataset's folder.
        table: Has the column.
        column: With the paths.
        prefixes: Pairs: how paths begin, and what stands there instead.
        notes: Told what was done.

    Raises:
        DatasetError: A path is blank, leaves the root or is listed twice; one is
            absolute, and no prefix makes it relative.
    """
    written = table.column(column)
    paths = _with_slashes(root, written, notes)
    for old, new in prefixes:
        paths = _replaced(root, paths, old, new, notes)
    paths = _below(paths, f"{root.as_posix().rstrip('/')}/", "")
    _check_relative(root, paths, table)
    paths = tidy_paths(paths)
    check_paths(paths, table.places)
    return paths


def _with_slashes(
    root: Path, written: pa.StringArray, notes: TableNotes
) -> pa.StringArray:
    """Backslashes as slashes, but in names of files that have them on the disk."""
    has_backslash = pc.match_substring(written, "\\")
    if not pc.any(has_backslash).as_py():
        return written
    find = current_listing(root).find
    slashed = pc.replace_substring(written, "\\", "/")
    real = [
        bool(backslash) and find(path) is not None
        for path, backslash in zip(
            written.to_pylist(), has_backslash.to_pylist(), strict=True
        )
    ]
    changed = pc.sum(has_backslash).as_py() - sum(real)
    if changed:
        notes.lines.append(
            f"{counted(changed, 'path')} with backslashes read with slashes"
        )
    return pc.if_else(pa.array(real), written, slashed)


def _replaced(
    root: Path, paths: pa.StringArray, old: str, new: str, notes: TableNotes
) -> pa.StringArray:
    """Paths that begin with `old` begin with `new`; Windows minds no case."""
    is_windows = "\\" in old or old[1:2] == ":" or old.startswith("//")
    old, new = (side.replace("\\", "/").rstrip("/") for side in (old, new))
    if new.startswith("/"):
        home = root.as_posix()
        if new != home and not new.startswith(home.rstrip("/") + "/"):
            raise DatasetError(
                f"`path_prefix`: {new} does not lie in {root}",
                "Say where the images are below the folder that is ingested.",
            )
        new = new[len(home) :].lstrip("/")
    replaced = _below(paths, old + "/", new + "/" if new else "", fold=is_windows)
    if replaced.equals(paths):
        notes.lines.append(f"`path_prefix`: no path begins with {old!r}")
    return replaced


def _below(
    paths: pa.StringArray, old: str, new: str, *, fold: bool = False
) -> pa.StringArray:
    begins = pc.starts_with(paths, old, ignore_case=fold)
    rest = pc.utf8_ltrim(pc.utf8_slice_codeunits(paths, len(old)), "/")
    return pc.if_else(begins, pc.binary_join_element_wise(new, rest, ""), paths)


def _check_relative(root: Path, paths: pa.StringArray, table: TextTable) -> None:
    """Refuse absolute paths with the option that would make them relative."""
    absolute = pc.match_substring_regex(paths, _ABSOLUTE)
    count = pc.sum(absolute).as_py()
    if not count:
        return
    row = pc.index(absolute, True).as_py()
    path = paths[row].as_py()
    location = table.places([row])[0]
    more = f" ({count:,} such paths)" if count > 1 else ""
    raise DatasetError(
        f"{location}: the image path {path!r} is absolute{more}",
        "Write paths relative to the folder that is ingested, or say what their "
        f"beginning stands for: `path_prefix` "
        f"{_suggestion(root, path, paths.filter(absolute))}",
    )


def _suggestion(root: Path, path: str, absolute: pa.StringArray) -> str:
    """``OLD=NEW`` for a path, by the shortest beginning behind which a file is.

    Where no file is found: by the longest folder that all absolute paths begin with.
    """
    find = current_listing(root).find_in_any_case
    parts = path.split("/")
    for n in range(1, len(parts)):
        rest = "/".join(parts[n:])
        if rest and find(rest) is not None:
            return f"'{'/'.join(parts[:n])}='"
    ends = pc.min_max(absolute).as_py()
    shared = commonprefix([ends["min"], ends["max"]])  # noqa: RUF071 - cut at a slash
    common, slash, _ = shared.rpartition("/")
    return f"'{common if slash else '/'.join(parts[:-1])}='"
