"""Which image files of a label table are not there; none is opened."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["missing_files", "missing_warning"]

_SHOWN = 10


def missing_files(root: Path, paths: pa.StringArray) -> list[str]:
    """The paths below `root` that are no files, in order.

    A folder with many of the images is listed once; of others each file is asked for.

    Args:
        root: What the paths are relative to.
        paths: N relative paths.
    """
    listed = paths.to_pylist()
    folders = pc.replace_substring_regex(paths, r"/?[^/]*$", "")
    counts = pc.value_counts(folders)
    known: dict[str, set[str] | None] = {}
    for folder, count in zip(
        counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True
    ):
        known[folder] = _names(root / folder) if count > _SHOWN else None
    missing = []
    for path, folder in zip(listed, folders.to_pylist(), strict=True):
        names = known[folder]
        if names is None:
            there = os.path.isfile(f"{root}/{path}")  # noqa: PTH113 - four times as fast
        else:
            there = path.rsplit("/", 1)[-1] in names
        if not there:
            missing.append(path)
    return missing


def missing_warning(missing: list[str], n_images: int) -> str:
    """How many are missing, and the first ten.

    >>> missing_warning(["a.png"], 1_200)
    '1 of 1,200 image files is not there: a.png'
    """
    shown = ", ".join(missing[:_SHOWN]) + ", …" * (len(missing) > _SHOWN)
    are = "is" if len(missing) == 1 else "are"
    return f"{len(missing):,} of {n_images:,} image files {are} not there: {shown}"


def _names(folder: Path) -> set[str]:
    try:
        with os.scandir(folder) as entries:
            return {entry.name for entry in entries if not entry.is_dir()}
    except OSError:  # no such folder, or none that may be read: nothing is there
        return set()
