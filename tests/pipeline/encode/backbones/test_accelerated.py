"""What an accelerator needs, as far as a machine without one can run it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import stub_backbone
import torch
from image_samples import write_dataset, write_tiny_backbone
from PIL import Image
from stub_backbone import StubBackbone, assert_tidy, embed_stub, ingested_store
from torch import nn

from retune.pipeline.encode.backbones.compilation import compile_images
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.backbones.folding import fold_batch_norms, with_folded_norms
from retune.pipeline.encode.backbones.loading import load_backbone
from retune.pipeline.encode.backbones.pinned import CopyLane, CopyLanes
from retune.pipeline.encode.backbones.source import source_of
from retune.pipeline.encode.engines.loading import load_to_embed
from retune.pipeline.encode.options import EmbedOptions
from retune.pipeline.encode.stage.forward_gate import ForwardGate
from retune.store.errors import BackboneError, ConfigurationError


class _Stream:
    """Writes down what was waited for."""

    def __init__(self, device: object = None) -> None:
        self.device = device
        self.log: list[str] = []

    def synchronize(self) -> None:
        self.log.append("stream")


class _Event:
    def record(self, stream: _Stream) -> None:
        self._stream = stream
        stream.log.append("recorded")

    def synchronize(self) -> None:
        self._stream.log.append("waited")


@pytest.fixture
def fake_cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    @contextmanager
    def stream(which: _Stream) -> Iterator[None]:
        which.log.append("in")
        yield

    monkeypatch.setattr(torch.cuda, "Stream", _Stream)
    monkeypatch.setattr(torch.cuda, "Event", _Event)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "synchronize", lambda _: None)


@pytest.mark.usefixtures("fake_cuda")
def test_a_lane_reuses_its_buffers_and_waits_for_the_copy_before_reading() -> None:
    stream = _Stream()
    lane = CopyLane(torch.device("cpu"), stream)  # type: ignore[arg-type]  # a stand-in
    large = np.arange(48, dtype=np.uint8).reshape(4, 2, 2, 3)
    assert torch.equal(lane.send(large), torch.from_numpy(large))
    buffer = lane._pixels.data_ptr()
    small = large[:2] + 100
    assert torch.equal(lane.send(small), torch.from_numpy(small))
    assert lane._pixels.data_ptr() == buffer
    vectors = torch.arange(6.0).view(2, 3)
    stream.log.clear()
    first = lane.fetch(vectors)
    assert stream.log == ["in", "recorded", "waited"]
    second = lane.fetch(vectors + 1)
    np.testing.assert_array_equal(first, vectors.numpy())  # a copy of its own
    np.testing.assert_array_equal(second, vectors.numpy() + 1)


@pytest.mark.usefixtures("fake_cuda")
def test_each_thread_has_a_lane_of_its_own() -> None:
    lanes = CopyLanes(torch.device("cpu"))
    seen = [lanes.mine(), lanes.mine()]
    other = threading.Thread(target=lambda: seen.append(lanes.mine()))
    other.start()
    other.join()
    assert seen[0] is seen[1]
    assert seen[2] is not seen[0]


@pytest.mark.parametrize(("shared", "most"), [(True, 2), (False, 1)])
def test_threads_share_a_processor_and_take_turns_at_an_accelerator(
    shared: bool, most: int
) -> None:
    inside, counts = [0], []
    lock, meeting = threading.Lock(), threading.Barrier(2)

    def enter(_: int) -> None:
        with lock:
            inside[0] += 1
            counts.append(inside[0])
        if shared:
            meeting.wait(10)  # fails unless both are inside
        with lock:
            inside[0] -= 1

    gate = ForwardGate(StubBackbone(before_images=enter), shared=shared)  # type: ignore[arg-type]  # a stand-in
    pixels = np.zeros((1, 4, 4, 3), dtype=np.uint8)
    threads = [threading.Thread(target=gate.forward, args=(pixels,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert max(counts) == most
    assert gate.seconds_since_asked() > 0
    assert gate.seconds_since_asked() == 0


def test_an_accelerators_pipeline_fills_the_same_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stub says that it is on a CUDA device; its rows are those of a processor."""
    write_dataset(tmp_path / "data", 11)
    rows = []
    for device in ("cpu", "cuda"):
        store = ingested_store(tmp_path / device, tmp_path / "data")
        backbone = StubBackbone(device=SimpleNamespace(type=device))
        monkeypatch.setattr(stub_backbone, "StubBackbone", lambda one=backbone: one)
        embed_stub(store.path)
        rows.append(stub_backbone.stored_rows(store))
        assert_tidy(store)
    assert len(rows[0]) == 11
    assert rows[0] == rows[1]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


def _load(tiny: str, compile_for: int | None = None) -> Backbone:
    source = source_of(tiny, precision="float32", output_dtype="float16")
    return load_backbone(
        source, precision="float32", device="cpu", compile_for=compile_for
    )


class _Tower(nn.Module):
    """Lists its layers in an order that is not that of their use."""

    def __init__(self) -> None:
        super().__init__()
        self.second = nn.Conv2d(4, 4, 1)
        self.norm = nn.BatchNorm2d(4)
        self.first = nn.Conv2d(3, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.norm(self.first(x)))


def test_folding_keeps_what_a_tower_computes() -> None:
    torch.manual_seed(0)
    tower = nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
        nn.Sequential(nn.Conv2d(8, 4, 1), nn.BatchNorm2d(4)), nn.BatchNorm2d(4),
    )  # fmt: skip
    x = torch.randn(16, 3, 8, 8)
    tower.train()(x)  # statistics that are not those of an untrained layer
    tower.eval()
    with torch.no_grad():
        before = tower(x)
        assert fold_batch_norms(tower) == 2  # the last follows no convolution
        torch.testing.assert_close(tower(x), before, rtol=1e-5, atol=1e-5)


class _Model(nn.Module):
    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, x: torch.Tensor) -> torch.Tensor:
        return self.visual(x).mean(dim=(2, 3))

    def encode_text(self, tokens: torch.Tensor) -> torch.Tensor:
        return torch.ones(len(tokens), 4)


def test_a_tower_that_hides_its_order_is_left_as_it_is(tiny: str) -> None:
    torch.manual_seed(0)
    tower = _Tower()
    tower.train()(3 + torch.randn(4, 3, 8, 8))
    exact = replace(_load(tiny), model=_Model(tower).eval())
    assert with_folded_norms(exact) is exact


@pytest.mark.slow
def test_a_compiled_tower_gives_the_same_vectors_for_batches_of_any_size(
    tiny: str,
) -> None:
    plain, compiled = _load(tiny), _load(tiny, compile_for=3)
    assert compiled.spec.fingerprint == plain.spec.fingerprint
    size = plain.preprocess.to_pixels(Image.new("L", (8, 8))).shape
    pixels = np.random.default_rng(0).integers(0, 256, (7, *size), dtype=np.uint8)
    np.testing.assert_allclose(
        compiled.encode_images(pixels),
        plain.encode_images(pixels),
        rtol=1e-3,
        atol=1e-5,
    )


def test_a_compiler_that_fails_is_named_and_the_tower_stays(
    tiny: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tower: nn.Module, **_: object) -> object:
        def fail(_: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no compiler\nmore")

        return fail

    backbone = _load(tiny)
    before = backbone.model.visual
    monkeypatch.setattr(torch, "compile", broken)
    with pytest.raises(BackboneError, match=r"cannot be compiled here: no compiler$"):
        compile_images(backbone, 2)
    assert backbone.model.visual is before


def test_a_processor_does_not_compile(tiny: str) -> None:
    source = source_of(tiny, precision="float32", output_dtype="float16")
    with pytest.raises(ConfigurationError, match="for accelerators"):
        load_to_embed(source, EmbedOptions(device="cpu", compiled=True), ())
