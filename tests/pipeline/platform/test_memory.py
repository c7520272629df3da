"""Memory that threads free is there for the next batch."""

import json
import platform
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="other C libraries have no such options"
)

# Two threads fill and free blocks as large as the layers of a network. A library that
# started threads before, as numpy's BLAS does, is what makes the order of calls matter.
_SCRIPT = """
import json, resource, sys
import retune.pipeline.platform.memory as memory
early = sys.argv[1] == "early"
agreed = memory.keep_freed_memory() if early else None
import threading
import numpy as np
def work(times):
    for _ in range(times):
        blocks = [np.empty(size << 17) for size in (40, 3, 20)]
        for block in blocks:
            block.fill(1)
def both(times):
    threads = [threading.Thread(target=work, args=(times,)) for _ in range(2)]
    for one in threads: one.start()
    for one in threads: one.join()
both(1)
if not early:
    agreed = memory.keep_freed_memory()
both(3)  # the heap grows to what both need at once
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
both(10)
faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(json.dumps({"agreed": agreed, "faults": faults}))
"""
_PAGES_OF_A_ROUND = (63 << 20) // 4096


def _faults(when: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, when],
        env={"NUMPY_MADVISE_HUGEPAGE": "0", "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    faults: dict[str, float] = json.loads(done.stdout)
    return faults


def test_blocks_of_threads_are_kept_if_asked_for_in_time() -> None:
    outcome = _faults("early")
    assert outcome["agreed"]
    # Twenty rounds that zeroed every page would be twenty times as many.
    assert outcome["faults"] < 2 * _PAGES_OF_A_ROUND


def test_it_may_be_called_at_any_time() -> None:
    assert _faults("late")["agreed"]


_CLI_SCRIPT = """
import sys
import retune.pipeline.platform.memory as memory
loaded = []
memory.keep_freed_memory = lambda: loaded.append(
    [name for name in ("numpy", "torch", "duckdb", "pyarrow") if name in sys.modules]
)
sys.argv = ["retune-cli", "embed", "--store", "nowhere", "--backbone", "mini"]
from retune.cli.main import main
try:
    main()
except SystemExit:
    pass
print(loaded[0])
"""


def test_embed_asks_before_anything_starts_threads() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _CLI_SCRIPT], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
