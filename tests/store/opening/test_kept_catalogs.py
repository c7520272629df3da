"""Work that reads several things opens the catalog once, and is in nobody's way."""

import threading
from pathlib import Path

import duckdb
import pytest
from store_samples import filled_store

from retune.store import FeatureStore
from retune.store.errors import QueryError
from retune.store.opening.kept_catalogs import kept_open, opening_once


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return filled_store(tmp_path / "store")


def _is_open(store: FeatureStore) -> bool:
    """Whether this process reads the file; a connection that writes tells."""
    try:
        duckdb.connect(str(store.catalog.path)).close()
    except duckdb.ConnectionException as error:
        return "different configuration" in str(error)
    return False


def _count(store: FeatureStore) -> int:
    return int(store.rows("SELECT count(*) FROM images")[0][0])


def test_it_is_open_from_the_first_reading_to_the_end(store: FeatureStore) -> None:
    with kept_open(store.catalog.path):
        assert not _is_open(store)
        assert _count(store) == 10
        assert _is_open(store)
        with kept_open(store.catalog.path):
            assert _count(store) == 10
        assert _is_open(store)
    assert not _is_open(store)


def test_another_spelling_of_the_path_is_the_same_file(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(store.path.parent)
    again = FeatureStore(Path(store.path.name))
    with kept_open(store.catalog.path):
        assert _count(again) == 10
        assert _is_open(store)
        with again.catalog.write(patience_seconds=0.0):
            pass
        assert not _is_open(store)


def test_an_error_closes_it(store: FeatureStore) -> None:
    @opening_once
    def fail(store: FeatureStore) -> None:
        assert _count(store) == 10
        store.rows("no SQL")

    with pytest.raises(QueryError):
        fail(store)
    assert not _is_open(store)


def test_who_writes_does_not_wait_and_is_seen(store: FeatureStore) -> None:
    with kept_open(store.catalog.path):
        _count(store)
        with store.catalog.write(patience_seconds=0.0) as connection:
            connection.execute("DELETE FROM images WHERE image_id = 'd/0000.png'")
        assert _count(store) == 9
        assert _is_open(store)


def test_another_thread_writes_through_a_store_of_its_own(store: FeatureStore) -> None:
    def write() -> None:
        with FeatureStore(store.path).catalog.write() as connection:
            connection.execute("DELETE FROM images WHERE image_id = 'd/0000.png'")

    with kept_open(store.catalog.path):
        _count(store)
        thread = threading.Thread(target=write)
        thread.start()
        thread.join()
        assert _count(store) == 9


def test_other_ways_of_opening_it_work(store: FeatureStore, tmp_path: Path) -> None:
    with kept_open(store.catalog.path):
        _count(store)
        with store.catalog.read(memory_bytes=1 << 28) as connection:
            assert connection.execute("FROM images").fetchall()
        _count(store)
        with store.catalog.hold() as connection:
            assert connection.execute("FROM images").fetchall()
        _count(store)
        file = tmp_path / "images.csv"
        store.sql(f"COPY images TO '{file}'", allow_write=[file])
        assert file.is_file()
        for _ in range(2):  # each query has functions of its own
            assert len(store.sql("FROM image_features").fetchall()) == 10


def test_long_work_keeps_it_no_longer(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    with kept_open(store.catalog.path):
        _count(store)
        assert _is_open(store)
        monkeypatch.setattr("time.monotonic", lambda: float("inf"))
        _count(store)
        assert not _is_open(store)
    assert not _is_open(store)


def test_a_query_reaches_no_more_than_without(store: FeatureStore) -> None:
    with kept_open(store.catalog.path):
        _count(store)
        with pytest.raises(duckdb.Error), store.catalog.read() as connection:
            connection.execute(f"FROM read_text('{__file__}')")


def test_a_catalog_that_is_not_there_is_no_matter(tmp_path: Path) -> None:
    with kept_open(tmp_path / "catalog.duckdb"):
        pass


def test_a_function_of_a_store_opens_it_once(store: FeatureStore) -> None:
    @opening_once
    def seen(store: FeatureStore, *, twice: bool) -> tuple[int, bool]:
        return _count(store) * (1 + twice), _is_open(store)

    assert seen(store, twice=True) == (20, True)
    assert not _is_open(store)
