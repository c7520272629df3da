"""Which vectors a query fetches: what FORMAT.md says is counted here."""

from pathlib import Path

import numpy as np
import pytest
from store_samples import filled_store

from retune.store import FeatureStore
from retune.store.vectors.reader import VectorReader

_N_IMAGES = 100


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return filled_store(tmp_path_factory.mktemp("views") / "s", _N_IMAGES)


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of vectors of each fetch, filled while queries run."""
    counts: list[int] = []
    original = VectorReader.gather

    def counting(
        self: VectorReader,
        ids: list[str],
        shards: np.ndarray,
        rows: np.ndarray,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        counts.append(len(rows))
        return original(self, ids, shards, rows, out)

    monkeypatch.setattr(VectorReader, "gather", counting)
    return counts


@pytest.mark.parametrize(
    ("query", "n_fetched"),
    [
        ("SELECT count(*) FROM image_features", 0),
        ("SELECT image_id FROM image_features ORDER BY age", 0),
        ("SELECT embedding FROM image_features WHERE age < 10", 10),
        ("SELECT embedding FROM image_features WHERE age BETWEEN 3 AND 12", 10),
        ("SELECT embedding FROM image_features WHERE image_id LIKE 'd/000%'", 10),
        (
            "SELECT embedding FROM image_features WHERE lower(image_id) < 'd/0010.png'",
            10,
        ),
        ("SELECT embedding FROM image_features LIMIT 10", 10),
    ],
)
def test_vectors_of_other_rows_are_not_fetched(
    store: FeatureStore, fetched: list[int], query: str, n_fetched: int
) -> None:
    store.sql(query)
    assert sum(fetched) == n_fetched


_PLACES = 'SELECT shard_vector_8(shard_id, "row") AS embedding FROM (SELECT * FROM '


@pytest.mark.parametrize(
    "rows",
    [
        "image_places ORDER BY age DESC LIMIT 10",
        "image_places USING SAMPLE 10",
        "image_places WHERE image_id IN (SELECT image_id FROM images WHERE age % 10=0)",
        "image_places WHERE regexp_matches(image_id, 'd/00[0-9]0.png')",
        "image_places JOIN (SELECT image_id FROM images WHERE age % 10=0) "
        "USING (image_id)",
    ],
)
def test_places_choose_rows_before_vectors_are_fetched(
    store: FeatureStore, fetched: list[int], rows: str
) -> None:
    table = store.sql(f"{_PLACES}{rows})").to_arrow_table()
    assert (len(table), sum(fetched)) == (10, 10)


def test_places_and_features_are_of_the_same_rows(store: FeatureStore) -> None:
    by_place = store.sql(
        """SELECT image_id, shard_vector_8(shard_id, "row") FROM image_places
        ORDER BY 1"""
    ).fetchall()
    whole = "SELECT image_id, embedding FROM image_features ORDER BY 1"
    assert store.sql(whole).fetchall() == by_place


def test_places_exist_in_an_empty_store(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    for view in ("image_places", "text_places"):
        assert store.sql(f"FROM {view}").fetchall() == []
