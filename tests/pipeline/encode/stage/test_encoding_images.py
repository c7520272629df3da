"""However the cores share the work, the vectors and their order are the same."""

import itertools
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.encode.images.reading import ImageItem, ReadImage
from retune.pipeline.encode.stage.batches import Encoded, encode_contents
from retune.pipeline.encode.stage.lanes import (
    Arrangement,
    encode_images,
    plan_lanes,
    plan_pipeline,
)
from retune.store import FileState, ItemFailure
from retune.store.errors import BackboneError

_LANES, _TURNS = plan_lanes(3, 2)
_PIPELINE = plan_pipeline(2)


def _items(n: int) -> list[ImageItem]:
    return [ImageItem(f"{index:04d}", "root", f"{index}.png") for index in range(n)]


def _read(item: ImageItem, *, content: int | None = None) -> ReadImage:
    """Pixels that tell their place; each hundredth file cannot be decoded."""
    index = int(item.image_id) if content is None else content
    digest = f"{index:032x}"
    state = FileState(item.image_id, digest, 1, 1)
    if index % 100 == 99:
        failure = ItemFailure(item.image_id, item.path, "decode", "damaged", digest)
        return ReadImage(item, state, None, failure)
    pixels = np.full((2, 2, 3), index % 251, dtype=np.uint8)
    return ReadImage(item, state, pixels, None)


def _forward(pixels: np.ndarray) -> np.ndarray:
    means: np.ndarray = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
    return np.stack([means, means + 1], axis=1)


@dataclass
class _Backbone:
    """Counts what it is asked, and by which threads."""

    threads: set[str] = field(default_factory=set)
    n_threads: list[int] = field(default_factory=list)

    def encode(self, files: Sequence[ReadImage]) -> Encoded:
        self.threads.add(threading.current_thread().name)
        return encode_contents(files, _forward, lambda _: False)


def _run(
    n: int, arrangements: Sequence[Arrangement], batch_size: int = 4
) -> tuple[list[str], np.ndarray, list[Arrangement], _Backbone]:
    backbone = _Backbone()
    ids: list[str] = []
    vectors = []
    used = []
    for batch, arrangement in encode_images(
        _items(n),
        _read,
        backbone.encode,
        arrangements,
        batch_size=batch_size,
        set_threads=backbone.n_threads.append,
    ):
        ids += [one.item.image_id for one in batch.read]
        if batch.encoded.keys:
            vectors.append(batch.encoded.vectors)
        used.append(arrangement)
    return ids, np.concatenate(vectors), used, backbone


@given(
    n=st.integers(1, 60),
    batch_size=st.integers(1, 9),
    arrangement=st.sampled_from([_LANES, _TURNS, _PIPELINE]),
)
def test_every_arrangement_gives_all_rows_in_order(
    n: int, batch_size: int, arrangement: Arrangement
) -> None:
    ids, vectors, _, _ = _run(n, [arrangement], batch_size)
    assert ids == [item.image_id for item in _items(n)]
    expected = [index % 251 for index in range(n) if index % 100 != 99]
    np.testing.assert_array_equal(vectors[:, 0], expected)


def test_a_long_job_tries_both_and_goes_on_with_one() -> None:
    ids, _, used, backbone = _run(1000, [_LANES, _TURNS])
    assert ids == [item.image_id for item in _items(1000)]
    assert {_LANES, _TURNS} == set(used)
    changes = sum(one != other for one, other in itertools.pairwise(used))
    assert changes in (1, 2)
    assert len(backbone.threads) >= 2
    assert set(backbone.n_threads) == {_LANES.threads, _TURNS.threads}


def test_a_short_job_goes_the_usual_way() -> None:
    _, _, used, _ = _run(50, [_LANES, _TURNS])
    assert set(used) == {_LANES}


def test_a_short_job_is_cut_finer_if_nobody_chose_the_size() -> None:
    sizes = [
        len(batch.read)
        for batch, _ in encode_images(
            _items(25),
            _read,
            _Backbone().encode,
            [_LANES, _TURNS],
            batch_size=16,
            set_threads=lambda _: None,
            cut_finer=True,
        )
    ]
    assert sum(sizes) == 25
    assert sizes == sorted(sizes, reverse=True)
    assert max(sizes[-3:]) == 4  # one for each lane, all as small


def test_leaving_early_stops_the_lanes() -> None:
    batches = encode_images(
        _items(400),
        _read,
        _Backbone().encode,
        [_LANES],
        batch_size=4,
        set_threads=lambda _: None,
    )
    next(batches)
    batches.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("lane")]


def test_a_failing_lane_stops_the_job() -> None:
    def fail(files: Sequence[ReadImage]) -> Encoded:
        if files[0].item.image_id == "0020":
            raise BackboneError("no more")
        return encode_contents(files, _forward, lambda _: False)

    batches = encode_images(
        _items(100), _read, fail, [_LANES], batch_size=4, set_threads=lambda _: None
    )
    with pytest.raises(BackboneError, match="no more"):
        list(batches)


def test_each_content_is_encoded_once_and_known_ones_never() -> None:
    files = [
        _read(item, content=content)
        for item, content in zip(_items(5), (1, 2, 1, 3, 2), strict=True)
    ]
    encoded = encode_contents(files, _forward, lambda key: key == f"{3:032x}")
    assert encoded.keys == (f"{1:032x}", f"{2:032x}")
    assert [image.image_id for image in encoded.images] == ["0000", "0001"]


@given(st.sets(st.integers(0, 15), max_size=15))
def test_an_image_that_the_backbone_refuses_costs_only_itself(bad: set[int]) -> None:
    def forward(pixels: np.ndarray) -> np.ndarray:
        if {int(value) for value in pixels[:, 0, 0, 0]} & bad:
            raise RuntimeError("cannot take this\nmore")
        return _forward(pixels)

    encoded = encode_contents([_read(i) for i in _items(16)], forward, lambda _: False)
    assert [int(key, 16) for key in encoded.keys] == sorted(set(range(16)) - bad)
    np.testing.assert_array_equal(
        encoded.vectors[:, 0], [int(key, 16) for key in encoded.keys]
    )
    assert [int(key, 16) for _, key, _ in encoded.refused] == sorted(bad)
    assert all(reason == "cannot take this" for _, _, reason in encoded.refused)


def test_a_batch_too_large_for_the_memory_is_done_in_parts() -> None:
    sizes = []

    def forward(pixels: np.ndarray) -> np.ndarray:
        if len(pixels) > 3:
            raise RuntimeError("out of memory")
        sizes.append(len(pixels))
        return _forward(pixels)

    encoded = encode_contents([_read(i) for i in _items(16)], forward, lambda _: False)
    assert len(encoded.keys) == 16
    assert sum(sizes) == 16
    assert not encoded.refused


def test_a_backbone_that_fails_on_everything_is_an_error_not_sixteen_rows() -> None:
    def forward(_: np.ndarray) -> np.ndarray:
        raise RuntimeError("the device is gone")

    with pytest.raises(BackboneError, match="the device is gone") as caught:
        encode_contents([_read(i) for i in _items(16)], forward, lambda _: False)
    assert "goes on from there" in caught.value.hint


def test_a_batch_in_which_nothing_could_be_read_needs_no_backbone() -> None:
    files = [_read(item, content=99) for item in _items(3)]

    def forward(_: np.ndarray) -> np.ndarray:
        raise AssertionError

    assert encode_contents(files, forward, lambda _: False).keys == ()
