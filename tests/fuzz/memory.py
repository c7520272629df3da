"""The peak of memory of this program, without that of the one that started it."""

import re
from pathlib import Path

__all__ = ["own_peak_bytes"]


def own_peak_bytes() -> int:
    """The most resident memory since this program began, in bytes.

    `ru_maxrss` of `getrusage` starts at what the parent held when it forked: started
    by a large pytest, a small program would seem large.
    """
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    peak_line = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert peak_line, "this system does not tell VmHWM"
    return int(peak_line[1]) * 1024
