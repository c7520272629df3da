"""Writing without a backbone: a million rows, and stages that overlap."""

import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from measuring import Row
from PIL import Image

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.encode.images.reading import ImageItem, ReadImage, read_image
from retune.pipeline.encode.stage.sink import ShardSink
from retune.pipeline.platform.processor import usable_cores
from retune.store import EncoderSpec, FeatureStore
from retune.store.vectors.shards import to_stored

_N_ROWS, _DIM, _BATCH = 1_000_000, 512, 256
_N_IMAGES, _SIDE, _STUB_BATCH = 3000, 64, 16


def publish_rows(root: Path) -> list[Row]:
    """A million float32 vectors from the encoder's output to committed rows."""
    store, encoder = FeatureStore.create(root / "million"), _Sleeper(0)
    random = np.random.default_rng(0)
    part = random.standard_normal((_BATCH, _DIM), dtype=np.float32)
    early = late = 0.0
    started = time.perf_counter()
    with (
        store.writer("benchmark") as writer,
        ShardSink(writer, encoder.spec, "image", shard_rows=16_384) as sink,
    ):
        for first in range(0, _N_ROWS, _BATCH):
            last = min(first + _BATCH, _N_ROWS)
            keys = [f"{row:032x}" for row in range(first, last)]
            stored, good = to_stored(encoder.narrow(part[: len(keys)]), "float16")
            sink.add(keys, stored[np.flatnonzero(good)])
            sink.note([], [])
            if not early and first >= _N_ROWS // 4:
                early = _resident_mb()
        late = _resident_mb()
    count = store.sql("SELECT count(*) FROM features").fetchall()[0][0]
    rate = count / (time.perf_counter() - started)
    title = f"{count:,} x {_DIM} from the encoder to committed rows"
    plain = _plain_files(root)
    return [
        Row(title, rate, 100_000, "rows/s", rate / 100_000, 1.0),
        Row(
            "... files of the same bytes, nothing else",
            rate,
            plain,
            "rows/s",
            rate / plain,
        ),
        Row("... memory at the end: at a quarter", late, early, "MB", early / late),
    ]


def _plain_files(root: Path) -> float:
    """Rows per second of the disk: the same bytes in as many files, flushed."""
    content = np.random.default_rng(0).bytes(16_384 * (2 * _DIM + 32))
    started = time.perf_counter()
    for block in range(_N_ROWS // 16_384):
        with (root / f"plain-{block}").open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    return _N_ROWS / (time.perf_counter() - started)


def _resident_mb() -> float:
    """Memory of this process that is in use, without what it shares with files."""
    pages = Path("/proc/self/statm").read_text().split()
    return (int(pages[1]) - int(pages[2])) * 4096 / 1e6


def _to_pixels(image: Image.Image) -> np.ndarray:
    return np.array(image.convert("RGB").resize((32, 32)), dtype=np.uint8)


@dataclass(frozen=True)
class _Sleeper:
    """Stands for an accelerator: a forward pass takes time and no core.

    Callers take turns at it, see `ForwardGate`.
    """

    seconds: float
    spec: EncoderSpec = field(
        default_factory=lambda: EncoderSpec(
            "sleeper", "0", {}, {}, {}, "mean", "float32", "float16", _DIM
        )
    )
    device: Any = field(default_factory=lambda: SimpleNamespace(type="cuda"))
    preprocess: Any = field(
        default_factory=lambda: SimpleNamespace(to_pixels=_to_pixels, decode_at_least=0)
    )

    def stage_images(self, pixels: np.ndarray) -> np.ndarray:
        return pixels

    def encode_images(self, pixels: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds * len(pixels))
        means = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
        return np.repeat(means[:, None] + 1, _DIM, axis=1)

    def encode_texts(self, texts: Sequence[str]) -> np.ndarray:
        return np.ones((len(texts), _DIM), dtype=np.float32)

    def narrow(self, vectors: np.ndarray) -> np.ndarray:
        return torch.from_numpy(vectors).to(torch.float16).numpy()

    def use_threads(self, n_threads: int) -> None:
        """It has none."""


def overlap_rows(root: Path, repeats: int) -> list[Row]:
    """Wall time against the longest of the three stages, each measured alone."""
    data = root / "overlap"
    files = _write_images(data)
    plan = read_dataset(data, "table", dataset="d")
    rows = []
    for limit, factor in (("forward", 1.6), ("decode", 0.5)):
        ratios = []
        for repeat in range(repeats):
            decode_seconds = _decode_alone(files)
            forward_seconds = factor * decode_seconds
            store = FeatureStore.create(root / f"{limit}-{repeat}")
            with store.writer("benchmark") as writer:
                writer.replace_dataset(
                    plan.images, plan.findings, plan.states, dataset="d",
                    layout="table", root=plan.root, split_seed=0,
                )  # fmt: skip
            summary = embed_with(
                store,
                _Sleeper(forward_seconds / len(files)),  # type: ignore[arg-type]  # a stand-in
                EmbedOptions(description_sets=(), batch_size=_STUB_BATCH),
            )
            longest = max(decode_seconds, forward_seconds)
            ratios.append((longest / summary.image_seconds, summary, longest))
        ratio, summary, longest = sorted(ratios, key=lambda row: row[0])[repeats // 2]
        title = f"embed beside a sleeping encoder, {limit} limits: longest stage"
        rows.append(
            Row(title, summary.image_seconds, longest, "s", ratio, round(1 / 1.05, 3))
        )
    return rows


def _write_images(folder: Path) -> list[Path]:
    """Smooth grey JPEG files, each different, with a label table."""
    folder.mkdir()
    random = np.random.default_rng(0)
    lines = ["path,patient_id,Edema"]
    for index in range(_N_IMAGES):
        shades = random.integers(0, 256, (12, 12), dtype=np.uint8)
        image = Image.fromarray(shades).resize((_SIDE * 8, _SIDE * 8))
        image.save(folder / f"{index:05d}.jpg")
        lines.append(f"{index:05d}.jpg,{index},{index % 2}")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return sorted(folder.glob("*.jpg"))


def _decode_alone(files: Sequence[Path]) -> float:
    def read(path: Path) -> ReadImage:
        item = ImageItem(path.name, str(path.parent), path.name)
        return read_image(item, _to_pixels, lambda _: False)

    started = time.perf_counter()
    with ThreadPoolExecutor(usable_cores()) as pool:
        for _ in pool.map(read, files):
            pass
    return time.perf_counter() - started
