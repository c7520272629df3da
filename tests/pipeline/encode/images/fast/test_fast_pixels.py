"""Compiled loops give the bits that Pillow gives, and leave all that is odd to it."""

import importlib.util
import io
import struct
import sys
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from PIL import Image, PngImagePlugin
from torchvision.transforms import InterpolationMode, Resize

from retune.pipeline.encode.images import decode, preprocess
from retune.pipeline.encode.images.decode import decode_picture
from retune.pipeline.encode.images.fast import kernels as module
from retune.pipeline.encode.images.fast.kernels import (
    Kernels,
    kernels,
    kernels_for_many,
    load_kernels,
    use_kernels,
)
from retune.pipeline.encode.images.fast.plain_png import decode_plain_png
from retune.pipeline.encode.images.fast.resizing import (
    agrees_with_pillow,
    resized,
    target_size,
)
from retune.store.errors import ImageError

_LIMIT = 1_000_000


@pytest.fixture(scope="module")
def loops() -> Kernels:
    kernels = load_kernels()
    assert kernels is not None
    return kernels


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    yield
    use_kernels(allowed=True)


def chunk(chunk_type: bytes, body: bytes) -> bytes:
    checksum = struct.pack(">I", zlib.crc32(chunk_type + body))
    return struct.pack(">I", len(body)) + chunk_type + body + checksum


def png(
    rows: bytes, width: int, height: int, colour: int = 0, before: bytes = b"",
    after: bytes = b"", depth: int = 8, interlace: int = 0,
) -> bytes:  # fmt: skip
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlace)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + before
        + chunk(b"IDAT", zlib.compress(rows)) + after + chunk(b"IEND", b"")
    )  # fmt: skip


def outcome(content: bytes) -> tuple[str, bytes]:
    """What a file becomes: pixels, or the reason why not."""
    try:
        picture = decode_picture(content)
    except ImageError as error:
        return error.message, b""
    return f"{picture.image.mode} {picture.display}", picture.image.tobytes()


def same_with_and_without(content: bytes) -> tuple[str, bytes]:
    use_kernels(allowed=True)
    fast = outcome(content)
    use_kernels(allowed=False)
    assert outcome(content) == fast
    return fast


@given(
    width=st.integers(1, 40),
    height=st.integers(1, 12),
    colour=st.sampled_from([0, 2]),
    data=st.data(),
)
def test_every_filter_is_undone(
    loops: Kernels, width: int, height: int, colour: int, data: st.DataObject
) -> None:
    n_bytes = width * (3 if colour else 1)
    rows = b"".join(
        bytes([data.draw(st.integers(0, 4))])
        + data.draw(st.binary(min_size=n_bytes, max_size=n_bytes))
        for _ in range(height)
    )
    content = png(rows, width, height, colour)
    with Image.open(io.BytesIO(content)) as image:
        wanted = image.tobytes()
    pixels = decode_plain_png(content, _LIMIT, loops)
    if pixels is None:  # all of one value is for others to refuse
        channels = np.frombuffer(wanted, np.uint8).reshape(width * height, -1)
        assert (channels == channels[0]).all()
    else:
        assert pixels.tobytes() == wanted


@given(
    width=st.integers(2, 300),
    height=st.integers(2, 300),
    part=st.floats(0.02, 0.99),
    seed=st.integers(0, 9),
)
def test_resizing_is_pillows(
    loops: Kernels, width: int, height: int, part: float, seed: int
) -> None:
    random = np.random.default_rng(seed)
    # Extremes side by side make sums overshoot at both ends.
    values = random.choice([0, 255, 7], (height, width)).astype(np.uint8)
    step = Resize(
        (max(1, int(part * height)), max(1, int(part * width))),
        InterpolationMode.BICUBIC,
    )
    size = target_size(step, width, height)
    assume(size is not None)
    image = Image.fromarray(values)
    wanted = image.resize(size, Image.Resampling.BICUBIC)
    assert resized(image, size, loops).tobytes() == wanted.tobytes()


@given(
    width=st.integers(3, 3000),
    height=st.integers(3, 3000),
    size=st.one_of(
        st.integers(1, 500), st.tuples(st.integers(1, 500), st.integers(1, 500))
    ),
)
def test_the_size_is_torchvisions(width: int, height: int, size: object) -> None:
    step = Resize(size, InterpolationMode.BICUBIC)
    target = target_size(step, width, height)
    wanted = step(Image.new("L", (width, height))).size
    lost = width - wanted[0], height - wanted[1]
    assert target == (wanted if 0 < lost[1] <= 2 * lost[0] else None)


@pytest.mark.parametrize(
    "step",
    [
        Resize(32, InterpolationMode.BILINEAR),
        Resize(32, InterpolationMode.BICUBIC, max_size=90),
        lambda image: image,
    ],
)
def test_other_steps_are_left_alone(step: object) -> None:
    assert target_size(step, 500, 400) is None


def test_memory_that_pillow_does_not_show_is_copied(
    loops: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Image.Image, *_: object) -> object:
        raise ValueError("it lies in several pieces")

    monkeypatch.setattr(Image.Image, "__arrow_c_array__", refuse, raising=False)
    assert agrees_with_pillow.__wrapped__(loops)


def test_another_pillow_is_left_to_itself(
    loops: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert agrees_with_pillow(loops)
    plain = Image.Image.resize
    other = Kernels(loops.unfilter, loops.across, loops.down)
    monkeypatch.setattr(
        Image.Image, "resize", lambda self, size, _: plain(self, size, 1)
    )
    assert not agrees_with_pillow.__wrapped__(other)


def test_a_backbone_sees_the_same_pixels(loops: Kernels) -> None:
    from retune.pipeline.encode.backbones.mini import build_mini
    from retune.pipeline.encode.backbones.source import mini_files

    _, transform, _, _ = build_mini(*mini_files())
    steps = preprocess.Preprocess.from_transform(transform)
    random = np.random.default_rng(0)
    for mode, shape in (("L", (400, 300)), ("RGB", (300, 400, 3)), ("L", (99, 301))):
        image = Image.fromarray(random.integers(0, 256, shape, dtype=np.uint8), mode)
        use_kernels(allowed=True)
        fast = steps.to_pixels(image)
        use_kernels(allowed=False)
        assert np.array_equal(fast, steps.to_pixels(image))


ROWS = b"".join(
    bytes([y % 5]) + bytes((7 * x * y) % 256 for x in range(20)) for y in range(9)
)


@pytest.mark.parametrize(
    ("content", "plain"),
    [
        (png(ROWS, 20, 9), True),
        (png(ROWS, 20, 9, before=chunk(b"gAMA", b"\0\0\xb1\x8f")), True),
        (png(ROWS, 20, 9, before=chunk(b"pHYs", bytes(9))), True),
        (png(ROWS, 20, 9) + b"more", True),
        (png(ROWS, 20, 9, before=chunk(b"tRNS", b"\0\x07")), False),
        (png(ROWS, 20, 9, before=chunk(b"tEXt", b"Author\0nobody")), False),
        (png(ROWS, 20, 9, after=chunk(b"tIME", bytes(7))), False),
        (png(ROWS, 20, 9, after=chunk(b"IDAT", b"")), True),
        (png(ROWS[:-1], 20, 9), False),
        (png(ROWS + b"\0", 20, 9), False),
        (png(ROWS[:-21] + b"\5" + ROWS[-20:], 20, 9), False),
        (png(bytes(len(ROWS)), 20, 9), False),
        (png(ROWS, 20, 9)[:-20], False),
        (png(ROWS, 20, 9).replace(b"IEND", b"IENT"), False),
        (png(ROWS, 10, 9, depth=16), False),
        (png(ROWS, 20, 9, interlace=1), False),
        (png(ROWS, 20, 9, before=chunk(b"PLTE", bytes(6)), colour=3), False),
        (b"\x89PNG\r\n\x1a\n", False),
        (b"", False),
    ],
)  # fmt: skip
def test_odd_files_are_left_to_pillow(
    loops: Kernels, content: bytes, plain: bool
) -> None:
    assert (decode_plain_png(content, _LIMIT, loops) is not None) is plain
    same_with_and_without(content)


def test_orientation_and_transparency_are_still_honoured(loops: Kernels) -> None:
    pixels = np.arange(600, dtype=np.uint16).reshape(20, 30).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6
    told = []
    texts = PngImagePlugin.PngInfo()
    texts.add_text("Raw profile type exif", "\nexif\n 4\n4d4d002a\n")
    for options in ({"exif": exif}, {"transparency": 3}, {"pnginfo": texts}, {}):
        file = io.BytesIO()
        image.save(file, "PNG", **options)
        told.append(same_with_and_without(file.getvalue())[0])
    assert told[0] == "L orientation 6"
    assert told[1] == "RGB transparent colour"
    assert told[3] == "L as stored"


@given(data=st.data())
def test_damage_has_the_same_outcome(loops: Kernels, data: st.DataObject) -> None:
    content = bytearray(png(ROWS, 20, 9, before=chunk(b"gAMA", b"\0\0\xb1\x8f")))
    for _ in range(data.draw(st.integers(1, 3))):
        content[data.draw(st.integers(8, len(content) - 1))] = data.draw(
            st.integers(0, 255)
        )
    same_with_and_without(bytes(content))


def test_limits_are_those_of_all_files(
    loops: Kernels, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETUNE_MAX_PIXELS", "100")
    message, pixels = same_with_and_without(png(ROWS, 20, 9))
    assert "20×9 pixels are more than the limit of 100" in message
    assert not pixels
    bomb = png(zlib.compress(bytes(10_000_000)), 20, 9)
    assert decode_plain_png(bomb, _LIMIT, loops) is None


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> module._State:
    state = module._State()
    monkeypatch.setattr(module, "_state", state)
    return state


def test_code_is_loaded_once_many_images_have_come(
    fresh: module._State, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Kernels(lambda *_: True, lambda *_: None, lambda *_: None)
    monkeypatch.setattr(module, "_compiled", lambda: made)
    loaded = [kernels_for_many() for _ in range(40)]
    assert loaded.index(made) == module._IMAGES_BEFORE
    assert kernels() is made
    use_kernels(allowed=False)
    assert kernels() is None
    assert kernels_for_many() is None


def test_without_numba_pillow_does_it(
    fresh: module._State, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert [kernels_for_many() for _ in range(40)] == [None] * 40
    assert decode.decode_image(png(ROWS, 20, 9)).size == (20, 9)


def test_a_compiler_that_fails_is_done_without(
    loops: Kernels, fresh: module._State, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "retune.pipeline.encode.images.fast.loops"
    monkeypatch.delattr(sys.modules["retune.pipeline.encode.images.fast"], "loops")
    monkeypatch.setitem(sys.modules, name, None)  # importing it now fails
    assert load_kernels() is None
