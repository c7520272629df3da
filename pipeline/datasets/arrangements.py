"""Where the images lie: one release puts the same files into different folders."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa

__all__ = ["choose_arrangement"]

#: So many files are looked for; an arrangement is the same for all files of a release.
_LOOKED_FOR: Final = 20


def choose_arrangement(
    root: Path, arrangements: Sequence[pa.StringArray]
) -> pa.StringArray:
    """The paths that are there, of several ways in which they may be.

    Args:
        root: What the paths are relative to.
        arrangements: At least one; each has N paths. Files are looked for at up to 20
            rows from the first to the last.

    Returns:
        The arrangement with most files; the first if several have as many, or none any.
    """
    n_rows = len(arrangements[0])
    rows = np.unique(np.linspace(0, n_rows - 1, _LOOKED_FOR).astype(int)).tolist()
    found = [
        sum(_is_there(root, paths[row].as_py()) for row in rows)
        for paths in arrangements
    ]
    return arrangements[int(np.argmax(found))]


def _is_there(root: Path, path: str) -> bool:
    try:
        return (root / path).is_file()
    except (OSError, ValueError):  # a name that no file can have is refused later
        return False
