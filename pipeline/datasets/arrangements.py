"""Where the images lie: one release puts the same files into different folders.

A person may hold a part of a dataset in another form, such as 20 PNG files of 15,000
DICOM files. So each image is looked for in each of the ways in which it may lie.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from .tables.listing import current_listing

__all__ = ["choose_arrangement"]


def choose_arrangement(
    root: Path, arrangements: Sequence[pa.StringArray]
) -> pa.StringArray:
    """The paths that are there, of several ways in which each image may lie.

    Args:
        root: What the paths are relative to.
        arrangements: At least one; each has N paths.

    Returns:
        For each image the way in which it is there; where it is in several, the one of
        these in which most images are; where it is in none, the one in which most
        images are of all. The first counts where several have as many.

    Raises:
        DatasetError: An image lies behind a link that leaves the root.
    """
    find = current_listing(root).find
    wanted = [paths.to_pylist() for paths in arrangements]
    spellings: list[list[str | None]] = []
    for paths in wanted:
        spellings.append([find(path) for path in paths])
        if len(spellings) == 1 and None not in spellings[0]:
            return pa.array(spellings[0], pa.string())
    counts = [len(paths) - paths.count(None) for paths in spellings]
    best_first = sorted(range(len(spellings)), key=lambda way: -counts[way])
    chosen = [
        next((spellings[way][row] for way in best_first if spellings[way][row]), path)
        for row, path in enumerate(wanted[best_first[0]])
    ]
    return pa.array(chosen, pa.string())
