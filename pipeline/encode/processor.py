"""Two habits of the C runtime that make forward passes on a processor slow.

**Memory.** The C library hands large freed blocks back to the operating system at once,
and the next batch gets them back page by page, each page zeroed by the kernel. For a
convolutional network on the processor that costs more than the arithmetic:
EfficientNet-Lite0 on two cores did 29 images/s with glibc's defaults and 98 with blocks
kept (batches of 64).

**Waiting.** OpenMP's threads spin while they wait for each other. On a machine that
others use too, a spinning thread keeps its core from the one that it waits for: the
same network did 20 images/s with spinning threads and 43 with sleeping ones while other
processes ran. Decoding and forward pass take turns on the same cores here, too.
"""

import ctypes
import os
import sys
from pathlib import Path

__all__ = [
    "has_bfloat16",
    "keep_freed_memory",
    "let_threads_sleep",
    "usable_cores",
]

# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_MMAP_BYTES = 1 << 30
_TRIM_BYTES = (1 << 31) - 1


def keep_freed_memory() -> bool:
    """Ask the C library to keep freed blocks; the process stays at its peak size.

    Returns:
        Whether it agreed; False where the C library is not glibc, which is no harm.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):
        return False
    agreed = [
        mallopt(_M_MMAP_THRESHOLD, _MMAP_BYTES),
        mallopt(_M_TRIM_THRESHOLD, _TRIM_BYTES),
        # Arenas of further threads give memory back whatever the threshold says.
        mallopt(_M_ARENA_MAX, 1),
    ]
    return all(agreed)


def let_threads_sleep() -> bool:
    """Ask OpenMP's threads to sleep while they wait; a user's own choice stands.

    Returns:
        Whether it can still have an effect: torch, which brings OpenMP, must not have
        been loaded yet.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    return "torch" not in sys.modules


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def has_bfloat16(described: str | None = None) -> bool:
    """Whether the processor multiplies bfloat16 numbers by itself.

    Without such instructions bfloat16 is emulated and slower than float32.

    Args:
        described: Text of ``/proc/cpuinfo``; None reads it.

    >>> has_bfloat16("flags : fpu avx512f avx512_bf16")
    True
    >>> has_bfloat16("flags : fpu avx2")
    False
    """
    if described is None:
        try:
            described = Path("/proc/cpuinfo").read_text(encoding="utf-8")
        except OSError:  # not Linux: the safe answer
            return False
    words = set(described.split())
    # x86 names its two kinds, Arm calls it bf16.
    return bool(words & {"avx512_bf16", "amx_bf16", "bf16"})
