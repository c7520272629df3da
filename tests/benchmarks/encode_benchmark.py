"""`embed` against the rate that decoding and forward pass allow on shared cores."""

import copy
import os
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import torch
from measuring import Row, in_turns

from retune.pipeline.datasets.ingest import IngestPlan, read_dataset
from retune.pipeline.demo import write_demo
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.precision import choose_precision, with_precision
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.encode.images.decode import decode_image
from retune.pipeline.encode.images.fast.kernels import load_kernels
from retune.pipeline.encode.images.preprocess import Preprocess
from retune.pipeline.platform.memory import keep_freed_memory
from retune.pipeline.platform.processor import let_threads_sleep
from retune.store import FeatureStore

_BATCH = 32
#: Files made of each radiograph of 1024 pixels, for mini and for the larger model.
_TIMES, _TIMES_VIT = 20, 4
_SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


def encode_rows(root: Path, repeats: int) -> list[Row]:
    """Rates in images/s; the limit is 1 / (1/forward + 1/decode), the cores shared."""
    let_threads_sleep()
    load_kernels()  # `embed` loads them when it has read a few images
    exact = _mini()
    usual = choose_precision(exact)
    small, large = _plan(root, "nih-320"), repeated(root, "nih-1024", _TIMES)
    pixels = _pixels(usual, _files(small)[:64])
    # Before the C library is told to keep memory, which makes both formats faster.
    rows = _formats(exact, usual, pixels[:_BATCH], repeats, "library defaults", 1.6)
    keep_freed_memory()
    rows += _formats(exact, usual, pixels[:_BATCH], repeats, "memory kept", None)
    rows += _precisions(exact, pixels)
    plain_rate = rows[0].ours
    rows += _against_limits(root, usual, small, "mini", repeats, 1.2, plain_rate)
    rows += _against_limits(root, usual, large, "mini", repeats, 1.0)
    vit = choose_precision(_vit(exact))
    few = repeated(root, "nih-1024", _TIMES_VIT)
    rows += _against_limits(root, vit, few, "ViT-B/16", min(repeats, 3), 1.0)
    return rows


def _mini() -> Backbone:
    source = source_of("mini", precision="float32", output_dtype="float16")
    return load_backbone(source, precision="float32", device="cpu")


def mini_preprocess() -> Preprocess:
    """Resizing, cropping and normalising of mini."""
    return _mini().preprocess


def _vit(like: Backbone) -> Backbone:
    """A ViT-B/16 with random weights; only its arithmetic matters here."""
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16").eval().requires_grad_(False)
    spec = replace(like.spec, backbone="ViT-B/16, random", dim=512)
    tokenizer = open_clip.get_tokenizer("ViT-B-16")
    return replace(like, model=model, spec=spec, tokenizer=tokenizer)


def radiographs(root: Path, name: str) -> Path:
    """Real radiographs if they are there, else drawings of the same size."""
    real = Path(os.environ.get("RETUNE_REAL_DATA", _SHARED)) / name
    if real.is_dir():
        return real
    size = int(name.removeprefix("nih-"))
    drawn = root / f"demo-{size}"
    if not drawn.exists():
        write_demo(drawn, 600 if size < 1000 else 24, size=size)
    return drawn


def _plan(root: Path, name: str) -> IngestPlan:
    folder = radiographs(root, name)
    return read_dataset(folder, dataset=folder.name)


def repeated(root: Path, name: str, times: int, most: int | None = None) -> IngestPlan:
    """Files of the same pictures and other content, so that work takes a while.

    Args:
        root: A folder is made there.
        name: Of the radiographs.
        times: Files of each radiograph.
        most: Radiographs; None: all.
    """
    original = _plan(root, name)
    folder = root / f"{name}-x{times}"
    folder.mkdir()
    lines = ["path,patient_id,Edema"]
    for index, source in enumerate(_files(original)[:most]):
        content = source.read_bytes()
        for copy_number in range(times):
            path = f"{index:03d}-{copy_number}.png"
            # What follows the end of a PNG is not looked at.
            (folder / path).write_bytes(content + bytes([copy_number]))
            lines.append(f"{path},{index},1")
    (folder / "labels.csv").write_text("\n".join(lines) + "\n")
    return read_dataset(folder, "table", dataset=name)


def _files(plan: IngestPlan) -> list[Path]:
    return [Path(plan.root, path) for path in plan.images["path"].to_pylist()]


def _pixels(backbone: Backbone, files: list[Path]) -> np.ndarray:
    def decode(path: Path) -> np.ndarray:
        return backbone.preprocess.to_pixels(decode_image(path.read_bytes()))

    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        return np.stack(list(pool.map(decode, files)))


def _against_limits(
    root: Path,
    backbone: Backbone,
    plan: IngestPlan,
    model: str,
    repeats: int,
    goal: float,
    plain_rate: float | None = None,
) -> list[Row]:
    """`embed` against the limit and, if asked for, that with another forward rate.

    Args:
        root: Stores are made there.
        backbone: As `embed` uses it, which is also whose forward pass makes the limit.
        plan: The images.
        model: Its name.
        repeats: Of which the median is taken.
        goal: Of the first ratio.
        plain_rate: Images/s of a forward pass that leaves memory to the C library.
    """
    files = _files(plan)
    rates = []
    for repeat in range((repeats + 1) // 2):
        pixels = _pixels(backbone, files)
        decode_rate = _rate(len(files), lambda: _pixels(backbone, files))

        def forward(pixels: np.ndarray = pixels) -> None:
            for first in range(0, len(pixels), _BATCH):
                backbone.encode_images(pixels[first : first + _BATCH])

        forward()
        forward_rate = _rate(len(files), forward)
        store = FeatureStore.create(root / f"{model[:3]}-{plan.dataset}-{repeat}")
        with store.writer("benchmark") as writer:
            writer.replace_dataset(
                plan.images, plan.findings, plan.states, dataset=plan.dataset,
                layout=plan.layout, root=plan.root, split_seed=0,
            )  # fmt: skip
        summary = embed_with(store, backbone, EmbedOptions(description_sets=()))
        assert summary.images_encoded
        rate = summary.images_encoded / summary.image_seconds
        limit = 1 / (1 / decode_rate + 1 / forward_rate)
        rates.append((rate / limit, rate, limit, decode_rate))
    ratio, rate, limit, decode_rate = sorted(rates)[len(rates) // 2]
    title = f"embed {len(files)} of {plan.dataset}, {model}: the limit"
    rows = [Row(title, rate, limit, "images/s", ratio, goal)]
    if plain_rate is not None:
        plain = 1 / (1 / decode_rate + 1 / plain_rate)
        title = "... forward by library defaults"
        rows.append(Row(title, rate, plain, "images/s", rate / plain))
    return rows


def _rate(n_images: int, action: Callable[[], object]) -> float:
    started = time.perf_counter()
    action()
    return n_images / (time.perf_counter() - started)


def _formats(
    exact: Backbone,
    usual: Backbone,
    pixels: np.ndarray,
    repeats: int,
    memory: str,
    goal: float | None,
) -> list[Row]:
    """Memory format alone, and then what the processor's own arithmetic adds."""
    plain_model = copy.deepcopy(exact.model)
    plain_model.visual.to(memory_format=torch.contiguous_format)
    normalised = exact.preprocess.normalise(pixels, exact.device).contiguous()

    def plain() -> None:
        with torch.inference_mode():
            plain_model.encode_image(normalised)

    rows = []
    compared = [(exact, "channels-last", goal)]
    if usual is not exact:
        compared.append((usual, usual.spec.precision, None))
    for backbone, name, wanted in compared:
        ours, theirs, ratio = in_turns(
            lambda backbone=backbone: backbone.encode_images(pixels), plain, repeats
        )
        rates = len(pixels) / ours, len(pixels) / theirs
        title = f"mini forward, {name}, {memory}: float32, default format"
        rows.append(Row(title, *rates, "images/s", ratio, wanted))
    return rows


def _precisions(exact: Backbone, pixels: np.ndarray) -> list[Row]:
    """Mean and worst cosine to float32 on real images."""
    reference = exact.encode_images(pixels)
    rows = []
    for precision in ("bfloat16", "float16"):
        vectors = with_precision(exact, precision).encode_images(pixels)
        cosines = [
            float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            for a, b in zip(reference, vectors, strict=True)
        ]
        mean, worst = statistics.mean(cosines), min(cosines)
        title = f"mini {precision}: cosine to float32, mean and (peer) worst"
        rows.append(Row(title, mean, worst, "", mean))
    return rows
