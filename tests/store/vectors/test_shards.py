"""A shard is whole or absent, and says when it is damaged."""

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from store_samples import digests, encoder, vectors

from retune.store.errors import StoreCorruptError, StoreError, StoreWriteError
from retune.store.vectors import shards
from retune.store.vectors.places import place_of, read_shard_keys
from retune.store.vectors.shards import ShardHeader, to_stored


def _keys(n: int) -> np.ndarray:
    return np.array(digests([str(i) for i in range(n)]), dtype="S32")


def _publish(
    root: Path, n: int = 20, dim: int = 8, dtype: str = "float16"
) -> ShardHeader:
    spec = encoder(dim, output_dtype=dtype)
    return shards.publish_shard(root, spec, "image", _keys(n), vectors(n, dim))


@settings(max_examples=25, deadline=None)
@given(
    data=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 12)),
        elements=st.floats(0.125, 1000, width=32),
    ),
    dtype=st.sampled_from(["float16", "float32"]),
)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, data: np.ndarray, dtype: str
) -> None:
    root = tmp_path_factory.mktemp("shards")
    spec = encoder(data.shape[1], output_dtype=dtype)
    header = shards.publish_shard(root, spec, "text", _keys(len(data)), data)
    assert shards.check_contents(header.path) == header
    np.testing.assert_array_equal(
        shards.map_embedding(header.path, header), data.astype(dtype)
    )
    keys = read_shard_keys(header.path, place_of(header, root))
    np.testing.assert_array_equal(keys, _keys(len(data)))
    assert header.encoder == spec


def test_vectors_are_contiguous_and_aligned(tmp_path: Path) -> None:
    header = _publish(tmp_path, n=3000, dim=16)
    assert header.offset_bytes % 4096 == 0
    with h5py.File(header.path) as file:
        assert file["embedding"].chunks is None
        assert file["embedding"].compression is None


def test_only_the_owner_can_read_it(tmp_path: Path) -> None:
    header = _publish(tmp_path)
    assert header.path.stat().st_mode & 0o777 == 0o600
    assert header.path.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (70000.0, "overflows float16"),
        (0.0, "norm 0"),
    ],
)
def test_vectors_that_must_not_be_stored(tmp_path: Path, bad: float, said: str) -> None:
    values = vectors(5)
    values[3] = bad
    with pytest.raises(StoreError, match=f"embedding 3 .*{said}"):
        shards.publish_shard(tmp_path, encoder(), "image", _keys(5), values)
    assert not list(tmp_path.rglob("*.h5"))


def test_keys_must_be_distinct_and_as_many_as_vectors(tmp_path: Path) -> None:
    twice = _keys(4)
    twice[3] = twice[0]
    with pytest.raises(StoreError, match="one key twice"):
        shards.publish_shard(tmp_path, encoder(), "image", twice, vectors(4))
    with pytest.raises(StoreError, match="do not make a shard"):
        shards.publish_shard(tmp_path, encoder(), "image", _keys(3), vectors(4))
    with pytest.raises(StoreError, match="dimension 8"):
        shards.publish_shard(tmp_path, encoder(), "image", _keys(4), vectors(4, dim=9))


@pytest.mark.parametrize("n", [1, 3, 2000, 20_000])
def test_checksums_of_what_is_written_are_those_of_the_file(
    tmp_path: Path, n: int
) -> None:
    header = _publish(tmp_path, n=n, dim=8)
    assert header.file_crc32 == shards.file_checksum(header.path)
    assert shards.check_contents(header.path) == header
    with h5py.File(header.path) as file:
        np.testing.assert_array_equal(
            file["embedding"][...], vectors(n, 8).astype(file["embedding"].dtype)
        )


def test_a_full_disk_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shards.os, "fsync", full)
    with pytest.raises(StoreWriteError, match="No space left") as caught:
        _publish(tmp_path)
    assert "finished shards are kept" in caught.value.hint
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("dataset", ["embedding", "key"])
def test_a_flipped_bit_is_found(tmp_path: Path, dataset: str) -> None:
    header = _publish(tmp_path, n=2000, dim=8)
    with h5py.File(header.path, "r") as file:
        offset = file[dataset].id.get_offset()
    content = bytearray(header.path.read_bytes())
    content[offset + 64] ^= 4
    header.path.write_bytes(content)
    with pytest.raises(StoreCorruptError, match="do not match"):
        shards.check_contents(header.path)


@pytest.mark.parametrize("kept", [0, 100, 2000, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: float) -> None:
    header = _publish(tmp_path, n=2000, dim=8)
    content = header.path.read_bytes()
    length = int(kept * len(content)) if isinstance(kept, float) else int(kept)
    header.path.write_bytes(content[:length])
    with pytest.raises(StoreCorruptError) as caught:
        shards.check_contents(header.path)
    assert str(header.path) in caught.value.message


def _edit(header: ShardHeader, edit: str) -> None:
    with h5py.File(header.path, "r+") as file:
        if edit == "no attribute":
            del file.attrs["fingerprint"]
        elif edit == "count":
            file.attrs["count"] = 7
        elif edit == "chunked":
            values = file["embedding"][...]
            del file["embedding"]
            file.create_dataset("embedding", data=values, chunks=(4, 8))
        elif edit == "integers":
            del file["embedding"]
            file.create_dataset("embedding", data=np.ones((20, 8), dtype="i2"))
        elif edit == "no embedding":
            del file["embedding"]
        elif edit == "encoder":
            file.attrs["encoder"] = encoder(weights_digest="other").to_json()
        elif edit == "newer":
            file.attrs["format_version"] = 99


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ("no attribute", "cannot be read"),
        ("count", "says 7 rows"),
        ("chunked", "not contiguous"),
        ("integers", "int16 is not allowed"),
        ("no embedding", "cannot be read"),
        ("encoder", "not that of its encoder"),
        ("newer", "format 99"),
    ],
)
def test_a_shard_that_lies_is_refused(tmp_path: Path, edit: str, said: str) -> None:
    header = _publish(tmp_path)
    _edit(header, edit)
    with pytest.raises(StoreCorruptError, match=said):
        shards.read_header(header.path)


def test_a_shard_in_the_wrong_folder_or_name_is_refused(tmp_path: Path) -> None:
    header = _publish(tmp_path)
    stranger = tmp_path / "features" / "0123456789abcdef" / header.path.name
    stranger.parent.mkdir()
    stranger.write_bytes(header.path.read_bytes())
    with pytest.raises(StoreCorruptError, match="folder of another fingerprint"):
        shards.read_header(stranger)
    renamed = header.path.with_name("text-" + header.shard_id + ".h5")
    header.path.rename(renamed)
    with pytest.raises(StoreCorruptError, match="its name says text"):
        shards.read_header(renamed)


def test_a_file_that_is_no_hdf5_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "image-1.h5"
    path.write_bytes(b"hello")
    with pytest.raises(StoreCorruptError, match="cannot be read"):
        shards.read_header(path)


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(0, 5), st.integers(1, 9)),
        elements=st.floats(width=32) | st.sampled_from([0.0, -0.0, 65504.0, 65520.0]),
    ),
    st.sampled_from(["float16", "float32"]),
)
def test_rows_fit_to_be_stored_are_those_that_are_finite_and_not_zero(
    values: np.ndarray, dtype: str
) -> None:
    stored, good = to_stored(values, dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        plain = values.astype(dtype)
    np.testing.assert_array_equal(stored, plain)
    expected = np.isfinite(plain).all(axis=1) & plain.any(axis=1)
    np.testing.assert_array_equal(good, expected)
