"""Training beside a process that keeps one core busy, against training alone.

What is compared is the share of the matrix limit that an epoch reaches: the products
alone lose by the busy core, too, and threads that spin while they wait lose more.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from measuring import Row

__all__ = ["busy_rows"]

#: A process of its own, since threads learn how to wait when torch is loaded.
_PROGRAM = """
import json, sys
from retune.pipeline.platform.processor import let_threads_sleep
let_threads_sleep()
import learn_benchmark as learn
learn.N_IMAGES = {n_images}
features, prompts = learn.simulate(512)
epoch = learn._epoch(features, prompts, "bfloat16")
products = learn._products(512, len(epoch.rows), "bfloat16")
learn._products(512, 4 * learn._BATCH, "bfloat16")()
for line in sys.stdin:
    pairs = [
        (learn._seconds(epoch.run), learn._seconds(products)) for _ in range(int(line))
    ]
    print(json.dumps(sorted(peer / ours for ours, peer in pairs)), flush=True)
"""


def busy_rows(repeats: int, n_images: int = 60_000) -> list[Row]:
    """The share of the matrix limit beside one busy core, and alone.

    Args:
        repeats: Pairs of an epoch and its products, for each of the two.
        n_images: In an epoch.
    """
    program = _PROGRAM.format(n_images=n_images)
    with subprocess.Popen(
        [sys.executable, "-c", program], cwd=Path(__file__).parent, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip

        def share() -> float:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(f"{repeats}\n")
            process.stdin.flush()
            shares: list[float] = json.loads(process.stdout.readline())
            return shares[len(shares) // 2]

        quiet = share()
        with _one_busy_core():
            busy = share()
    name = "bfloat16 epoch beside a busy core, share of the matrix limit: alone"
    return [Row(name, busy, quiet, "", busy / quiet, 0.7)]


@contextmanager
def _one_busy_core() -> Iterator[None]:
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as process:
        try:
            yield
        finally:
            process.kill()
