"""How time and memory grow with the number of images.

Each action runs in a process of its own, on a store of a quarter of the images and on
one of all. Time per image should not grow, and memory per image has a limit. Time is
that of the processor, with all threads: neighbours on the machine made a run of 5 s
wait for 30 s, and another one not at all.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from measuring import Row
from scale_store import make_scale_store

__all__ = ["scale_rows"]

#: Of the store with ten million images, which is tried where there is room for it.
_ROOM_BYTES = 12 * 10**9
_MANY = 10_000_000
#: What `status`, the search for leaks and planning may take.
_LIMIT_BYTES = 150
_SMALL_SHARE = 4

_PROGRAM = """
import json, sys, time
{imports}
from retune.store import FeatureStore
store = FeatureStore({store!r})
store.sql("SELECT 1").fetchall()
fingerprint = store.sql("SELECT fingerprint FROM encoders").fetchall()[0][0]
def memory(name):
    with open("/proc/self/status") as lines:
        return next(int(l.split()[1]) for l in lines if l.startswith(name)) * 1024
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, started = memory("VmRSS"), time.process_time()
{action}
print(json.dumps([time.process_time() - started, memory("VmHWM") - before]))
"""
_EMBED = """from retune.pipeline.encode.embed import EmbedOptions, read_known_keys
from retune.pipeline.encode.plan import plan_work
from retune.store.queries.work import read_image_work
import numpy as np"""
_TRAIN = """from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.learn.runs.selection import Selection"""
_ANALYTIC = """train(store, TrainRequest("joint", method="analytic", bounds=False,
    selection=Selection(description_set="templates"), stream={stream}))"""
#: Name -> what is imported before, what is done, and whether it has a limit of memory.
_ACTIONS = {
    "open": ("", 'FeatureStore(store.path).sql("SELECT 1").fetchall()', False),
    "status": (
        "from retune.pipeline.app.queries.status import store_status",
        "store_status(store)",
        True,
    ),
    "leakage": (
        "from retune.pipeline.datasets.leakage import find_leaks",
        "find_leaks(store)",
        True,
    ),
    "SQL, one patient with vectors": (
        "",
        "store.sql(\"SELECT * FROM image_features WHERE patient_id = "
        "'patient00000017'\").fetchall()",
        False,
    ),
    "planning, all is encoded": (
        _EMBED,
        'plan_work(read_image_work(store, read_known_keys(store, fingerprint, "image"),'
        " None), retry_failed=False)",
        True,
    ),
    "planning, nothing is encoded": (
        _EMBED,
        'plan_work(read_image_work(store, np.empty(0, "S32"), None), '
        "retry_failed=False)",
        True,
    ),
    "commit of 100 vectors": (
        "from scale_store import add_vectors",
        "add_vectors(store, 100)",
        False,
    ),
    "analytic": (_TRAIN, _ANALYTIC.format(stream=False), False),
    "analytic, --stream": (_TRAIN, _ANALYTIC.format(stream=True), False),
}  # fmt: skip


def scale_rows(root: Path, n_images: int, dim: int = 512) -> list[Row]:
    """Growth of time from a quarter of the images to all, and memory per image.

    Args:
        root: For the stores, which are removed.
        n_images: In the larger store. Ten million are tried as well where 12 GB of
            disk are free and `RETUNE_BENCH_MANY` is set: it takes an hour.
        dim: D.
    """
    sizes = [n_images]
    if "RETUNE_BENCH_MANY" in os.environ and shutil.disk_usage(root).free > _ROOM_BYTES:
        sizes.append(_MANY)
    small = _measured(root, n_images // _SMALL_SHARE, dim)
    return [row for size in sizes for row in _rows(root, size, dim, small, n_images)]


def _rows(
    root: Path,
    n_images: int,
    dim: int,
    small: dict[str, tuple[float, float]],
    n_first: int,
) -> list[Row]:
    growth = n_images * _SMALL_SHARE / n_first
    rows = []
    for name, (seconds, n_bytes) in _measured(root, n_images, dim).items():
        less, fewer_bytes = small[name]
        title = f"{n_images:,} x {dim}: {name}"
        ratio = less * growth / seconds
        rows.append(Row(f"{title}, linear", seconds, less * growth, "CPU s", ratio))
        more = (n_bytes - fewer_bytes) / (n_images * (1 - 1 / growth))
        if _ACTIONS[name][2]:
            per_image = max(1.0, n_bytes / n_images)
            rows.append(
                Row(
                    f"{title}, limit of memory", per_image, _LIMIT_BYTES, "B/image",
                    _LIMIT_BYTES / per_image, 1.0,
                )
            )  # fmt: skip
        else:
            vectors = 2.0 * dim
            rows.append(
                Row(
                    f"{title}, memory that grows: a vector", max(1.0, more), vectors,
                    "B/image", vectors / max(1.0, more),
                )
            )  # fmt: skip
    return rows


def _measured(root: Path, n_images: int, dim: int) -> dict[str, tuple[float, float]]:
    """Processor seconds and bytes of each action, on a store that is made for it."""
    folder = root / f"scale-{n_images}"
    folder.mkdir()
    try:
        store = make_scale_store(folder, n_images, dim)
        return {name: _run(store.path, name) for name in _ACTIONS}
    finally:
        shutil.rmtree(folder)


def _run(store: Path, name: str) -> tuple[float, float]:
    imports, action, _ = _ACTIONS[name]
    program = _PROGRAM.format(imports=imports, store=str(store), action=action)
    here = str(Path(__file__).parent)
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True,
        env={**os.environ, "PYTHONPATH": here},
    )  # fmt: skip
    seconds, n_bytes = json.loads(done.stdout.splitlines()[-1])
    return seconds, n_bytes
