"""What must not be found any more, told by digests that only this store can compute.

A needle is an id, a path, a content digest or the bytes of a vector. A receipt holds of
each its length, a digest under the store's key, and 32 bits that depend on the key and
on its first eight bytes: with them a search goes over every position of every file
quickly, and compares the digest where the bits agree.
"""

import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Needle", "Searcher", "make_needles"]

_WINDOW_BYTES = 8
_DIGEST_BYTES = 16
#: A name of digits only stands in other numbers by chance unless it is long.
_LONG_NUMBER = 16
_BLOCK_BYTES = 1 << 24
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Needle:
    """One thing that must not be found.

    Attributes:
        kind: ``patient``, ``image``, ``path``, ``study``, ``digest`` or ``vector``.
        n_bytes: Its length.
        mark: 32 bits of its first eight bytes, under the key.
        digest: Digest of all of it, under the key, in hex.
    """

    kind: str
    n_bytes: int
    mark: int
    digest: str


def make_needles(
    key: bytes, contents: Iterable[tuple[str, bytes]]
) -> tuple[tuple[Needle, ...], dict[str, int]]:
    """Needles of contents, each once.

    Args:
        key: Key of the store.
        contents: Kind and bytes of each.

    Returns:
        The needles, and kind -> how many contents are too short, or are short numbers,
        so that they would be found by chance; these are compared as whole values only.
    """
    by_digest: dict[tuple[str, int], Needle] = {}
    short: dict[str, int] = {}
    for form, content in contents:
        if not _is_telling(form, content):
            short[form] = short.get(form, 0) + 1
            continue
        first = np.frombuffer(content[:_WINDOW_BYTES], dtype="<u8")
        needle = Needle(
            form,
            len(content),
            int(_marks(key, first)[0]),
            _digest(key, content),
        )
        by_digest.setdefault((needle.digest, needle.n_bytes), needle)
    return tuple(by_digest.values()), short


def _is_telling(form: str, content: bytes) -> bool:
    if len(content) < _WINDOW_BYTES:
        return False
    return form == "vector" or len(content) >= _LONG_NUMBER or not content.isdigit()


class Searcher:
    """Looks for needles in bytes.

    Args:
        key: Key of the store.
        needles: What to look for.

    >>> needles, _ = make_needles(b"k" * 32, [("path", b"ward/4711.png")])
    >>> searcher = Searcher(b"k" * 32, needles)
    >>> searcher.search(b"... ward/4711.png ...")
    {'path': 1}
    >>> searcher.search(b"... ward/4712.png ...")
    {}
    """

    def __init__(self, key: bytes, needles: Sequence[Needle]) -> None:
        self._key = key
        self._by_mark: dict[int, list[Needle]] = {}
        for needle in needles:
            self._by_mark.setdefault(needle.mark, []).append(needle)
        self._marks = np.array(sorted(self._by_mark), dtype=np.uint32)
        # Asked first, because most positions have none of the marks.
        self._low = np.zeros(1 << 16, dtype=bool)
        self._low[self._marks & np.uint32(0xFFFF)] = True
        self.longest: int = max((needle.n_bytes for needle in needles), default=0)

    def search(self, content: "bytes | memoryview | Bytes") -> dict[str, int]:
        """Kind -> how many needles were found in the bytes, wherever they begin."""
        buffer = np.frombuffer(content, dtype=np.uint8)
        counts: dict[str, int] = {}
        if not len(self._marks):
            return counts
        for start in range(0, max(0, len(buffer) - _WINDOW_BYTES + 1), _BLOCK_BYTES):
            part = buffer[start : start + _BLOCK_BYTES + _WINDOW_BYTES - 1]
            for position, mark in self._candidates(part):
                for needle in self._by_mark[mark]:
                    if self._is(needle, buffer, start + position):
                        counts[needle.kind] = counts.get(needle.kind, 0) + 1
        return counts

    def _candidates(self, part: Bytes) -> Iterable[tuple[int, int]]:
        """Positions, and marks that are those of needles."""
        for shift in range(_WINDOW_BYTES):
            length = (len(part) - shift) // _WINDOW_BYTES * _WINDOW_BYTES
            if length <= 0:
                continue
            words = np.frombuffer(part[shift : shift + length].tobytes(), dtype="<u8")
            marks = _marks(self._key, words)
            maybe = np.flatnonzero(self._low[marks & np.uint32(0xFFFF)])
            maybe = maybe[np.isin(marks[maybe], self._marks)]
            for window in maybe.tolist():
                yield shift + window * _WINDOW_BYTES, int(marks[window])

    def _is(self, needle: Needle, buffer: Bytes, start: int) -> bool:
        content = buffer[start : start + needle.n_bytes]
        if len(content) < needle.n_bytes:
            return False
        digest = _digest(self._key, content.tobytes())
        if not hmac.compare_digest(digest, needle.digest):
            return False
        return needle.kind == "vector" or not _goes_on(buffer, start, needle.n_bytes)


def _goes_on(buffer: Bytes, start: int, n_bytes: int) -> bool:
    """Whether a name is but a part of a longer number: p-12 in p-123."""
    before = buffer[start - 1 : start].tobytes() if start else b""
    after = buffer[start + n_bytes : start + n_bytes + 1].tobytes()
    first = buffer[start : start + 1].tobytes()
    last = buffer[start + n_bytes - 1 : start + n_bytes].tobytes()
    return (before.isdigit() and first.isdigit()) or (
        after.isdigit() and last.isdigit()
    )


def _marks(key: bytes, words: Words) -> npt.NDArray[np.uint32]:
    """32 bits of each word under a key: three rounds of splitmix64's mixing."""
    secrets = np.frombuffer(
        hmac.digest(key, b"marks", "sha256"), dtype="<u8"
    )  # four words
    mixed = words ^ secrets[0]
    for secret in secrets[1:]:
        mixed = mixed * np.uint64(0xBF58476D1CE4E5B9)
        mixed ^= mixed >> np.uint64(31)
        mixed += secret
    mixed *= np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed >> np.uint64(32)).astype(np.uint32))


def _digest(key: bytes, content: bytes) -> str:
    return hmac.digest(key, b"needle\0" + content, "sha256")[:_DIGEST_BYTES].hex()
