"""The store as its users see it: SQL, views, arrays, and clear refusals."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
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

from retune.store import (
    FeatureStore,
    ItemFailure,
    choose_encoder,
    read_descriptions,
    read_labelled_images,
    read_vectors,
)
from retune.store.errors import (
    ConfigurationError,
    QueryError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from retune.store.label_states import ABSENT, STATE_NAMES, UNLABELLED


def test_sql_gives_arrow_pandas_and_numpy(tmp_path: Path) -> None:
    relation = filled_store(tmp_path / "s").sql("SELECT image_id FROM images")
    assert len(relation.to_arrow_table()) == 10
    assert len(relation.df()) == 10
    assert len(relation.fetchnumpy()["image_id"]) == 10


def test_an_answer_outlives_its_store_object(tmp_path: Path) -> None:
    filled_store(tmp_path / "s")
    relation = FeatureStore(tmp_path / "s").sql("SELECT 1 AS one")
    assert relation.filter("one = 1").fetchall() == [(1,)]


def test_embedding_is_a_fixed_array_with_the_stored_values(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    rows = store.sql(
        """SELECT image_id, typeof(embedding), embedding FROM image_features
        ORDER BY image_id"""
    ).fetchall()
    assert {column_type for _, column_type, _ in rows} == {"FLOAT[8]"}
    values = np.array([value for _, _, value in rows])
    np.testing.assert_array_equal(values, vectors(10).astype(np.float16))


def test_nearest_neighbours_in_sql(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    rows = store.sql(
        """SELECT b.image_id FROM image_features a, image_features b
        WHERE a.image_id = 'd/0003.png'
        ORDER BY array_cosine_similarity(a.embedding, b.embedding) DESC LIMIT 3"""
    ).fetchall()
    assert rows[0] == ("d/0003.png",)


def test_embeddings_are_read_only_for_rows_that_survive_the_filter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled_store(tmp_path / "s")
    gathered = []
    from retune.store.vectors.reader import VectorReader

    original = VectorReader.gather

    def counting(
        self: VectorReader,
        ids: list[str],
        shards: np.ndarray,
        rows: np.ndarray,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        gathered.append(len(rows))
        return original(self, ids, shards, rows, out)

    monkeypatch.setattr(VectorReader, "gather", counting)
    assert store.sql("SELECT count(*) FROM image_features").fetchall() == [(10,)]
    assert gathered == []
    store.sql("SELECT embedding FROM image_features WHERE age >= 8")
    assert sum(gathered) == 2


def test_encoders_of_two_dimensions_are_both_visible(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    names = images_table(4)["image_id"].to_pylist()
    with store.writer("test") as writer:
        add_vectors(store, names, writer=writer, writer_dim=5)
    rows = store.sql(
        """SELECT typeof(embedding), len(embedding), count(*) FROM image_features
        GROUP BY ALL ORDER BY 2"""
    ).fetchall()
    assert rows == [("FLOAT[]", 5, 4), ("FLOAT[]", 8, 10)]
    assert store.sql(
        "SELECT DISTINCT typeof(embedding) FROM image_features_5"
    ).fetchall() == [("FLOAT[5]",)]


def test_the_views_exist_in_an_empty_store(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    for view in ("image_features", "text_features", "label_matrix", "metrics"):
        assert store.sql(f"FROM {view}").fetchall() == []


def test_the_label_matrix_has_a_column_per_finding(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    table = store.sql("FROM label_matrix ORDER BY image_id").to_arrow_table()
    assert table.column_names == ["image_id", *FINDINGS]
    matrix = np.array(
        [
            [ABSENT if v is None else v for v in table[name].to_pylist()]
            for name in FINDINGS
        ]
    ).T
    np.testing.assert_array_equal(matrix, states(10))


def test_a_finding_may_have_any_name(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    odd = ('it\'s "odd"; DROP TABLE images', "β")
    with store.writer("test") as writer:
        writer.replace_dataset(
            images_table(3), odd, states(3), dataset="d", layout="table",
            root=tmp_path, split_seed=0,
        )  # fmt: skip
    assert tuple(store.sql("FROM label_matrix").columns[1:]) == odd
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(3,)]


def test_queries_are_read_only_unless_asked(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with pytest.raises(QueryError, match="would change") as caught:
        store.sql("DELETE FROM images")
    assert "`write`" in caught.value.hint
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(10,)]
    store.sql("CREATE TABLE notes (note VARCHAR)", write=True)
    store.sql("INSERT INTO notes VALUES ('x')", write=True)
    assert store.sql("FROM notes").fetchall() == [("x",)]


def test_a_syntax_error_is_a_query_error_that_lists_tables(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with pytest.raises(QueryError, match="syntax error") as caught:
        store.sql("SELEC 1")
    assert "image_features" in caught.value.hint
    with pytest.raises(QueryError, match="does not exist"):
        store.sql("SELECT * FROM nothing")


def test_no_store_a_newer_store_and_a_damaged_marker(tmp_path: Path) -> None:
    with pytest.raises(StoreNotFoundError, match="no feature store") as caught:
        FeatureStore(tmp_path / "nowhere")
    assert "`store`" in caught.value.hint
    filled_store(tmp_path / "s")
    marker = tmp_path / "s" / "retune-store.json"
    content = json.loads(marker.read_text())
    marker.write_text(json.dumps(content | {"version": 2}))
    with pytest.raises(StoreVersionError, match="has format 2"):
        FeatureStore(tmp_path / "s")
    for text in ("", "[]", '{"format": "x", "version": 1}', '{"version": "y"}'):
        marker.write_text(text)
        with pytest.raises(StoreCorruptError):
            FeatureStore(tmp_path / "s")


def test_a_store_is_not_made_in_a_folder_with_other_things(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(StoreWriteError, match=r"thesis\.tex"):
        FeatureStore.create(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreWriteError):
        FeatureStore.create(tmp_path / "file")


def test_a_damaged_or_missing_catalog_is_named(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    catalog = tmp_path / "s" / "catalog.duckdb"
    catalog.write_bytes(b"garbage" * 1000)
    with pytest.raises(StoreCorruptError, match="cannot be opened") as caught:
        store.sql("SELECT 1")
    assert "repair" in caught.value.hint
    catalog.unlink()
    with pytest.raises(StoreNotFoundError, match="no catalog"):
        store.sql("SELECT 1")


def test_a_missing_shard_is_named_by_the_query(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    next((tmp_path / "s").rglob("*.h5")).unlink()
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(10,)]
    with pytest.raises(QueryError, match="missing"):
        store.sql("SELECT embedding FROM image_features")


def test_reading_arrays_for_training(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    chosen = choose_encoder(store)
    assert (chosen.dim, chosen.n_images, chosen.n_descriptions) == (8, 10, 0)
    read = read_labelled_images(store, chosen.fingerprint, where="age BETWEEN 2 AND 5")
    assert read.images["image_id"].to_pylist() == [
        f"d/{i:04d}.png" for i in range(2, 6)
    ]
    assert read.findings == FINDINGS
    np.testing.assert_array_equal(read.states, states(10)[2:6])
    np.testing.assert_array_equal(read.embedding, vectors(10).astype("f2")[2:6])


def test_a_finding_that_a_dataset_does_not_label_is_unlabelled(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    names = images_table(4, "e")["image_id"].to_pylist()
    with store.writer("test") as writer:
        writer.replace_dataset(
            images_table(4, "e"), ("Hernia",), states(4)[:, :1], dataset="e",
            layout="table", root=tmp_path, split_seed=0,
        )  # fmt: skip
        add_vectors(store, names, writer=writer, seed=1)
    read = read_labelled_images(store, encoder().fingerprint)
    assert set(read.findings) == {*FINDINGS, "Hernia"}
    assert (read.states[:10, read.findings.index("Hernia")] == UNLABELLED).all()
    only = read_labelled_images(store, encoder().fingerprint, datasets=["e"])
    assert only.findings == ("Hernia",)


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"where": "age >"}, QueryError, "`where`"),
        ({"where": "age > 1000"}, ConfigurationError, "no image"),
        ({"datasets": ["x"]}, ConfigurationError, "no dataset x; it has: d"),
    ],
)
def test_choices_that_leave_nothing(
    tmp_path: Path, arguments: dict[str, object], error: type[Exception], said: str
) -> None:
    store = filled_store(tmp_path / "s")
    with pytest.raises(error, match=said):
        read_labelled_images(store, encoder().fingerprint, **arguments)  # type: ignore[arg-type]  # by name


def test_encoders_are_never_mixed_silently(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    with pytest.raises(ConfigurationError, match="no embeddings yet"):
        choose_encoder(store)
    store = filled_store(tmp_path / "t")
    with store.writer("test") as writer:
        add_vectors(store, ["d/0000.png"], writer=writer, writer_dim=5)
    with pytest.raises(ConfigurationError, match="several encoders"):
        choose_encoder(store)
    with pytest.raises(ConfigurationError, match="no encoder of the store fits"):
        choose_encoder(store, backbone="other")
    assert choose_encoder(store, fingerprint=encoder(5).fingerprint[:6]).dim == 5


def test_descriptions_come_with_vectors_or_not_at_all(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    texts = ["edema", "no edema", "mass"]
    rows = {
        "description_id": ["1", "2", "3"],
        "set_name": ["s"] * 3,
        "finding": ["Edema", "Edema", "Mass"],
        "polarity": ["positive", "negative", "positive"],
        "text": texts,
        "text_digest": digests(texts),
    }
    with store.writer("test") as writer:
        assert writer.add_descriptions(pa.table(rows)) == 3
        assert writer.add_descriptions(pa.table(rows)) == 0
        writer.publish(encoder(), "text", digests(texts), vectors(3))
    read = read_descriptions(store, encoder().fingerprint, "s", ["Edema"])
    assert read.finding == ("Edema", "Edema")
    assert read.positive.tolist() == [False, True]
    with pytest.raises(ConfigurationError, match=r"no encoded sentence .*Mass \(neg"):
        read_descriptions(store, encoder().fingerprint, "s", ["Edema", "Mass"])
    assert store.sql("SELECT count(*) FROM text_features").fetchall() == [(3,)]


def test_all_vectors_come_back_with_their_keys(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s", n_images=50)
    keys, read = read_vectors(store, encoder().fingerprint)
    expected = dict(
        zip(digests(images_table(50)["image_id"].to_pylist()), vectors(50), strict=True)
    )
    for key, row in zip(keys.astype(str).tolist(), read, strict=True):
        np.testing.assert_array_equal(row, expected[key].astype("f2"))


def test_a_shard_of_which_some_rows_count_gives_only_these(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with store.writer("test") as writer:
        add_vectors(store, ["d/0000.png", "new"], writer=writer, seed=9)
    keys, read = read_vectors(store, encoder().fingerprint)
    assert len(keys) == len(read) == 11
    row = keys.astype(str).tolist().index(digests(["new"])[0])
    np.testing.assert_array_equal(read[row], vectors(2, seed=9)[1].astype("f2"))
    first = keys.astype(str).tolist().index(digests(["d/0000.png"])[0])
    np.testing.assert_array_equal(read[first], vectors(10)[0].astype("f2"))


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
def test_reading_a_damaged_store_whole_is_an_error(tmp_path: Path, damage: str) -> None:
    store = filled_store(tmp_path / "s", n_images=3000)
    shard = next(store.path.rglob("*.h5"))
    content = shard.read_bytes()
    if damage == "gone":
        shard.unlink()
    else:
        shard.write_bytes(content[:6000] if damage == "cut" else content[::-1])
    with pytest.raises(StoreCorruptError, match=shard.name):
        read_vectors(store, encoder().fingerprint)


def test_content_known_once_is_stored_once(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with store.writer("test") as writer:
        add_vectors(store, ["d/0000.png", "new"], writer=writer, seed=9)
    assert store.sql(
        "SELECT count(*), count(DISTINCT item_id) FROM features"
    ).fetchall() == [(11, 11)]


def test_re_ingest_follows_the_table_and_keeps_what_is_known(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with store.writer("test") as writer:
        change = writer.replace_dataset(
            images_table(12).slice(2), FINDINGS, states(12, 1)[2:], dataset="d",
            layout="table", root=tmp_path, split_seed=0,
        )  # fmt: skip
    assert (change.n_images, change.added, change.removed) == (10, 2, 2)
    assert store.sql(
        "SELECT count(*), count(content_digest) FROM images"
    ).fetchall() == [(10, 8)]
    assert store.sql("SELECT count(*) FROM labels").fetchall() == [(20,)]
    first = store.sql(
        "SELECT state FROM labels WHERE image_id = 'd/0002.png' AND finding = 'Edema'"
    ).fetchall()
    assert first == [(STATE_NAMES[int(states(12, 1)[2, 0])],)]


def test_a_dataset_is_not_overwritten_by_another_of_its_name(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    arguments = (images_table(3), FINDINGS, states(3))
    options = {"dataset": "d", "layout": "table", "split_seed": 0}
    with store.writer("test") as writer:
        with pytest.raises(ConfigurationError, match="already has a dataset 'd'") as e:
            writer.replace_dataset(*arguments, root=tmp_path / "other", **options)  # type: ignore[arg-type]  # by name
        assert "`dataset`" in e.value.hint
        writer.replace_dataset(
            *arguments, root=tmp_path / "other", moved=True, **options
        )  # type: ignore[arg-type]  # by name


def test_failures_count_attempts(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    failure = ItemFailure("d/0001.png", "/x/1.png", "decode", "bad", "ab")
    for _ in range(2):
        with store.writer("test") as writer:
            writer.note([], [failure])
    assert store.sql("SELECT attempt, error FROM failures ORDER BY 1").fetchall() == [
        (1, "bad"),
        (2, "bad"),
    ]


def test_a_second_writer_is_told_who_writes(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    with (
        store.writer("embed"),
        pytest.raises(StoreBusyError, match=f"embed .process {os.getpid()} "),
        store.writer("ingest"),
    ):
        pass


def test_a_second_writer_is_told_the_whole_command_and_nothing_of_it_stays(
    tmp_path: Path,
) -> None:
    store = filled_store(tmp_path / "s")
    holder = _python(
        "from retune.store import FeatureStore\n"
        f"s = FeatureStore({str(store.path)!r})\n"
        "with s.writer('forget'): print('held', flush=True); input()  # patient-17"
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    with pytest.raises(StoreBusyError) as caught, store.writer("embed"):
        pass
    assert f"forget (process {holder.pid} on {socket.gethostname()}" in str(
        caught.value
    )
    assert "# patient-17" in str(caught.value)
    assert b"patient-17" not in (store.path / "writer.lock").read_bytes()
    holder.communicate("\n")
    assert (store.path / "writer.lock").read_bytes() == b""


def _python(code: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
    )


def test_a_reader_in_another_process_delays_but_does_not_lose_a_commit(
    tmp_path: Path,
) -> None:
    store = filled_store(tmp_path / "s")
    path = str(tmp_path / "s" / "catalog.duckdb")
    reader = _python(
        f"import duckdb; c = duckdb.connect({path!r}, read_only=True); "
        "print('open', flush=True); input(); c.close()"
    )
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    with store.writer("test") as writer:
        writer.publish(encoder(), "image", digests(["late"]), vectors(1))
        assert writer.commit(patience_seconds=0.05) is False
        assert store.sql("SELECT count(*) FROM features").fetchall() == [(10,)]
        reader.communicate("\n")
        assert writer.commit() is True
    assert store.sql("SELECT count(*) FROM features").fetchall() == [(11,)]


def test_a_writer_in_another_process_makes_a_reader_wait(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    path = str(tmp_path / "s" / "catalog.duckdb")
    holder = _python(
        f"import duckdb; c = duckdb.connect({path!r}); "
        "print('open', flush=True); input()"
    )
    assert holder.stdout is not None
    assert holder.stdout.readline() == "open\n"
    store.catalog.patience_seconds = 0.05
    with pytest.raises(StoreBusyError, match="held by another process"):
        store.sql("SELECT 1")
    holder.communicate("\n")
    store.catalog.patience_seconds = 30
    assert store.sql("SELECT 1").fetchall() == [(1,)]


def test_one_process_cannot_read_lazily_and_write(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    connection = store.connect()
    with pytest.raises(StoreBusyError, match="another mode") as caught:
        store.sql("CREATE TABLE t (a INT)", write=True)
    assert "connect()" in caught.value.hint
    connection.close()


def test_a_catalog_changed_by_hand_is_explained(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    store.sql("DROP TABLE encoders", write=True)
    with pytest.raises(StoreCorruptError, match="lacks what format 1 requires"):
        store.sql("SELECT 1")


def test_a_key_in_two_shards_of_one_commit_has_one_row(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    values = vectors(4)
    with store.writer("test") as writer:
        writer.publish(encoder(), "image", digests(["a", "b"]), values[:2])
        writer.publish(encoder(), "image", digests(["b", "c"]), values[2:])
        writer.publish(encoder(), "text", digests(["b"]), values[:1])
        writer.commit()
    rows = store.sql(
        """SELECT features.modality, item_id, shards.rowid, row FROM features
        JOIN shards USING (shard_id) ORDER BY ALL"""
    ).fetchall()
    a, b, c = digests(["a", "b", "c"])
    expected = [("image", a, 0, 0), ("image", b, 0, 1), ("image", c, 1, 1)]
    assert sorted(rows) == sorted([*expected, ("text", b, 2, 0)])


def test_a_full_disk_while_committing_is_a_write_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = filled_store(tmp_path / "s")

    def full(*_: object) -> None:
        raise duckdb.IOException("No space left on device")

    def publish_on_a_full_disk() -> None:
        with store.writer("test") as writer:
            writer.publish(encoder(), "image", digests(["late"]), vectors(1))
            monkeypatch.setattr("retune.store.changes.writer.insert_shards", full)

    with pytest.raises(StoreWriteError, match="No space left"):
        publish_on_a_full_disk()
    monkeypatch.undo()
    assert store.sql("SELECT count(*) FROM features").fetchall() == [(10,)]
    with store.writer("next"):  # what was published is adopted
        pass
    assert store.sql("SELECT count(*) FROM features").fetchall() == [(11,)]


def test_images_of_another_dataset_are_refused_not_lost(tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "s")
    images = pa.table({"image_id": ["d/a"], "dataset": ["d"]})
    with store.writer("test") as writer, pytest.raises(StoreError, match="not of"):
        writer.replace_dataset(
            images, ["Edema"], np.zeros((1, 1), dtype=np.int8), dataset="e",
            layout="table", root=tmp_path, split_seed=0,
        )  # fmt: skip
