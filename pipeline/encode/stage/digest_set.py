"""A growing set of content digests that takes 16 bytes for each."""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

__all__ = ["DigestSet"]

_RECENT = 16_384


class DigestSet:
    """Digests of 32 hex digits: a few in a set, the others in sorted arrays.

    Arrays of similar size are merged, so that there are few of them and each digest is
    moved rarely (a log-structured merge). A million strings in a `set` take 150 MB,
    here 16. One thread may add while others ask.

    >>> seen = DigestSet()
    >>> seen.add(["00" * 16])
    >>> "00" * 16 in seen, "01" * 16 in seen
    (True, False)
    """

    def __init__(self) -> None:
        self._recent: set[str] = set()
        self._sorted: tuple[npt.NDArray[np.bytes_], ...] = ()

    def add(self, digests: Iterable[str]) -> None:
        """Take digests, known ones too."""
        self._recent.update(digests)
        if len(self._recent) < _RECENT:
            return
        newest = np.array([bytes.fromhex(one) for one in self._recent], dtype="S16")
        kept = list(self._sorted)
        while kept and len(kept[-1]) <= 2 * len(newest):
            newest = np.concatenate([kept.pop(), newest])
        newest.sort()
        # In this order, so that whoever asks meanwhile finds them in one or the other.
        self._sorted = (*kept, newest)
        self._recent = set()

    def __contains__(self, digest: str) -> bool:
        recent, arrays = self._recent, self._sorted
        if digest in recent:
            return True
        key = bytes.fromhex(digest)
        for array in arrays:
            row = int(np.searchsorted(array, np.bytes_(key)))
            if row < len(array) and array[row] == key.rstrip(b"\0"):
                return True
        return False
