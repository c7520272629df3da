"""After a crash, shards and catalog are brought together and nothing is lost."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from store_samples import digests, encoder, filled_store, vectors

from retune.store import FeatureStore, read_vectors
from retune.store.changes.reconcile import plan_reconcile
from retune.store.vectors.shards import publish_shard, read_header

_names = st.lists(st.sampled_from("abcdefgh"), unique=True)


@given(_names, _names, _names)
def test_the_plan_makes_disk_and_catalog_agree(
    on_disk: list[str], in_catalog: list[str], temporary: list[str]
) -> None:
    plan = plan_reconcile(on_disk, in_catalog, temporary)
    after = (set(in_catalog) - set(plan.drop)) | set(plan.adopt)
    assert after == set(on_disk)
    assert not set(plan.adopt) & set(plan.drop)
    assert set(plan.temporary) == set(temporary)


def _count(store: FeatureStore) -> int:
    rows = store.sql("SELECT count(*) FROM features").fetchall()
    return int(rows[0][0])


def test_a_published_shard_without_rows_is_adopted(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    keys = np.array(digests(["x", "y"]), dtype="S32")
    publish_shard(store.path, encoder(), "image", keys, vectors(2, seed=5))
    assert store.verify().adopted_rows == 2
    assert _count(store) == 10
    with store.writer("next"):
        pass
    assert _count(store) == 12
    assert not store.verify()


def test_rows_without_a_shard_are_dropped_and_asked_for_again(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    next(store.path.rglob("*.h5")).unlink()
    assert store.verify().dropped_rows == 10
    with store.writer("next"):
        pass
    assert _count(store) == 0
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(10,)]


def test_what_a_killed_writer_left_is_deleted(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    folder = next(store.path.rglob("*.h5")).parent
    (folder / ".tmp-0123").write_bytes(b"half a shard")
    assert store.verify().temporary_files == 1
    with store.writer("next"):
        pass
    assert not (folder / ".tmp-0123").exists()


def test_opening_does_not_touch_a_healthy_store(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    before = (store.path / "catalog.duckdb").stat().st_mtime_ns
    with store.writer("next"):
        pass
    assert (store.path / "catalog.duckdb").stat().st_mtime_ns == before


def test_repair_sets_a_damaged_shard_aside(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    shard = next(store.path.rglob("*.h5"))
    content = bytearray(shard.read_bytes())
    content[read_header(shard).offset_bytes] ^= 1
    shard.write_bytes(content)
    report = store.verify()
    assert list(report.damaged) == [str(shard)]
    assert _count(store) == 10
    assert store.repair().dropped_rows == 10
    assert _count(store) == 0
    assert len(list((store.path / "damaged").iterdir())) == 1
    assert not store.verify()


def test_an_unreadable_newcomer_does_not_stop_the_others(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    folder = next(store.path.rglob("*.h5")).parent
    (folder / "image-0123456789abcdef.h5").write_bytes(b"not a shard")
    with store.writer("next"):
        pass
    assert _count(store) == 10
    assert len(store.verify().damaged) == 1


def test_the_catalog_is_rebuilt_from_the_shards_alone(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    keys, before = read_vectors(store, encoder().fingerprint)
    (store.path / "catalog.duckdb").unlink()
    assert store.repair().adopted_rows == 10
    found_keys, after = read_vectors(store, encoder().fingerprint)
    np.testing.assert_array_equal(found_keys, keys)
    np.testing.assert_array_equal(after, before)
    assert store.sql("SELECT backbone, dim FROM encoders").fetchall() == [("sample", 8)]
