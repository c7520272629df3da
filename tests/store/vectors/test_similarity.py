"""`similarity('text')` in SQL."""

from pathlib import Path

import numpy as np
import pytest
from store_samples import digests, encoder, filled_store, vectors

from retune.store import FeatureStore
from retune.store.errors import QueryError


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """Sentences are vectors: their first letter says where they point."""
    store = filled_store(tmp_path / "s", 3000)
    asked: list[str] = []

    def encode(record: str, text: str) -> np.ndarray:
        assert encoder().fingerprint in str(
            store.catalog.path and encoder().fingerprint
        )
        asked.append(text)
        return np.eye(8, dtype=np.float32)[ord(text[0]) - ord("a")] * 3

    store.encode_sentence = encode
    store.asked = asked  # type: ignore[attr-defined]
    return store


def test_it_orders_and_joins_and_encodes_once(store: FeatureStore) -> None:
    rows = store.sql(
        """SELECT image_id, similarity FROM images
        JOIN similarity('b, a heart') USING (image_id)
        WHERE view = 'PA' ORDER BY similarity DESC LIMIT 5"""
    ).fetchall()
    table = vectors(3000).astype(np.float16).astype(np.float64)
    cosine = table[:, 1] / np.linalg.norm(table, axis=1)
    cosine[::2] = -np.inf  # AP
    best = np.argsort(-cosine)[:5]
    assert [name for name, _ in rows] == [f"d/{index:04d}.png" for index in best]
    np.testing.assert_allclose([s for _, s in rows], cosine[best], rtol=1e-5)
    assert store.asked == ["b, a heart"]  # type: ignore[attr-defined]


def test_two_sentences_in_one_query(store: FeatureStore) -> None:
    rows = store.sql(
        """SELECT p.similarity - n.similarity FROM similarity('a') p
        JOIN similarity('c') n USING (image_id) WHERE image_id = 'd/0000.png'"""
    ).fetchall()
    first = vectors(1)[0].astype(np.float16).astype(np.float64)
    expected = (first[0] - first[2]) / np.linalg.norm(first)
    assert rows[0][0] == pytest.approx(expected, rel=1e-4)


def test_several_encoders_must_be_told_apart(store: FeatureStore) -> None:
    other = encoder(4, backbone="other")
    with store.writer("test") as writer:
        writer.publish(other, "image", digests(["d/0000.png"]), vectors(1, 4))
    with pytest.raises(QueryError, match="several encoders"):
        store.sql("FROM similarity('a')")
    rows = store.sql(
        "SELECT count(*), any_value(fingerprint) FROM similarity('a', "
        "encoder := 'sample')"
    ).fetchall()
    assert rows == [(3000, encoder().fingerprint)]


def test_without_a_backbone_it_says_where_one_is(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with pytest.raises(QueryError, match=r"retune\.open"):
        store.sql("FROM similarity('a')")
    assert (
        FeatureStore.create(tmp_path / "t").sql("FROM similarity('a')").fetchall() == []
    )
