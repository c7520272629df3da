"""A damaged shard is told, and never ends the process that verifies it."""

import random
from pathlib import Path

import numpy as np
import pytest
from store_samples import encoder

from retune.store.errors import StoreCorruptError, StoreError
from retune.store.vectors import shard_verification
from retune.store.vectors.shard_verification import verify_shard
from retune.store.vectors.shards import ShardHeader, file_checksum, publish_shard


@pytest.fixture
def published(tmp_path: Path) -> ShardHeader:
    random_values = np.random.default_rng(0).normal(size=(50, 8))
    keys = np.array([f"{row:032x}" for row in range(50)], dtype="S32")
    spec = encoder(8)
    return publish_shard(tmp_path, spec, "image", keys, random_values)


def _flip(path: Path, offset: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def test_a_whole_shard_is_right_with_and_without_a_known_checksum(
    published: ShardHeader,
) -> None:
    known = file_checksum(published.path)
    assert verify_shard(published.path, known) == published
    assert verify_shard(published.path) == published


def test_bits_that_crash_hdf5_are_damage(published: ShardHeader) -> None:
    known = file_checksum(published.path)
    whole = published.path.read_bytes()
    drawn = random.Random(0)
    # Among them attributes' types, which HDF5 follows without a check.
    crashing = whole.index(b"fingerprint\0") + 17
    for offset in [crashing, *(drawn.randrange(len(whole) // 2) for _ in range(7))]:
        _flip(published.path, offset, 1)
        with pytest.raises(StoreCorruptError, match=published.path.name):
            verify_shard(published.path, known)
        published.path.write_bytes(whole)


def test_rows_are_named_where_vectors_are_damaged(published: ShardHeader) -> None:
    known = file_checksum(published.path)
    _flip(published.path, published.offset_bytes + 64, 2)
    for checksum in (known, None):
        with pytest.raises(StoreCorruptError, match="rows 0 to 49"):
            verify_shard(published.path, checksum)


_KILL = "import os, signal; os.kill(os.getpid(), signal.{})"


def test_a_crash_is_damage(
    published: ShardHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_verification, "_SCRIPT", _KILL.format("SIGSEGV"))
    with pytest.raises(StoreCorruptError, match="HDF5 crashes"):
        verify_shard(published.path)


@pytest.mark.parametrize("script", [_KILL.format("SIGKILL"), "raise MemoryError"])
def test_a_process_that_is_killed_from_outside_is_no_damage(
    published: ShardHeader, monkeypatch: pytest.MonkeyPatch, script: str
) -> None:
    monkeypatch.setattr(shard_verification, "_SCRIPT", script)
    with pytest.raises(StoreError, match="ended early") as caught:
        verify_shard(published.path)
    assert not isinstance(caught.value, StoreCorruptError)


def test_reading_that_does_not_end_is_damage(
    published: ShardHeader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_verification, "_SCRIPT", "while True: pass")
    monkeypatch.setattr(shard_verification, "_START_SECONDS", 0.2)
    with pytest.raises(StoreCorruptError, match="does not end"):
        verify_shard(published.path)


def test_a_process_that_cannot_be_started_is_no_damage(
    published: ShardHeader, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shard_verification.sys, "executable", str(tmp_path / "none"))
    with pytest.raises(StoreError, match="cannot be started") as caught:
        verify_shard(published.path)
    assert not isinstance(caught.value, StoreCorruptError)
