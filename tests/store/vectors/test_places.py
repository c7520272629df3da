"""Vectors are read by what the catalog knows, so that HDF5 cannot end the process.

Bits are flipped in what HDF5 keeps about attributes and types. Some of them make its
library crash; each door runs in a process of its own, which would be gone.
"""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from store_samples import add_vectors, encoder, filled_store, images_table

from retune.store import FeatureStore, read_vectors
from retune.store.errors import StoreCorruptError
from retune.store.vectors.shards import read_header

_N = 50

_DOOR = """
import json, sys
import numpy as np
from retune.store import FeatureStore, read_labelled_images, read_vectors
from retune.store.errors import RetuneError
store = FeatureStore(sys.argv[1])
(fingerprint,), = store.sql("SELECT fingerprint FROM encoders").fetchall()
try:
    if sys.argv[2] == "sql":
        rows = store.sql("SELECT embedding FROM image_features ORDER BY image_id")
        answer = np.array([row for (row,) in rows.fetchall()])
    elif sys.argv[2] == "training":
        answer = read_labelled_images(store, fingerprint).embedding
    else:
        answer = read_vectors(store, fingerprint)[1]
    print(json.dumps(np.asarray(answer, float).tolist()))
except RetuneError as error:
    print(json.dumps(type(error).__name__))
"""


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return filled_store(tmp_path_factory.mktemp("doors") / "s", _N).path


@pytest.fixture
def store(sample: Path, tmp_path: Path) -> FeatureStore:
    shutil.copytree(sample, tmp_path / "s")
    return FeatureStore(tmp_path / "s")


def _flip(path: Path, offset: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def _through(door: str, store: FeatureStore) -> object:
    done = subprocess.run(
        [sys.executable, "-c", _DOOR, str(store.path), door],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])  # before it: a bar of DuckDB


def _damage(store: FeatureStore) -> None:
    """Make a shard on which HDF5 crashes, in the versions that were tried."""
    shard = next(store.path.rglob("*.h5"))
    # The type of an attribute of text, which HDF5 follows without a check.
    _flip(shard, shard.read_bytes().index(b"fingerprint\0") + 17, 1)


@pytest.mark.parametrize("door", ["sql", "training", "whole"])
def test_damage_that_crashes_hdf5_changes_no_answer(
    store: FeatureStore, door: str
) -> None:
    truth = read_vectors(store, encoder().fingerprint)[1].astype(float)
    _damage(store)
    answer = np.array(_through(door, store))
    order = np.argsort(answer[:, 0]), np.argsort(truth[:, 0])
    np.testing.assert_array_equal(answer[order[0]], truth[order[1]])


@pytest.mark.parametrize("door", ["sql", "training", "whole"])
def test_an_old_catalog_has_another_process_ask_the_shard(
    store: FeatureStore, door: str
) -> None:
    store.sql("DROP TABLE shard_checksums", write=True)
    assert len(_through(door, store)) == _N  # type: ignore[arg-type]
    _damage(store)
    assert _through(door, store) in ("StoreCorruptError", "QueryError")


def test_one_process_asks_all_shards_beside(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.store.vectors import shard_verification

    with store.writer("test") as writer:
        for number in range(3):
            names = images_table(4, f"e{number}")["image_id"].to_pylist()
            add_vectors(store, names, writer=writer, seed=number)
    store.sql("DROP TABLE shard_checksums", write=True)
    asked = []
    original = shard_verification._run_apart

    def counting(script: str, paths: list[Path]) -> object:
        asked.append(len(paths))
        return original(script, paths)

    monkeypatch.setattr(shard_verification, "_run_apart", counting)
    assert len(read_vectors(store, encoder().fingerprint)[1]) == _N + 12
    read_vectors(store, encoder().fingerprint)
    assert asked == [4]


def test_a_shard_that_does_not_say_all_sums_is_damage(store: FeatureStore) -> None:
    store.sql("UPDATE shard_checksums SET block_crc32 = []", write=True)
    with pytest.raises(StoreCorruptError, match="checksum for each"):
        read_vectors(store, encoder().fingerprint)


def test_a_missing_shard_is_named(store: FeatureStore) -> None:
    shard = next(store.path.rglob("*.h5"))
    header = read_header(shard)
    shard.unlink()
    for statement in ("", "DROP TABLE shard_checksums"):
        if statement:
            store.sql(statement, write=True)
        with pytest.raises(StoreCorruptError, match=f"{header.shard_id}.h5 is missing"):
            read_vectors(store, header.fingerprint)
