"""Images of a public dataset that lie in other folders, or in another form.

Mirrors and downloads in parts put the same files wherever they like. Names of public
datasets say which image a file is, so that one listing of the names below the root
finds them: never by less of a path than tells all images of the table apart.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from retune.store.plural import counted

from .tables.listing import current_listing

__all__ = ["find_moved", "moved_note"]

_FORMS: Final = (
    "", ".png", ".jpg", ".jpeg", ".dcm", ".dicom", ".tif", ".tiff", ".bmp",
)  # fmt: skip
#: More folders than this of a path never belong to an image's name.
_MOST_PARTS: Final = 4
#: Files that have an image's name and are not the image.
_OTHERS: Final = re.compile(
    r"mask|segment|heat[ _-]?map|saliency|annot|label|bbox|overlay|thumb|preview",
    re.IGNORECASE,
)
_SHOWN: Final = 3


def find_moved(
    root: Path, paths: Sequence[str], missing: Sequence[int]
) -> dict[int, str]:
    """Rows whose images lie elsewhere below the root, with their paths there.

    Letters' case and the form of the file (PNG, JPEG, DICOM, TIFF, BMP) do not count. A
    file that two rows could mean, or a row that two files could be of, stays missing;
    so does a file in a folder whose name says that it is a mask or the like.

    Args:
        root: The dataset's folder.
        paths: What the table says of N images.
        missing: Rows that are not where they should be.
    """
    n_parts = _parts_that_tell(paths)
    if not missing or n_parts is None:
        return {}
    wanted = {_key(paths[row], n_parts): row for row in missing}
    candidates: dict[int, list[str]] = {}
    for path in _files(root):
        row = wanted.get(_key(path, n_parts))
        is_image = path.isprintable() and not _OTHERS.search(path.rpartition("/")[0])
        if row is not None and is_image:
            candidates.setdefault(row, []).append(path)
    find = current_listing(root).find
    chosen = {row: _same_form(paths[row], there) for row, there in candidates.items()}
    return {row: path for row, path in chosen.items() if path and find(path) == path}


def moved_note(moved: Sequence[str], n_images: int) -> str:
    """That images were found by their names, and where.

    >>> moved_note(["b/c/1.png", "b/c/2.png"], 3)
    '2 of 3 images were found by their names in b/c/'
    """
    folders = sorted({path.rpartition("/")[0] for path in moved})
    shown = ", ".join(f"{folder}/" if folder else "./" for folder in folders[:_SHOWN])
    if len(folders) > _SHOWN:
        shown += f" and {len(folders) - _SHOWN} more folders"
    return (
        f"{len(moved):,} of {counted(n_images, 'image', 'were')} found by their names "
        f"in {shown}"
    )


def _parts_that_tell(paths: Sequence[str]) -> int | None:
    """How many last parts of the paths tell all of them apart; None if too many."""
    for n_parts in range(1, _MOST_PARTS + 1):
        if len({_key(path, n_parts) for path in paths}) == len(paths):
            return n_parts
    return None


def _key(path: str, n_parts: int) -> str:
    """The end of a path without its form.

    >>> _key("a/B/c.PNG", 2), _key("a/view1.frontal", 1)
    ('b/c', 'view1.frontal')
    """
    end = "/".join(path.split("/")[-n_parts:])
    if not end.isascii():
        end = unicodedata.normalize("NFC", end)
    end = end.casefold()
    stem, dot, form = end.rpartition(".")
    return stem if dot and f".{form}" in _FORMS else end


def _files(root: Path) -> Iterator[str]:
    """Files below a folder that may be images, relative to it; links are left out."""
    home = os.fspath(root)
    for folder, folders, names in os.walk(home):
        folders.sort()
        inside = folder[len(home) :].strip("/")
        for name in names:
            form = os.path.splitext(name)[1].lower()  # noqa: PTH122 - of a text
            if form in _FORMS or form.strip(".").isdigit():
                path = f"{inside}/{name}" if inside else name
                if not os.path.islink(os.path.join(folder, name)):  # noqa: PTH114, PTH118
                    yield path


def _same_form(written: str, there: Sequence[str]) -> str | None:
    """The one file, or the one of them in the form that the table says."""
    if len(there) == 1:
        return there[0]
    form = written.rpartition(".")[2].lower()
    alike = [path for path in there if path.rpartition(".")[2].lower() == form]
    return alike[0] if len(alike) == 1 else None
