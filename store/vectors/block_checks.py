"""Which blocks of which shards this process has compared with their checksums.

A block is checked when it is first read: one flipped bit must not give other numbers.
Checking it again would find nothing that is not in memory already.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

from ..checksums import crc32
from ..errors import StoreCorruptError

__all__ = ["BlockSums", "forget_checked", "unchecked_blocks"]

_Key = tuple[int, int, int, int]
#: File -> a flag per block. It belongs to the process: every query makes new readers.
_checked: dict[_Key, npt.NDArray[np.bool_]] = {}


class BlockSums:
    """The checksums of a shard's blocks of vectors.

    Args:
        path: The shard.
        n_rows: N, its number of vectors.
        block_rows: Rows in a block; the last may be shorter.
        sums: CRC-32 of each block.

    Raises:
        StoreCorruptError: The file is gone.
    """

    def __init__(
        self, path: Path, n_rows: int, block_rows: int, sums: tuple[int, ...]
    ) -> None:
        self.path = path
        self.n_rows = n_rows
        self.block_rows = block_rows
        self._sums = sums
        self._done = unchecked_blocks(path, len(sums))

    def missing(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """Blocks of these rows that nobody has checked yet."""
        if self.is_complete():
            return np.empty(0, dtype=np.int64)
        blocks = np.unique(rows // self.block_rows)
        return blocks[~self._done[blocks]]

    def is_complete(self) -> bool:
        """Whether all blocks were checked before."""
        return bool(self._done.all())

    def is_checked(self, block: int) -> bool:
        """Whether a block was checked before."""
        return bool(self._done[block])

    def rows(self, block: int) -> slice:
        """The rows of a block."""
        first = block * self.block_rows
        return slice(first, min(first + self.block_rows, self.n_rows))

    def check(self, block: int, content: memoryview) -> None:
        """Compare the bytes of a block with its checksum.

        Raises:
            StoreCorruptError: It does not match; the message names its rows.
        """
        if crc32(content) != self._sums[block]:
            rows = self.rows(block)
            raise StoreCorruptError(
                f"shard {self.path}: rows {rows.start} to {rows.stop - 1} do not match "
                "their checksum",
                "Run `retune-cli repair`; the next `embed` encodes its rows again.",
            )
        self._done[block] = True


def forget_checked() -> None:
    """Check every block again when it is read next, as a new process does."""
    _checked.clear()


def unchecked_blocks(path: Path, n_blocks: int) -> npt.NDArray[np.bool_]:
    """A flag per block of a file as it is now, shared by all readers of the process.

    Raises:
        StoreCorruptError: The file is gone.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise StoreCorruptError(
            f"shard {path} is missing",
            "Run `retune-cli repair`; the next `embed` encodes its rows again.",
        ) from error
    key = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    flags = _checked.get(key)
    if flags is None or len(flags) != n_blocks:
        flags = _checked[key] = np.zeros(n_blocks, dtype=np.bool_)
    return flags
