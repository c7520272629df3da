"""Parquet files read as the CSV they might have been."""

import datetime as dt

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retune.pipeline.datasets.tables.columnar import parquet_columns, read_parquet
from retune.pipeline.datasets.tables.packed import TABLE_LIMIT_VARIABLE
from retune.store.errors import DatasetError


def test_every_type_becomes_the_text_a_csv_would_hold(tmp_path):
    file = tmp_path / "t.parquet"
    columns = {
        "text": pa.array(["01", None]),
        "large_text": pa.array(["x", None], pa.large_string()),
        "category": pa.array(["F", None]).dictionary_encode(),
        "integer": pa.array([12, None]),
        "whole_float": pa.array([123456789012.0, None]),
        "label_float": pa.array([-1.0, float("nan")], pa.float32()),
        "fraction": pa.array([0.5, None]),
        "boolean": pa.array([True, None]),
        "nothing": pa.nulls(2),
        "day": pa.array([dt.date(2020, 1, 2), None]),
        "list": pa.array([[1], None]),
    }
    pq.write_table(pa.table(columns), file)
    cells = read_parquet(file).cells.to_pylist()
    assert cells[0] == {
        "text": "01",
        "large_text": "x",
        "category": "F",
        "integer": "12",
        "whole_float": "123456789012",
        "label_float": "-1",
        "fraction": "0.5",
        "boolean": "1",
        "nothing": "",
        "day": "2020-01-02",
        "list": "(nested)",
    }
    assert {value for name, value in cells[1].items() if name != "list"} == {""}
    assert parquet_columns(file) == list(columns)


def test_places_are_rows(tmp_path):
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": ["x", "y"]}), file)
    assert read_parquet(file).places([1]) == [f"{file}, row 2"]


@pytest.mark.parametrize("read", [read_parquet, parquet_columns])
@pytest.mark.parametrize("content", [b"", b"PAR1", b"path,label\na.png,1\n"])
def test_a_damaged_file_is_a_named_error(tmp_path, read, content):
    file = tmp_path / "t.parquet"
    file.write_bytes(content)
    with pytest.raises(DatasetError, match=r"cannot read .*t\.parquet"):
        read(file)


def test_a_table_without_rows_is_an_error(tmp_path):
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": pa.array([], pa.string())}), file)
    with pytest.raises(DatasetError, match="has no rows"):
        read_parquet(file)


@pytest.mark.parametrize("as_dictionary", [False, True])
def test_a_bomb_is_refused_at_a_limit_that_can_be_raised(
    tmp_path, monkeypatch, as_dictionary
):
    file = tmp_path / "t.parquet"
    column = pa.array(["x" * 1_000] * 20_000)
    pq.write_table(
        pa.table({"a": column.dictionary_encode() if as_dictionary else column}), file
    )
    assert file.stat().st_size < 20_000
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "10000000")
    with pytest.raises(DatasetError, match="more than 10,000,000 bytes when") as caught:
        read_parquet(file)
    assert TABLE_LIMIT_VARIABLE in caught.value.hint
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "30000000")
    assert read_parquet(file).cells.num_rows == 20_000


def test_rows_of_several_batches_stay_in_order(tmp_path):
    file = tmp_path / "t.parquet"
    pq.write_table(pa.table({"a": [*map(float, range(9_000)), None]}), file)
    cells = read_parquet(file).column("a").to_pylist()
    assert cells == [*map(str, range(9_000)), ""]


def test_two_columns_of_one_name_are_an_error(tmp_path):
    file = tmp_path / "t.parquet"
    table = pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    pq.write_table(table, file)
    with pytest.raises(DatasetError, match="two columns are called 'a'"):
        read_parquet(file)
