"""Where datasets lie on the disk, to tell which of them a file belongs to."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from retune.store import FeatureStore

__all__ = ["RunRoots"]


@dataclass(frozen=True)
class RunRoots:
    """Folders of the datasets of a store.

    Attributes:
        own: Roots of the datasets that a run chose its thresholds on.
        others: Roots of all other datasets.
    """

    own: tuple[str, ...] = ()
    others: tuple[str, ...] = ()

    @classmethod
    def of(cls, store: FeatureStore, datasets: Sequence[str] | None) -> Self:
        """The roots in a store's catalog; None for `datasets`: all are the run's."""
        rows = store.rows("SELECT dataset, root FROM datasets")
        own = {name for name, _ in rows} if datasets is None else set(datasets)
        places = [(name in own, os.path.realpath(root)) for name, root in rows]
        return cls(
            tuple(root for ours, root in places if ours),
            tuple(root for ours, root in places if not ours),
        )

    def of_others(self, path: str) -> bool:
        """Whether a file lies in another dataset's folder and in none of the run's.

        >>> roots = RunRoots(("/a/nih",), ("/a/ward", "/a"))
        >>> roots.of_others("/a/ward/1.png"), roots.of_others("/a/nih/1.png")
        (True, False)
        """
        if not self.others:
            return False
        folder = os.path.realpath(path)

        def deepest(roots: tuple[str, ...]) -> int:
            inside = [r for r in roots if folder.startswith(r.rstrip(os.sep) + os.sep)]
            return max(map(len, inside), default=-1)

        return deepest(self.others) > deepest(self.own)
