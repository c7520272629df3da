"""What is prepared of the runs of a store before somebody is erased from it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..runs.reopened import ReopenedRun
from ..runs.selection import Contribution

__all__ = ["Mask", "Prepared"]

#: Which of a run's N images, shape (N,).
Mask = npt.NDArray[np.bool_]


@dataclass
class Prepared:
    """What is known after some of the runs; paths are relative to the store.

    Attributes:
        files: Prepared file -> the file that it replaces.
        removed: Files that go without being replaced.
        rows: Table -> rows of runs that were learned anew.
        replaced: These runs.
        configs: Run -> its record without the erased, where its weights stay.
        outcomes: Run -> what became of it, in words.
        marks: Run -> what could not be undone.
        notes: What people should read.
        renamed: Digest of a contribution -> what is left of it.
        tainted: Contributions that gradients learned from with an erased patient.
        parts: Digest of a contribution -> runs that made it, with what the erased are
            of their sums.
    """

    files: dict[str, str] = field(default_factory=dict)
    removed: list[str] = field(default_factory=list)
    rows: dict[str, list[pa.Table]] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    configs: dict[str, str] = field(default_factory=dict)
    outcomes: dict[str, str] = field(default_factory=dict)
    marks: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    renamed: dict[str, Contribution] = field(default_factory=dict)
    tainted: set[str] = field(default_factory=set)
    parts: dict[str, list[tuple[ReopenedRun, Mask]]] = field(default_factory=dict)
