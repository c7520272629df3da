"""`embed` against the rate that decoding and forward pass allow on shared cores."""

import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from measuring import Row

from retune.pipeline.datasets.demo import write_demo
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.backbones import load_backbone, source_of
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.pipeline.encode.images import decode_image
from retune.pipeline.encode.processor import keep_freed_memory, let_threads_sleep
from retune.store import FeatureStore

_BATCH = 32
_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def encode_rows(root: Path, repeats: int) -> list[Row]:
    """Rates in images/s; the limit is 1 / (1/forward + 1/decode), the cores shared."""
    real = Path(os.environ.get("RETUNE_REAL_DATA", _SHARED)) / "nih-320"
    if real.is_dir():
        folder, name = real, "697 radiographs (nih-320)"
    else:
        folder, name = root / "demo", "600 demo radiographs"
        write_demo(folder, 600)
    keep_freed_memory()
    let_threads_sleep()
    plan = read_dataset(folder)
    files = [Path(plan.root, path) for path in plan.images["path"].to_pylist()]
    source = source_of("mini", precision="float32", output_dtype="float16")
    backbone = load_backbone(source, device="cpu")
    workers = len(os.sched_getaffinity(0))

    def decode(path: Path) -> np.ndarray:
        return backbone.preprocess.to_pixels(decode_image(path.read_bytes()))

    rows = []
    for repeat in range(max(3, repeats // 2)):
        started = time.perf_counter()
        with ThreadPoolExecutor(workers) as pool:
            pixels = np.stack(list(pool.map(decode, files)))
        decode_rate = len(files) / (time.perf_counter() - started)
        started = time.perf_counter()
        for first in range(0, len(files), _BATCH):
            backbone.encode_images(pixels[first : first + _BATCH])
        forward_rate = len(files) / (time.perf_counter() - started)
        store = FeatureStore.create(root / f"encode-{repeat}")
        with store.writer("benchmark") as writer:
            writer.replace_dataset(
                plan.images, plan.findings, plan.states, dataset=plan.dataset,
                layout=plan.layout, root=plan.root, split_seed=0,
            )  # fmt: skip
        summary = embed(store, EmbedOptions(batch_size=_BATCH, device="cpu"))
        rate = summary.images_encoded / summary.image_seconds
        limit = 1 / (1 / decode_rate + 1 / forward_rate)
        rows.append((rate, limit, rate / limit))
    rate, limit, ratio = sorted(rows, key=lambda row: row[2])[len(rows) // 2]
    return [
        Row(f"embed {name} with mini: the limit", rate, limit, "images/s", ratio, 0.9)
    ]
