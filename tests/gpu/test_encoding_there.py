"""Encoding on a GPU gives the vectors of the processor, whatever goes wrong."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from image_samples import write_dataset
from samples import cosines, load, shades, vectors_in, write_vit

from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode.backbones.compilation import compile_images
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.precision import choose_precision
from retune.pipeline.encode.embed import EmbedOptions, embed_with
from retune.pipeline.encode.images.reading import ImageItem, ReadImage
from retune.pipeline.encode.stage.batches import encode_contents
from retune.store import FeatureStore, FileState

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory, device: str) -> str:
    return write_vit(tmp_path_factory.mktemp("vit") / "folder", device)


def pixels_for(backbone: Backbone, device: str) -> np.ndarray:
    side = 32 if device == "cpu" and backbone.spec.dim == 16 else 224
    return shades(12 if device == "cpu" else 128, side)


@pytest.fixture(scope="module", params=["mini", "vit"])
def name(request: pytest.FixtureRequest, vit: str) -> str:
    return vit if request.param == "vit" else "mini"


def test_float32_vectors_are_those_of_the_processor(name: str, device: str) -> None:
    there, here = load(name, device), load(name, "cpu")
    pixels = pixels_for(there, device)[:32]
    similarity = cosines(there.encode_images(pixels), here.encode_images(pixels))
    assert similarity.min() >= 0.9999
    texts = ["Edema is present.", "No pneumothorax."]
    assert cosines(there.encode_texts(texts), here.encode_texts(texts)).min() >= 0.9999


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_half_precision_agrees(vit: str, device: str, precision: str) -> None:
    exact, half = load(vit, "cpu"), load(vit, device, precision)
    pixels = pixels_for(half, device)[:32]
    similarity = cosines(half.encode_images(pixels), exact.encode_images(pixels))
    print(f"{precision}: mean {similarity.mean():.6f}, worst {similarity.min():.6f}")
    assert similarity.mean() >= 0.999
    assert similarity.min() >= 0.999


def test_precision_by_itself_agrees(name: str, device: str) -> None:
    chosen, exact = choose_precision(load(name, device)), load(name, "cpu")
    pixels = pixels_for(chosen, device)[:32]
    similarity = cosines(chosen.encode_images(pixels), exact.encode_images(pixels))
    print(f"{name[:4]}, {chosen.spec.precision}: worst {similarity.min():.6f}")
    assert similarity.mean() >= 0.999


def test_the_size_of_a_batch_does_not_matter(name: str, device: str) -> None:
    backbone = load(name, device)
    pixels = pixels_for(backbone, device)
    whole = backbone.encode_images(pixels)
    for size in (1, 5, len(pixels) // 2):
        parts = [
            backbone.encode_images(pixels[at : at + size])
            for at in range(0, len(pixels), size)
        ]
        assert cosines(np.concatenate(parts), whole).min() >= 0.9999


def test_a_compiled_tower_agrees(vit: str, device: str) -> None:
    plain = load(vit, device)
    pixels = pixels_for(plain, device)
    wanted = plain.encode_images(pixels)
    compiled = compile_images(load(vit, device), 8)
    assert cosines(compiled.encode_images(pixels), wanted).min() >= 0.9999


def as_read(pixels: np.ndarray) -> list[ReadImage]:
    return [
        ReadImage(
            ImageItem(f"{n}", "", ""), FileState(f"{n}", f"{n:032x}", 1, 1), one, None
        )
        for n, one in enumerate(pixels)
    ]


@contextlib.contextmanager
def memory_for(backbone: Backbone, pixels: np.ndarray, device: str) -> Iterator[list]:
    """Memory for less than half of a batch; gives the sizes that were tried."""
    tried: list[int] = []
    if device == "cpu":
        # A processor's memory cannot be taken away: the same error is thrown.
        yield tried
        return
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    backbone.encode_images(pixels[: len(pixels) // 4])
    peak, total = (
        torch.cuda.max_memory_allocated(),
        torch.cuda.get_device_properties(0).total_memory,
    )
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction(min(1.0, 1.3 * peak / total))
    try:
        yield tried
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()


def test_out_of_memory_halves_and_goes_on(vit: str, device: str) -> None:
    backbone = load(vit, device)
    pixels = pixels_for(backbone, device)
    if device != "cpu":
        pixels = np.concatenate([pixels] * 8)
    wanted = backbone.encode_images(pixels[:12])
    with memory_for(backbone, pixels, device) as tried:

        def forward(batch: np.ndarray) -> np.ndarray:
            tried.append(len(batch))
            if device == "cpu" and len(batch) > 4:
                raise torch.OutOfMemoryError("out of memory")
            return backbone.encode_images(backbone.stage_images(batch))

        encoded = encode_contents(as_read(pixels), forward, lambda _: False)
    assert tried[0] == len(pixels)
    assert min(tried) < len(pixels)
    assert not encoded.refused
    assert len(encoded.vectors) == len(pixels)
    assert cosines(encoded.vectors[:12], wanted).min() >= 0.9999


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_dataset(folder, 60)
    return folder


def ingested(folder: Path, data: Path) -> FeatureStore:
    store, plan = FeatureStore.create(folder), read_dataset(data, dataset="d")
    with store.writer("test") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="d", layout=plan.layout,
            root=plan.root, split_seed=0,
        )  # fmt: skip
    return store


def test_threads_and_batches_fill_the_same_store(
    tmp_path: Path, data: Path, vit: str, device: str
) -> None:
    backbone, stored = load(vit, device), []
    for index, (size, workers) in enumerate(((7, 1), (16, 4), (None, 2))):
        store = ingested(tmp_path / f"{index}", data)
        options = EmbedOptions(
            description_sets=(), batch_size=size, workers=workers, device=device
        )
        assert embed_with(store, backbone, options).images_encoded == 60
        stored.append(vectors_in(store))
    for other in stored[1:]:
        assert cosines(other, stored[0]).min() >= 0.9999


class _Throws(Backbone):
    """Fails on its third batch in a way that no part of a batch can heal."""

    calls = 0

    def encode_images(self, pixels: object) -> np.ndarray:  # type: ignore[override]
        type(self).calls += 1
        if type(self).calls == 3:
            raise TypeError("a fault of the backbone")
        return super().encode_images(pixels)  # type: ignore[arg-type]


def test_a_lane_that_throws_leaves_no_hang(
    tmp_path: Path, data: Path, vit: str, device: str
) -> None:
    plain = load(vit, device)
    broken = _Throws(
        plain.model, plain.preprocess, plain.tokenizer, plain.spec, plain.device,
        plain.copies,
    )  # fmt: skip
    store = ingested(tmp_path / "store", data)
    options = EmbedOptions(description_sets=(), batch_size=4, device=device)
    raised: list[BaseException] = []

    def work() -> None:
        try:
            embed_with(store, broken, options)
        except TypeError as error:
            raised.append(error)

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(120)
    assert not thread.is_alive()
    assert [str(one) for one in raised] == ["a fault of the backbone"]
    again = replace(plain)
    done = embed_with(store, again, options)
    assert done.images_encoded + done.images_skipped + done.images_matched == 60


def embedding(folder: Path, vit: str, device: str) -> subprocess.Popen[str]:
    """`retune-cli embed` in a process of its own."""
    start = "from retune.cli.main import main; main()"
    command = [
        sys.executable, "-c", start, "embed", "--store", str(folder),
        "--backbone", vit, "--device", device, "--batch-size", "4",
    ]  # fmt: skip
    return subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=dict(os.environ),
    )  # fmt: skip


def test_two_processes_share_a_card(
    tmp_path: Path, data: Path, vit: str, device: str
) -> None:
    stores = [ingested(tmp_path / name, data) for name in ("a", "b")]
    running = [embedding(store.path, vit, device) for store in stores]
    for process in running:
        _, told = process.communicate(timeout=300)
        assert process.returncode == 0, told
    one, other = (vectors_in(store) for store in stores)
    assert len(one) == 60
    assert cosines(one, other).min() >= 0.9999


def test_ctrl_c_ends_it_and_the_same_command_goes_on(
    tmp_path: Path, data: Path, vit: str, device: str
) -> None:
    store = ingested(tmp_path / "store", data)
    process = embedding(store.path, vit, device)
    assert process.stderr is not None
    first = process.stderr.read(1)  # it has begun, and says so
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=120)
    told = first + rest
    assert process.returncode in (0, 130), told
    assert "Traceback" not in told
    again = embedding(store.path, vit, device)
    _, told = again.communicate(timeout=300)
    assert again.returncode == 0, told
    assert len(vectors_in(store)) == 60
