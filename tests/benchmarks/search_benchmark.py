"""`search` in a process of its own: seconds beyond start-up, and memory."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
from measuring import Row
from search_quality import quality_lines

from retune.store import EncoderSpec, FeatureStore, FileState

DIM = 512
SMALL, LARGE = 200_000, 2_000_000
_SHARD_ROWS = 65_536
_SECONDS, _BYTES = {False: 0.3, True: 3.0}, 1e9
_SCRIPT = """
import sys, time
from retune.pipeline.app.searching.search import SearchRequest, search
from retune.store import FeatureStore
store = FeatureStore(sys.argv[1])
store.sql("SELECT 1").fetchall()
started = time.perf_counter()
found = search(store, SearchRequest(sys.argv[2], 10, where=sys.argv[3] or None))
seconds = time.perf_counter() - started
assert len(found) == 10
(peak,) = (line.split()[1] for line in open("/proc/self/status") if "VmHWM" in line)
print(seconds, int(peak) * 1024)
"""


def search_rows(root: Path, repeats: int) -> list[Row]:
    """Exact search of two sizes against its limits; quality on real radiographs."""
    rows: list[Row] = []
    for n_rows in (SMALL, LARGE):
        path = root / f"search-{n_rows}"
        large = n_rows == LARGE
        make_search_store(path, n_rows)
        for name, where in (("", ""), (", 1 % of them", "age = 50")):
            seconds, peak = _measured(path, repeats, where)
            title = f"search {n_rows:,} x {DIM}{name}: limit"
            limit = _SECONDS[large]
            rows.append(Row(title, seconds, limit, "s", limit / seconds, 1.0))
            if large:
                title = f"memory of search {n_rows:,} x {DIM}{name}: limit"
                ratio = _BYTES / peak
                rows.append(Row(title, peak / 1e6, _BYTES / 1e6, "MB", ratio, 1.0))
    for line in quality_lines():
        sys.stdout.write(line + "\n")
    return rows


def make_search_store(path: Path, n_rows: int) -> FeatureStore:
    """Random vectors of images, a hundred ages, five images per patient."""
    store = FeatureStore.create(path)
    spec = EncoderSpec(
        "random", str(n_rows), {}, {}, {}, "mean", "float32", "float16", DIM
    )
    names = pa.array([f"sim/{row:08d}.png" for row in range(n_rows)])
    keys = [f"{row:032x}" for row in range(n_rows)]
    images = pa.table(
        {
            "image_id": names,
            "dataset": pa.array(["sim"] * n_rows),
            "path": pa.array([f"{row:08d}.png" for row in range(n_rows)]),
            "patient_id": pa.array([f"p{row // 5}" for row in range(n_rows)]),
            "study_id": pa.nulls(n_rows, pa.string()),
            "view": pa.array([("PA", "AP")[row % 2] for row in range(n_rows)]),
            "sex": pa.array([("F", "M")[row // 5 % 2] for row in range(n_rows)]),
            "age": pa.array(np.arange(n_rows) % 100, pa.float32()),
            "split": pa.array(["train"] * n_rows),
        }
    )
    random = np.random.default_rng(0)
    some = random.standard_normal((_SHARD_ROWS, DIM), dtype=np.float32)
    states = random.integers(0, 2, (n_rows, 2)).astype(np.int8)
    with store.writer("benchmark") as writer:
        writer.replace_dataset(
            images, ("Edema", "Mass"), states, dataset="sim", layout="table",
            root=path.parent, split_seed=0,
        )  # fmt: skip
        for start in range(0, n_rows, _SHARD_ROWS):
            part = keys[start : start + _SHARD_ROWS]
            # Other vectors in each shard, made faster than drawn.
            rolled = np.roll(some[: len(part)], start // _SHARD_ROWS, axis=1)
            writer.publish(spec, "image", part, rolled)
        ids = names.to_pylist()
        writer.note(
            [FileState(one, key, 1, 1) for one, key in zip(ids, keys, strict=True)], []
        )
    return store


def _measured(path: Path, repeats: int, where: str) -> tuple[float, float]:
    """Median seconds and largest memory of fresh processes."""
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    timings = []
    for _ in range(repeats):
        done = subprocess.run(
            [sys.executable, "-c", _SCRIPT, str(path), "sim/00000007.png", where],
            capture_output=True, text=True, check=True, env=environment,
        )  # fmt: skip
        timings.append(tuple(map(float, done.stdout.split())))
    times = sorted(one for one, _ in timings)
    return times[len(times) // 2], max(peak for _, peak in timings)
