"""`import-vectors` of a large file against copying that file."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
from measuring import Row

from retune.pipeline.app.encoders.import_request import ImportRequest
from retune.pipeline.app.encoders.vector_import import import_vectors
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.progress import Progress
from retune.store import FeatureStore

#: As many as MIMIC, CheXpert and PadChest have together, with MedSigLIP's vectors.
N_ROWS, DIM = 1_000_000, 1152
_PART = 8192


def exchange_rows(root: Path) -> list[Row]:
    """Rates in MB/s of the source file, and memory at a quarter and at the end."""
    source = root / "vectors.npy"
    _write_source(source)
    ids = root / "ids.txt"
    ids.write_text("".join(f"{row:07d}.png\n" for row in range(N_ROWS)))
    store = _store(root)
    resident: list[float] = []

    def watch(progress: Progress) -> None:
        if progress.stage == "vectors":
            resident.append(_resident_mb())

    first_copy = _copy_seconds(source, root / "copy.npy")
    _forget_cached(source)
    started = time.perf_counter()
    # A named source: else the file is also digested, which a copy does not do.
    request = ImportRequest(
        (source, ids), "medsiglip-448", join="path", source="benchmark@1"
    )
    done = import_vectors(store, request, watch)
    seconds = time.perf_counter() - started
    assert done.imported == N_ROWS
    copying = (first_copy + _copy_seconds(source, root / "copy.npy")) / 2
    megabytes = source.stat().st_size / 1e6
    quarter, end = resident[len(resident) // 4], resident[-1]
    name = f"import-vectors {N_ROWS:,} x {DIM} float32"
    return [
        Row(
            f"{name}: copying the file", megabytes / seconds, megabytes / copying,
            "MB/s", copying / seconds, 0.5,
        ),
        Row(
            "... memory at the end: at a quarter", end, quarter, "MB", quarter / end,
            0.8,
        ),
    ]  # fmt: skip


def _write_source(path: Path) -> None:
    part = np.random.default_rng(0).standard_normal((_PART, DIM), dtype=np.float32)
    matrix = np.lib.format.open_memmap(path, "w+", np.float32, (N_ROWS, DIM))
    for start in range(0, N_ROWS, _PART):
        matrix[start : start + _PART] = part[: N_ROWS - start]
    matrix.flush()


def _store(root: Path) -> FeatureStore:
    folder = root / "table"
    folder.mkdir()
    with (folder / "labels.csv").open("w", encoding="utf-8") as file:
        file.write("path,patient_id,Edema\n")
        file.writelines(f"{row:07d}.png,{row // 3},1\n" for row in range(N_ROWS))
    plan = read_dataset(folder, "table", dataset="large")
    store = FeatureStore.create(root / "imported")
    with store.writer("benchmark") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="large",
            layout=plan.layout, root=plan.root, split_seed=0,
        )  # fmt: skip
    return store


def _copy_seconds(source: Path, target: Path) -> float:
    """From disk to disk: until the copy is there, as shards are."""
    target.unlink(missing_ok=True)
    _forget_cached(source)
    started = time.perf_counter()
    shutil.copyfile(source, target)
    with target.open("rb+") as file:
        os.fsync(file.fileno())
    return time.perf_counter() - started


def _forget_cached(path: Path) -> None:
    """Take a file out of memory, so that import and copy find it alike."""
    with path.open("rb+") as file:
        os.fsync(file.fileno())
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
