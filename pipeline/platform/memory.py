"""A habit of the C runtime that makes arithmetic on a processor slow.

The C library hands large freed blocks back to the operating system at once, and the
next batch gets them back page by page, each page zeroed by the kernel. For a
convolutional network on the processor that costs more than the arithmetic:
EfficientNet-Lite0 on two cores did 29 images/s with glibc's defaults and 98 with blocks
kept (batches of 64). An epoch of adaptors over 60,000 × 128 embeddings in bfloat16
took 0.18 s and 0.11 s.

Threads make it worse. Each new one is given a heap of its own, and such heaps give
memory back whatever the C library was told; only where it was told before the process
had other threads do all of them share the one heap that keeps it. Two lanes of mini
zeroed 1.2 GB of pages for 256 images and did 102 images/s; told in time, 133.
"""

import ctypes
import sys

__all__ = ["keep_freed_memory", "share_one_heap"]

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_BYTES = 1 << 30
_TRIM_BYTES = (1 << 31) - 1


def share_one_heap() -> bool:
    """Ask the C library for one heap for all threads that start from now on.

    To be called before numpy, torch or DuckDB are imported, which start threads: where
    there are several heaps already, further threads take one of those.

    Returns:
        Whether it agreed; False where the C library is not glibc, which is no harm.
    """
    return _ask(_M_ARENA_MAX, 1)


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks; the process stays at its peak size.

    What threads free is kept if they share one heap: see `share_one_heap`, which this
    calls too. So it is best called first of all.

    Returns:
        Whether it agreed; False where the C library is not glibc, which is no harm.
    """
    agreed = [
        share_one_heap(),
        _ask(_M_MMAP_THRESHOLD, _MMAP_BYTES),
        _ask(_M_TRIM_THRESHOLD, _TRIM_BYTES),
    ]
    return all(agreed)


def _ask(option: int, value: int) -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    return bool(mallopt(option, value))
