"""One flipped bit gives an error or the same numbers; `verify` finds it."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage_samples import DIM, answers, whole_store
from store_samples import encoder

from retune.store import FeatureStore, read_vectors
from retune.store.errors import QueryError, StoreCorruptError, StoreError
from retune.store.vectors.shards import read_header

#: `tests/benchmarks/flip_table.py` tries thousands.
_FLIPS_PER_FILE = 2
_UNCHECKED = {"writer.lock", "lock"}


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return whole_store(tmp_path_factory.mktemp("damage") / "s")


@pytest.fixture
def store(sample: FeatureStore, tmp_path: Path) -> FeatureStore:
    shutil.copytree(sample.path, tmp_path / "s")
    return FeatureStore(tmp_path / "s")


def _files(root: Path) -> list[Path]:
    """The files of a store, one Parquet copy standing for all."""
    files = [p for p in sorted(root.rglob("*")) if p.is_file()]
    copies = [p for p in files if p.suffix == ".parquet"]
    return [p for p in files if p.name not in _UNCHECKED and p not in copies[1:]]


def _flip(path: Path, offset: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)


def test_a_flipped_bit_anywhere_is_never_silent(store: FeatureStore) -> None:
    truth = answers(store)
    drawn = random.Random(7)
    for path in _files(store.path):
        whole = path.read_bytes()
        for _ in range(_FLIPS_PER_FILE):
            offset, bit = drawn.randrange(len(whole)), drawn.randrange(8)
            _flip(path, offset, bit)
            where = f"bit {bit} of byte {offset} of {path.name}"
            try:
                reopened = FeatureStore(store.path)
                assert answers(reopened) == truth, where
            except StoreError:
                pass
            try:
                report = FeatureStore(store.path).verify()
            except StoreError:
                pass
            else:
                if path.name != "commits.json":  # a smaller number accuses nobody
                    assert report, where
            path.write_bytes(whole)
    assert answers(store) == truth


@pytest.mark.parametrize("dim", [DIM])
def test_every_way_of_reading_vectors_checks_them(
    store: FeatureStore, dim: int
) -> None:
    shard = next(store.path.rglob("*.h5"))
    _flip(shard, read_header(shard).offset_bytes + 40, 3)
    with pytest.raises(StoreCorruptError, match="rows 0 to 59 do not match"):
        read_vectors(store, encoder(dim).fingerprint)
    with pytest.raises(QueryError, match="do not match their checksum"):
        store.sql("SELECT embedding FROM image_features WHERE age = 59")
    assert store.sql("SELECT count(*) FROM image_features").fetchall() == [(60,)]


def test_a_store_without_checksums_in_its_catalog_is_checked_too(
    store: FeatureStore,
) -> None:
    store.sql("DROP TABLE shard_checksums", write=True)
    truth = read_vectors(store, encoder(DIM).fingerprint)[1]
    shard = next(store.path.rglob("*.h5"))
    whole = shard.read_bytes()
    _flip(shard, read_header(shard).offset_bytes + 40, 3)
    with pytest.raises(StoreCorruptError, match="do not match"):
        read_vectors(store, encoder(DIM).fingerprint)
    shard.write_bytes(whole)
    vectors = read_vectors(store, encoder(DIM).fingerprint)[1]
    np.testing.assert_array_equal(vectors, truth)


def test_a_block_is_checked_once_in_a_process(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.store.vectors import block_checks

    n_checks = 0
    original = block_checks.crc32

    def counting(content: object) -> int:
        nonlocal n_checks
        n_checks += 1
        return int(original(content))

    monkeypatch.setattr(block_checks, "crc32", counting)
    for _ in range(3):
        read_vectors(store, encoder(DIM).fingerprint)
        store.sql("SELECT embedding FROM image_features")
    assert n_checks == 1


def test_verify_names_the_table_that_cannot_be_read(store: FeatureStore) -> None:
    catalog = store.path / "catalog.duckdb"
    whole = catalog.read_bytes()
    offset = whole.index(b"image_id")  # some block that is in use
    named = set()
    for start in range(offset, len(whole), 1 << 18):
        _flip(catalog, start, 0)
        named.update(
            problem.partition(" cannot")[0] for problem in store.verify().catalog
        )
        catalog.write_bytes(whole)
    assert any(name.startswith("the table ") for name in named)


@pytest.mark.parametrize(
    "content",
    [b"", b"{}", b"[]", b'{"commits": -1}', b'{"commits": "x"}', b'{"commits": 1.5}'],
)
def test_a_damaged_count_is_named_and_counted_anew(
    store: FeatureStore, content: bytes
) -> None:
    (store.path / "commits.json").write_bytes(content)
    with pytest.raises(StoreCorruptError, match=r"commits\.json is damaged"):
        store.sql("SELECT 1")
    assert store.verify().catalog
    store.repair()
    assert store.sql("SELECT 1").fetchall() == [(1,)]
    assert not store.verify()


def test_a_marker_says_a_version_that_there_is(store: FeatureStore) -> None:
    marker = store.path / "retune-store.json"
    marker.write_text(marker.read_text().replace(": 1", ": 0"))
    with pytest.raises(StoreCorruptError, match="says version 0"):
        FeatureStore(store.path)
