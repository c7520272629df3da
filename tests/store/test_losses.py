"""What is lost is noticed, what is left is used, and what has a copy comes back."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from damage_samples import answers, predictions, run_of, whole_store
from store_samples import FINDINGS, images_table, states

from retune.store import FeatureStore, MetricValue, add_metrics, find_run, record_run
from retune.store.errors import (
    ConfigurationError,
    StoreCorruptError,
    StoreNotFoundError,
)
from retune.store.runs import (
    delete_run,
    read_run_names,
    read_run_tags,
    rename_run,
    tag_run,
)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return whole_store(tmp_path_factory.mktemp("losses") / "s")


@pytest.fixture
def store(sample: FeatureStore, tmp_path: Path) -> FeatureStore:
    shutil.copytree(sample.path, tmp_path / "s")
    return FeatureStore(tmp_path / "s")


#: Ends the process at a moment of a transaction, as a kill does.
_KILLED = """
import os, sys
sys.path[:0] = {paths!r}
from damage_samples import predictions, run_of
from retune.store import FeatureStore, catalog, record_run
{patch}
record_run(FeatureStore({store!r}), run_of("second"), [], predictions())
"""
_AFTER_COUNTING = """
original = catalog.set_commits
def dying(*arguments):
    original(*arguments)
    os._exit(9)
catalog.set_commits = dying
"""
_BEFORE_COUNTING = "catalog.set_commits = lambda *_: os._exit(9)"


def _killed(store: FeatureStore, patch: str) -> None:
    tests = str(Path(__file__).resolve().parents[1])
    code = _KILLED.format(paths=[tests], patch=patch, store=str(store.path))
    done = subprocess.run([sys.executable, "-c", code], check=False)
    assert done.returncode == 9


def _runs(store: FeatureStore) -> list[str]:
    rows = store.sql("SELECT run_id FROM runs ORDER BY 1").fetchall()
    return [name for (name,) in rows]


@pytest.mark.parametrize("patch", [_AFTER_COUNTING, _BEFORE_COUNTING])
def test_a_kill_loses_nothing_and_accuses_nobody(
    store: FeatureStore, patch: str
) -> None:
    _killed(store, patch)
    assert (store.path / "catalog.duckdb.wal").stat().st_size > 0
    assert not store.verify().catalog
    assert _runs(store) == ["first", "second"]


@pytest.mark.parametrize("loss", ["emptied", "gone", "cut"])
def test_the_newest_transactions_are_missed(store: FeatureStore, loss: str) -> None:
    _killed(store, _AFTER_COUNTING)
    wal = store.path / "catalog.duckdb.wal"
    if loss == "gone":
        wal.unlink()
    else:
        wal.write_bytes(b"" if loss == "emptied" else wal.read_bytes()[:200])
    with pytest.raises(StoreCorruptError, match=r"lost its newest|cannot be opened"):
        FeatureStore(store.path).sql("SELECT 1")
    assert store.verify().catalog


def test_an_older_catalog_is_noticed_and_brought_up_to_date(
    store: FeatureStore,
) -> None:
    catalog = store.path / "catalog.duckdb"
    older = catalog.read_bytes()
    record_run(store, run_of("second"), [], predictions())
    truth = answers(store)
    catalog.write_bytes(older)
    for refused in (lambda: store.sql("SELECT 1"), store.repair):
        with pytest.raises(StoreCorruptError, match="lost its newest") as caught:
            refused()
        assert "--from-copies" in caught.value.hint
    store.repair(from_copies=True)
    assert answers(store) == truth
    assert not store.verify()


@pytest.mark.parametrize("loss", ["gone", "garbage", "empty", "block"])
def test_a_lost_catalog_is_rebuilt_from_copies_and_shards(
    store: FeatureStore, loss: str
) -> None:
    truth = answers(store)
    catalog = store.path / "catalog.duckdb"
    whole = catalog.read_bytes()
    if loss == "gone":
        catalog.unlink()
    elif loss == "block":
        middle = len(whole) // 2
        catalog.write_bytes(whole[:middle] + bytes(1 << 19) + whole[middle:])
    else:
        catalog.write_bytes(b"" if loss == "empty" else b"garbage" * 4000)
    report = store.repair(from_copies=loss != "gone")
    assert report.adopted_rows == 60
    assert report.catalog == []
    assert answers(store) == truth
    assert not store.verify()
    kept = [p.name for p in (store.path / "damaged").glob("*-catalog.duckdb")]
    assert len(kept) == (0 if loss == "gone" else 1)


def test_names_tags_and_deleted_runs_are_as_they_were_in_a_rebuilt_catalog(
    store: FeatureStore,
) -> None:
    record_run(store, run_of("second"), [], predictions())
    rename_run(store, "second", "good")
    rename_run(store, "first", "bad")
    tag_run(store, "second", ["kept"])
    delete_run(store, "first")
    assert store.verify().copies_behind == 0
    (store.path / "catalog.duckdb").unlink()
    store.repair()
    assert _runs(store) == ["second"]
    assert read_run_names(store) == {"second": "good"}
    assert read_run_tags(store) == {"second": ("kept",)}
    for table in ("metrics", "predictions"):
        assert store.sql(f"FROM {table} WHERE run_id = 'first'").fetchall() == []


def test_a_table_of_the_users_own_is_copied_too(store: FeatureStore) -> None:
    store.sql("CREATE TABLE notes (note VARCHAR, n DECIMAL(9, 2)[])", write=True)
    store.sql("INSERT INTO notes VALUES ('x', [1.25, NULL])", write=True)
    rows = store.sql("FROM notes").fetchall()
    (store.path / "catalog.duckdb").unlink()
    store.repair()
    assert store.sql("FROM notes").fetchall() == rows


def test_a_whole_catalog_is_not_replaced(store: FeatureStore) -> None:
    with pytest.raises(ConfigurationError, match="is whole"):
        store.repair(from_copies=True)


def test_a_store_without_copies_says_so(store: FeatureStore) -> None:
    shutil.rmtree(store.path / "copies")
    (store.path / "catalog.duckdb").write_bytes(b"garbage" * 4000)
    with pytest.raises(ConfigurationError, match="has no copies"):
        store.repair(from_copies=True)


def test_a_damaged_copy_is_named_and_the_others_come_back(store: FeatureStore) -> None:
    index = json.loads((store.path / "copies" / "index.json").read_text())
    (part,) = [part for part in index["parts"] if part["table"] == "metrics"]
    (store.path / "copies" / part["file"]).write_bytes(b"x")
    assert any("copy of metrics" in problem for problem in store.verify().catalog)
    (store.path / "catalog.duckdb").unlink()
    (problem,) = store.repair().catalog
    assert "copy of metrics of run first (1 row)" in problem
    assert _runs(store) == ["first"]
    assert store.sql("SELECT count(*) FROM labels").fetchall() == [(120,)]


def test_repair_writes_damaged_copies_anew(store: FeatureStore) -> None:
    for path in (store.path / "copies").glob("*.parquet"):
        path.write_bytes(b"x")
    store.repair()
    assert not store.verify()
    (store.path / "copies" / "index.json").write_bytes(b"{")
    store.repair()
    assert not store.verify()


def _copied(store: FeatureStore) -> dict[tuple[str, str], str]:
    index = json.loads((store.path / "copies" / "index.json").read_text())
    files = {(p["table"], p["run_id"]): p["file"] for p in index["parts"]}
    on_disk = {path.name for path in (store.path / "copies").glob("*.parquet")}
    assert set(files.values()) == on_disk
    return files


def test_only_what_changed_is_copied(store: FeatureStore) -> None:
    before = _copied(store)
    record_run(store, run_of("second"), [], predictions())
    after = _copied(store)
    assert {key for key in after if after[key] != before.get(key)} == {
        ("runs", "second"),
        ("predictions", "second"),
    }
    add_metrics(store, "first", [MetricValue(1, "e/test", None, "auroc", 0.5)])
    last = _copied(store)
    assert {key for key in last if last[key] != after.get(key)} == {
        ("metrics", "first")
    }
    with store.writer("ingest") as writer:
        writer.replace_dataset(
            images_table(3, "e"), FINDINGS, states(3), dataset="e", layout="table",
            root=store.path.parent, split_seed=0,
        )  # fmt: skip
    changed = {key[0] for key, file in _copied(store).items() if last.get(key) != file}
    assert changed == {
        "datasets", "dataset_findings", "images", "labels", "label_versions"
    }  # fmt: skip


def test_a_folder_of_shards_that_is_gone_stops_writers(
    store: FeatureStore, tmp_path: Path
) -> None:
    truth = answers(store)
    for gone in (store.path / "features", next((store.path / "features").iterdir())):
        gone.rename(tmp_path / "elsewhere")
        with (
            pytest.raises(StoreNotFoundError, match="is gone") as caught,
            store.writer("ingest"),
        ):
            pass
        assert "mounted" in caught.value.hint
        with pytest.raises(StoreNotFoundError, match="is gone"):
            store.repair()
        assert store.verify().missing_folders
        gone.mkdir(exist_ok=True)  # an empty mount point is left behind
        if gone.name == "features":
            with (
                pytest.raises(StoreNotFoundError, match="is gone"),
                store.writer("ingest"),
            ):
                pass
        gone.rmdir()
        (tmp_path / "elsewhere").rename(gone)
    assert answers(store) == truth
    shutil.rmtree(store.path / "features")
    assert store.repair(drop_missing=True).dropped_rows == 60
    assert not store.verify()


@pytest.mark.parametrize("name", ["{}.bak", "copy of {}", "0123456789abcdef"])
def test_a_copied_folder_of_shards_drops_nothing(
    store: FeatureStore, name: str
) -> None:
    truth = answers(store)
    folder = next((store.path / "features").iterdir())
    shutil.copytree(folder, folder.with_name(name.format(folder.name)))
    assert store.repair().dropped_rows == 0
    with store.writer("ingest"):
        pass
    assert answers(store) == truth


def test_a_folder_with_the_name_of_a_leftover_is_left_alone(
    store: FeatureStore,
) -> None:
    for folder in (store.path, store.path / "features"):
        (folder / ".tmp-x").mkdir()
        (folder / ".tmp-x" / "thesis.tex").write_text("x")
    assert not store.verify()
    store.repair()
    with store.writer("ingest"):
        pass
    assert (store.path / ".tmp-x" / "thesis.tex").exists()


def test_a_reader_does_not_cost_a_finished_run_its_figures(
    store: FeatureStore,
) -> None:
    path = str(store.path / "catalog.duckdb")
    reader = subprocess.Popen(
        [
            sys.executable, "-c",
            f"import duckdb; c = duckdb.connect({path!r}, read_only=True); "
            "print('open', flush=True); input()",
        ],
        stdout=subprocess.PIPE, stdin=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert reader.stdout is not None
    assert reader.stdout.readline() == "open\n"
    store.catalog.patience_seconds = 0.05
    figures = [MetricValue(1, "test", None, "auroc", 0.5)]
    record_run(store, run_of("second"), figures, predictions())
    assert not store.verify()
    assert find_run(store, "first").run_id == "first"
    reader.communicate("\n")
    assert find_run(store, "second") == run_of("second")
    assert store.sql("SELECT count(*) FROM predictions").fetchall() == [(120,)]
    assert not list((store.path / "pending").iterdir())


def test_a_kept_run_is_entered_once_and_a_damaged_one_is_named(
    store: FeatureStore,
) -> None:
    from retune.store.changes.pending_runs import find_pending, keep_run, read_pending

    tables = (
        store.sql("FROM runs").to_arrow_table(),
        store.sql("FROM metrics").to_arrow_table(),
        store.sql("FROM predictions").to_arrow_table(),
    )
    path = keep_run(store.path, "first", tables)
    assert read_pending(path)[2].equals(tables[2])
    with store.writer("ingest"):
        pass
    assert _runs(store) == ["first"]
    assert find_pending(store.path) == []
    keep_run(store.path, "third", tables)
    path.with_name("third.run").write_bytes(b"x" * 400)
    assert any("waits to be entered" in line for line in store.verify().catalog)
    with store.writer("ingest"):
        pass
    assert path.with_name("third.run").exists()
