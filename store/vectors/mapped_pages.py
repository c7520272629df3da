"""Pages of mapped files: what is no longer read need not count as memory."""

import mmap
from contextlib import suppress

import numpy as np
import numpy.typing as npt

__all__ = ["release_pages"]


def release_pages(vectors: npt.NDArray[np.generic] | None) -> None:
    """Let the operating system take back what was read of vectors in a file.

    What a process has touched of a mapped file counts as its memory until it says that
    it is done with it. The pages stay in the system's cache while there is room.

    Args:
        vectors: A `numpy.memmap`; others are left alone.
    """
    mapped = getattr(vectors, "_mmap", None)
    if isinstance(vectors, np.memmap) and isinstance(mapped, mmap.mmap):
        with suppress(OSError, AttributeError):  # not every system can be told
            mapped.madvise(mmap.MADV_DONTNEED)
