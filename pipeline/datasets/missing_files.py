"""Which image files of a label table are not there; none is opened."""

from pathlib import Path

import pyarrow as pa

from .tables.listing import current_listing

__all__ = ["found_files", "missing_files", "missing_warning"]

_SHOWN = 10


def found_files(root: Path, paths: pa.StringArray) -> list[str | None]:
    """Each path as the disk spells it, None where there is no regular file.

    Where none is spelled so, a file counts whose path differs in the case of letters
    only, as on Windows, unless it is another row's.

    Args:
        root: What the paths are relative to.
        paths: N relative paths.

    Raises:
        DatasetError: A file lies behind a link that leaves the root.
    """
    listing = current_listing(root)
    wanted = paths.to_pylist()
    spelled = [listing.find(path) for path in wanted]
    if None not in spelled:
        return spelled
    taken = {path for path in spelled if path is not None}
    for row, path in enumerate(spelled):
        other = listing.find_in_any_case(wanted[row]) if path is None else None
        if other is not None and other not in taken:
            spelled[row] = other
            taken.add(other)
    return spelled


def missing_files(root: Path, paths: pa.StringArray) -> list[str]:
    """The paths below `root` that are no files, in order.

    Args:
        root: What the paths are relative to.
        paths: N relative paths.
    """
    spelled = found_files(root, paths)
    pairs = zip(paths.to_pylist(), spelled, strict=True)
    return [path for path, there in pairs if there is None]


def missing_warning(missing: list[str], n_images: int) -> str:
    """How many are missing, and the first ten.

    >>> missing_warning(["a.png"], 1_200)
    '1 of 1,200 image files is not there: a.png'
    """
    shown = ", ".join(missing[:_SHOWN]) + ", …" * (len(missing) > _SHOWN)
    are = "is" if len(missing) == 1 else "are"
    return f"{len(missing):,} of {n_images:,} image files {are} not there: {shown}"
