"""SQL reaches the catalog, the vectors and the places that were named; nothing else."""

from pathlib import Path

import pytest
from store_samples import encoder, filled_store

from retune.store import FeatureStore, read_labelled_images
from retune.store.errors import ConfigurationError, QueryError, RetuneError
from retune.store.queries.labelled import count_images

_SECRET = "known to nobody"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    (tmp_path / "outside.csv").write_text(f"a,b\n1,{_SECRET}\n")
    filled_store(tmp_path / "other")
    return filled_store(tmp_path / "s")


def _files(root: Path) -> dict[str, bytes]:
    left_out = ("copies", "writer.lock", "commits.json", "catalog.duckdb")
    return {
        str(path): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and not any(f"/s/{name}" in str(path) for name in left_out)
    }


#: `{d}` is a folder that holds the store `s`, another store and a file.
_ATTACKS = [
    "COPY images TO '{d}/out.csv'",
    "COPY (SELECT 1) TO '{d}/s/retune-store.json'",
    "COPY (SELECT 1) TO '{d}/s/catalog.duckdb'",
    "COPY (SELECT 1) TO '{d}/s/catalog.duckdb.wal'",
    "COPY (SELECT 1 AS a) TO '{d}/s/catalog.duckdb.tmp' (FORMAT csv, PARTITION_BY (a))",
    "COPY (SELECT 1) TO '/dev/stdout'",
    "WITH x AS (COPY (SELECT 1) TO '{d}/out.csv') SELECT 2",
    "WITH x AS (COPY (SELECT 1) TO '{d}/s/catalog.duckdb.tmp/x') SELECT 2",
    "EXPLAIN ANALYZE COPY images TO '{d}/out.csv'",
    "PREPARE p AS COPY images TO '{d}/out.csv'",
    "SELECT 1; COPY images TO '{d}/out.csv'; SELECT 2",
    "EXPORT DATABASE '{d}/exported'",
    "IMPORT DATABASE '{d}/exported'",
    "ATTACH '{d}/other/catalog.duckdb' AS o (READ_WRITE)",
    "ATTACH '{d}/other/catalog.duckdb' AS o (READ_ONLY)",
    "ATTACH '{d}/s/retune-store.json' AS o",
    "ATTACH ':memory:' AS o",
    "FROM '{d}/outside.csv'",
    "FROM read_csv('{d}/outside.csv')",
    "FROM read_csv('{d}/s/../outside.csv')",
    "FROM read_csv('file://{d}/outside.csv')",
    "FROM read_blob('{d}/outside.csv')",
    "FROM read_text('/proc/self/environ')",
    "FROM read_parquet('{d}/*.parquet')",
    "FROM read_json('{d}/outside.csv')",
    "FROM read_duckdb('{d}/other/catalog.duckdb')",
    "FROM sniff_csv('{d}/outside.csv')",
    "FROM glob('{d}/*')",
    "FROM query('FROM read_csv(''{d}/outside.csv'')')",
    "FROM 'https://example.org/a.csv'",
    "COPY images FROM '{d}/outside.csv'",
    "SELECT getenv('HOME')",
    "INSTALL httpfs",
    "LOAD httpfs",
    "LOAD '{d}/x.duckdb_extension'",
    "CREATE SECRET s (TYPE http)",
    "CREATE PERSISTENT SECRET s (TYPE http, BEARER_TOKEN 'x')",
    "FROM duckdb_secrets()",
    "SET enable_external_access = true",
    "SET lock_configuration = false",
    "RESET lock_configuration",
    "SET allowed_directories = ['{d}']",
    "SET temp_directory = '{d}/tmp'",
    "SET log_query_path = '{d}/log'",
    "SET profiling_output = '{d}/profile'",
    "PRAGMA enable_profiling = 'json'",
    "CALL enable_logging(storage = 'file', storage_config = {{'path': '{d}/logs'}})",
    "SELECT * FROM a_variable_of_python",
]


@pytest.mark.parametrize("write", [False, True])
@pytest.mark.parametrize("attack", _ATTACKS)
def test_a_query_reaches_nothing_outside(
    attack: str, write: bool, shared_store: FeatureStore
) -> None:
    a_variable_of_python = {"a": [1]}
    folder = shared_store.path.parent
    before = _files(folder)
    with pytest.raises(QueryError) as caught:
        shared_store.sql(attack.format(d=folder), write=write)
    assert a_variable_of_python
    assert _SECRET not in caught.value.message
    assert _files(folder) == before


@pytest.fixture(scope="module")
def shared_store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    folder = tmp_path_factory.mktemp("sandbox")
    (folder / "outside.csv").write_text(f"a,b\n1,{_SECRET}\n")
    filled_store(folder / "other")
    return filled_store(folder / "s")


@pytest.mark.parametrize(
    "condition",
    [
        "image_id IN (SELECT content FROM read_text('{d}/outside.csv'))",
        "EXISTS (FROM read_csv('{d}/outside.csv'))",
        "getenv('HOME') IS NOT NULL",
        "true) ; COPY images TO '{d}/out.csv'; SELECT (true",
        "EXISTS (WITH x AS (COPY images TO '{d}/out.csv') SELECT 1)",
    ],
)
def test_a_condition_reaches_nothing_outside(
    condition: str, shared_store: FeatureStore
) -> None:
    folder = shared_store.path.parent
    before = _files(folder)
    for reads in (
        lambda where: count_images(shared_store, where=where),
        lambda where: read_labelled_images(
            shared_store, encoder().fingerprint, where=where
        ),
    ):
        with pytest.raises(QueryError):
            reads(condition.format(d=folder))
    assert _files(folder) == before


def test_the_catalog_is_changed_by_write_only(store: FeatureStore) -> None:
    for change in (
        "DELETE FROM images",
        "DROP TABLE runs",
        "WITH x AS (DELETE FROM images RETURNING *) FROM x",
    ):
        with pytest.raises(QueryError, match="would change the store"):
            store.sql(change)
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(10,)]


def test_a_file_that_was_named_can_be_written_again_and_again(
    store: FeatureStore, tmp_path: Path
) -> None:
    out = tmp_path / "out.csv"
    for n in (3, 4):
        store.sql(f"COPY (FROM images LIMIT {n}) TO '{out}'", allow_write=[out])
        assert len(out.read_text().splitlines()) == n + 1
    with pytest.raises(QueryError, match="may not reach"):
        store.sql(f"COPY images TO '{tmp_path}/other.csv'", allow_write=[out])
    with pytest.raises(QueryError, match="may not reach"):
        store.sql(f"FROM '{tmp_path}/outside.csv'", allow_write=[out])


def test_vectors_can_be_copied_to_a_folder_that_was_named(
    store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "ok").mkdir()
    (tmp_path / "okay").mkdir()
    copy = "COPY (FROM image_features) TO '{}/v.parquet'"
    store.sql(copy.format(tmp_path / "ok"), allow_write=[tmp_path / "ok"])
    read = f"SELECT len(embedding) FROM '{tmp_path}/ok/v.parquet'"
    assert set(store.sql(read, allow_read=[tmp_path / "ok"]).fetchall()) == {(8,)}
    with pytest.raises(QueryError, match="may not reach"):
        store.sql(copy.format(tmp_path / "okay"), allow_write=[tmp_path / "ok"])


@pytest.mark.parametrize(
    "query",
    [
        "COPY images TO '{f}/new.csv'",
        "WITH x AS (COPY images TO '{f}/new.csv') SELECT 1",
        "EXPLAIN ANALYZE COPY images TO '{f}/new.csv'",
        "ATTACH '{f}/new.duckdb' AS n (READ_WRITE)",
        "FROM query('WITH x AS (COPY images TO ''{f}/new.csv'') SELECT 1')",
    ],
)
def test_a_folder_to_read_cannot_be_written(
    query: str, shared_store: FeatureStore, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").write_text("a\n5\n")
    with pytest.raises(QueryError):
        shared_store.sql(query.format(f=tmp_path), allow_read=[tmp_path])
    writable = tmp_path / "w"
    writable.mkdir()
    with pytest.raises(QueryError):
        shared_store.sql(
            query.format(f=tmp_path), allow_read=[tmp_path], allow_write=[writable]
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "w"]
    read = f"SELECT a AS copy FROM '{tmp_path}/a.csv'"
    assert shared_store.sql(read, allow_read=[tmp_path]).fetchall() == [(5,)]


def test_a_link_out_of_a_folder_is_not_followed(
    store: FeatureStore, tmp_path: Path
) -> None:
    folder = tmp_path / "ok"
    folder.mkdir()
    (folder / "link.csv").symlink_to(tmp_path / "outside.csv")
    with pytest.raises(QueryError, match="may not reach"):
        store.sql(f"FROM '{folder}/link.csv'", allow_read=[folder])


def test_the_store_cannot_be_named_as_a_place_to_write(
    store: FeatureStore, tmp_path: Path
) -> None:
    inside = store.path / "out.csv"
    for target in (store.path, inside, tmp_path, store.path / "features"):
        with pytest.raises(ConfigurationError, match="would let a query overwrite"):
            store.sql("SELECT 1", allow_write=[target])
        with pytest.raises(ConfigurationError, match="would let a query overwrite"):
            store.connect(allow_write=[target])
    with pytest.raises(ConfigurationError, match="there is no"):
        store.sql("SELECT 1", allow_read=[tmp_path / "nowhere"])


def test_a_lazy_connection_is_closed_in_too(
    store: FeatureStore, tmp_path: Path
) -> None:
    import duckdb

    with store.connect() as connection:
        assert len(connection.sql("SELECT embedding FROM image_features").fetchall())
        with pytest.raises(duckdb.PermissionException):
            connection.sql(f"FROM '{tmp_path}/outside.csv'")
        with pytest.raises(duckdb.Error, match="locked"):
            connection.sql("SET enable_external_access = true")


def test_a_large_sort_spills_to_the_disk_of_the_store(store: FeatureStore) -> None:
    """Closing the file system must not close the place for intermediate results."""
    from retune.store.catalog import Catalog

    with Catalog(store.path / "catalog.duckdb").read() as connection:
        (spill_folder,) = connection.execute(
            "SELECT current_setting('temp_directory')"
        ).fetchall()[0]
    assert Path(spill_folder).parent == store.path


def test_a_word_in_a_text_is_no_statement(store: FeatureStore) -> None:
    store.sql("CREATE TABLE notes (note VARCHAR)", write=True)
    store.sql("INSERT INTO notes VALUES ('make a copy -- COPY') /* copy */", write=True)
    assert store.sql('SELECT note AS "copy" FROM notes').fetchall() == [
        ("make a copy -- COPY",)
    ]
    assert store.sql("SELECT ? AS copy", [3]).fetchall() == [(3,)]


def test_every_refusal_says_what_to_do(store: FeatureStore, tmp_path: Path) -> None:
    for query in (f"FROM '{tmp_path}/outside.csv'", f"COPY images TO '{tmp_path}/x'"):
        with pytest.raises(RetuneError) as caught:
            store.sql(query)
        assert "`allow_" in caught.value.hint
