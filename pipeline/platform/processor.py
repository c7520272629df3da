"""What work on a processor needs to know of it, and of its threads.

Threads of OpenMP (torch) and of OpenBLAS (NumPy, SciPy) spin while they wait for each
other. On a machine that others use too, a spinning thread keeps its core from the one
that it waits for: EfficientNet-Lite0 did 20 images/s with spinning threads and 43 with
sleeping ones while other processes ran, and `train` on the demo took 11 s of processor
time with OpenBLAS's spinning threads and 4.5 s with sleeping ones. Decoding and forward
pass take turns on the same cores here, too.
"""

import os
import sys
from pathlib import Path

__all__ = [
    "has_bfloat16",
    "let_threads_sleep",
    "usable_cores",
]


#: Variable of the environment -> value that lets threads sleep. OpenBLAS takes the
#: binary logarithm of the processor cycles that a thread spins; 4 is its least.
_SLEEPING = {"OMP_WAIT_POLICY": "passive", "OPENBLAS_THREAD_TIMEOUT": "4"}


def let_threads_sleep() -> bool:
    """Ask threads to sleep while they wait; a user's own choice stands.

    Returns:
        Whether it can still have its whole effect: NumPy, which brings OpenBLAS, and
        torch, which brings OpenMP, must not have been loaded yet.
    """
    for name, value in _SLEEPING.items():
        os.environ.setdefault(name, value)
    return not {"numpy", "torch"} & set(sys.modules)


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
