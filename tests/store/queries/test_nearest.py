"""Nearest images: exact, filtered before vectors are read, damage told."""

from pathlib import Path

import numpy as np
import pytest
from store_samples import (
    FINDINGS,
    add_vectors,
    digests,
    encoder,
    filled_store,
    images_table,
    states,
    vectors,
)

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, QueryError, StoreCorruptError
from retune.store.queries.nearest import (
    rank_vectors,
    read_ranked_images,
    read_vector_of,
)
from retune.store.vectors import block_checks, scan, shards

_FINGERPRINT = encoder().fingerprint
_DIRECTION = np.arange(8, dtype=np.float32)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FeatureStore:
    """Two shards of 40 and 25 vectors in blocks of 4."""
    monkeypatch.setattr(shards, "BLOCK_BYTES", 4 * 8 * 2)
    store = filled_store(tmp_path / "s", 40)
    table = images_table(25, "e")
    with store.writer("test") as writer:
        writer.replace_dataset(
            table, FINDINGS, states(25), dataset="e", layout="table",
            root=tmp_path, split_seed=0,
        )  # fmt: skip
        add_vectors(store, table["image_id"].to_pylist(), writer=writer, seed=1)
    return store


def _expected(store: FeatureStore, condition: str = "true") -> dict[str, float]:
    rows = store.sql(
        f"SELECT image_id, embedding FROM image_features WHERE {condition}"
    ).fetchall()
    return {name: float(np.dot(v, _DIRECTION) / np.linalg.norm(v)) for name, v in rows}


def _found(store: FeatureStore, most: int, **query: object) -> dict[str, float]:
    ranked = rank_vectors(store, _FINGERPRINT, _DIRECTION, **query)  # type: ignore[arg-type]
    table = read_ranked_images(store, ranked.positions(ranked.best(most)), **query)  # type: ignore[arg-type]
    return dict(
        zip(table["image_id"].to_pylist(), table["similarity"].to_pylist(), strict=True)
    )


@pytest.mark.parametrize(
    ("query", "condition"),
    [
        ({}, "true"),
        ({"where": "view = 'PA'"}, "view = 'PA'"),
        ({"datasets": ["e"]}, "dataset = 'e'"),
        ({"datasets": ["d"], "where": "age < 3 -- young"}, "dataset='d' AND age < 3"),
        ({"where": "age > 500"}, "false"),
    ],
)
def test_the_nearest_are_those_of_an_exact_search(
    store: FeatureStore, query: dict[str, object], condition: str
) -> None:
    expected = sorted(_expected(store, condition).items(), key=lambda one: -one[1])
    similarity_of = _found(store, 7, **query)
    assert list(similarity_of) == [name for name, _ in expected[:7]]
    np.testing.assert_allclose(
        list(similarity_of.values()), [value for _, value in expected[:7]], rtol=1e-5
    )


def test_vectors_that_no_longer_count_are_not_found(store: FeatureStore) -> None:
    gone = digests(["d/0003.png"])[0]
    store.sql("DELETE FROM features WHERE item_id = ?", [gone], write=True)
    similarity_of = _found(store, 100)
    assert len(similarity_of) == 64
    assert "d/0003.png" not in similarity_of
    assert similarity_of == pytest.approx(_expected(store), rel=1e-5)


def test_a_vector_without_an_image_is_passed_over(store: FeatureStore) -> None:
    store.sql("DELETE FROM images WHERE image_id = 'd/0003.png'", write=True)
    assert len(_found(store, 100)) == 64


def test_a_picture_that_is_there_twice_is_two_images(store: FeatureStore) -> None:
    store.sql(
        """UPDATE images SET content_digest = (SELECT content_digest FROM images
        WHERE image_id = 'd/0001.png') WHERE image_id = 'e/0001.png'""",
        write=True,
    )
    similarity_of = _found(store, 100)
    assert similarity_of["d/0001.png"] == similarity_of["e/0001.png"]


def test_only_blocks_with_a_wanted_row_are_read(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    whole = scan.read_exactly

    def counting(left: memoryview, descriptor: int, offset: int) -> None:
        read.append(len(left))
        whole(left, descriptor, offset)

    monkeypatch.setattr(scan, "read_exactly", counting)
    _found(store, 3, where="image_id IN ('d/0000.png', 'd/0039.png')")
    assert read == [64, 64]


def test_damage_is_told_and_only_where_it_is_read(store: FeatureStore) -> None:
    (path,) = store.sql("SELECT path FROM shards ORDER BY added_at LIMIT 1").fetchall()[
        0
    ]
    (offset,) = store.sql(
        "SELECT offset_bytes FROM shards ORDER BY added_at LIMIT 1"
    ).fetchall()[0]
    file = store.path / path
    content = bytearray(file.read_bytes())
    content[offset] ^= 1
    file.write_bytes(content)
    block_checks.forget_checked()
    assert len(_found(store, 3, datasets=["e"])) == 3
    with pytest.raises(StoreCorruptError, match="do not match their checksum"):
        _found(store, 3)
    file.write_bytes(content[: offset + 10])
    block_checks.forget_checked()
    with pytest.raises(StoreCorruptError):
        _found(store, 3)
    file.unlink()
    with pytest.raises(StoreCorruptError):
        _found(store, 3)


def test_what_is_no_condition_or_no_dataset_is_refused(store: FeatureStore) -> None:
    with pytest.raises(QueryError, match="nothing"):
        rank_vectors(store, _FINGERPRINT, _DIRECTION, where="nothing = 1")
    with pytest.raises(ConfigurationError, match="no dataset x"):
        rank_vectors(store, _FINGERPRINT, _DIRECTION, datasets=["x"])


def test_the_vector_of_an_image(store: FeatureStore) -> None:
    vector = read_vector_of(store, _FINGERPRINT, "d/0002.png")
    assert vector is not None
    np.testing.assert_array_equal(vector, vectors(40)[2].astype(np.float16))
    assert read_vector_of(store, _FINGERPRINT, "no/such.png") is None
    with pytest.raises(ConfigurationError, match="no vector"):
        read_vector_of(store, "0" * 16, "d/0002.png")


def test_a_store_without_images_finds_none(tmp_path: Path) -> None:
    empty = FeatureStore.create(tmp_path / "s")
    ranked = rank_vectors(empty, _FINGERPRINT, _DIRECTION)
    assert len(ranked) == 0
    assert len(read_ranked_images(empty, ranked.positions(ranked.best(5)))) == 0
