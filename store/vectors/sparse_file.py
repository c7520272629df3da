"""What HDF5 writes of a file whose largest part it need not hold."""

from collections.abc import Iterator

__all__ = ["SparseFile"]


class SparseFile:
    """A file in memory that keeps only what was written to it, for h5py.

    HDF5 lays out a dataset and writes all that describes it; the numbers themselves go
    to the disk from where they are. Places that nobody wrote to are zero.

    >>> file = SparseFile()
    >>> file.write(b"head"), file.seek(10), file.write(b"tail")
    (4, 10, 4)
    >>> [bytes(part) for part in file.around(4, b"-body-")]
    [b'head', b'-body-', b'tail']
    """

    def __init__(self) -> None:
        self._parts: list[tuple[int, bytes]] = []
        self._at = 0
        self._size_bytes = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """Go to a place; `whence` as in `io.IOBase.seek`."""
        self._at = offset + (0, self._at, self._size_bytes)[whence]
        return self._at

    def tell(self) -> int:
        """The place."""
        return self._at

    def write(self, content: bytes) -> int:
        """Keep these bytes; later ones count where two were written to one place."""
        self._parts.append((self._at, bytes(content)))
        self._at += len(content)
        self._size_bytes = max(self._size_bytes, self._at)
        return len(content)

    def read(self, n_bytes: int) -> bytes:
        """What lies from the place on."""
        n_bytes = max(0, min(n_bytes, self._size_bytes - self._at))
        content = self._between(self._at, self._at + n_bytes)
        self._at += n_bytes
        return content

    def readinto(self, buffer: bytearray) -> int:
        """The same, into a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def truncate(self, size_bytes: int | None = None) -> int:
        """Set the size."""
        self._size_bytes = self._at if size_bytes is None else size_bytes
        return self._size_bytes

    def flush(self) -> None:
        """Nothing is held back."""

    def around(
        self, offset: int, body: bytes | memoryview
    ) -> Iterator[bytes | memoryview]:
        """The whole file in parts, with a body that was never written to it.

        Args:
            offset: Where the body lies.
            body: Its bytes.
        """
        yield self._between(0, offset)
        yield body
        yield self._between(offset + len(body), self._size_bytes)

    def _between(self, start: int, end: int) -> bytes:
        content = bytearray(max(0, end - start))
        for offset, part in self._parts:
            first, last = max(offset, start), min(offset + len(part), end)
            if first < last:
                content[first - start : last - start] = part[
                    first - offset : last - offset
                ]
        return bytes(content)
