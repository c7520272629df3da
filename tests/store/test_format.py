"""The format text is true, and a store of version 1 stays readable for ever."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from store_samples import FINDINGS, encoder, filled_store, states, vectors

from retune.store import FeatureStore, read_labelled_images, schema

_ROOT = Path(__file__).resolve().parents[2]
_TEXT = (_ROOT / "store" / "FORMAT.md").read_text(encoding="utf-8")
_KEPT = Path(__file__).with_name("store-v1")


def test_the_worked_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (example,) = re.findall(r"```python\n(.*?)```", _TEXT, re.DOTALL)
    exec(compile(example, "FORMAT.md", "exec"), {})
    assert (tmp_path / "example-store" / "retune-store.json").is_file()


def test_the_text_names_every_table_and_column(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    rows = store.sql(
        """SELECT table_name, column_name FROM duckdb_columns()
        WHERE NOT internal AND table_name != 'label_matrix'
        AND NOT contains(table_name, '_features')
        AND NOT contains(table_name, '_places')"""
    ).fetchall()
    lines = {
        line.split("`")[1]: line
        for line in _TEXT.splitlines()
        if line.startswith("| `")
    }
    assert {table for table, _ in rows} == set(schema.TABLE_NAMES)
    for table, column in rows:
        assert re.search(rf"\b{column}\b", lines[table]), f"{table}.{column}"


def test_a_store_of_version_1_is_readable(tmp_path: Path) -> None:
    shutil.copytree(_KEPT, tmp_path / "s")
    store = FeatureStore(tmp_path / "s")
    read = read_labelled_images(store, encoder().fingerprint)
    assert read.findings == FINDINGS
    np.testing.assert_array_equal(read.states, states(10))
    np.testing.assert_array_equal(read.embedding, vectors(10).astype(np.float16))
    assert not store.verify()
    assert len(store.sql("SELECT embedding FROM image_features").fetchall()) == 10


def test_files_are_for_their_owner_only(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    for path in [store.path, *store.path.rglob("*")]:
        assert path.stat().st_mode & 0o077 == 0, path
