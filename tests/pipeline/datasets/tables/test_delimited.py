"""CSV as text: what is read, and which line is blamed for what cannot be."""

import csv
import io
from pathlib import Path

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from retune.pipeline.datasets.tables.delimited import join_places, read_csv, read_header
from retune.store.errors import DatasetError


def write(folder: Path, content: bytes, name: str = "t.csv") -> Path:
    file = folder / name
    file.write_bytes(content)
    return file


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"a,b\n01,x\n2,\n", id="plain"),
        pytest.param(b"\xef\xbb\xbfa,b\n01,x\n2,\n", id="BOM"),
        pytest.param(b"a,b\r\n01,x\r\n2,\r\n", id="CRLF"),
        pytest.param(b"a,b\r01,x\r2,\r", id="CR"),
        pytest.param(b"a,b\n01,x\n2,", id="no newline at the end"),
        pytest.param(b'"a","b"\n"01","x"\n"2",""\n', id="quotes"),
        pytest.param(b"\n\na,b\n\n01,x\n\n2,\n", id="blank lines"),
        pytest.param(b" a , b\n01,x\n2,\n", id="blanks around names"),
        pytest.param(b"a,b,\n01,x,\n2,,\n", id="trailing comma"),
        pytest.param(b",a,b\n0,01,x\n1,2,\n", id="unnamed index"),
    ],
)
def test_every_cell_is_text_however_the_file_is_written(tmp_path, content):
    table = read_csv(write(tmp_path, content))
    assert table.cells.to_pydict() == {"a": ["01", "2"], "b": ["x", ""]}


def test_nothing_is_taken_for_a_missing_value(tmp_path):
    table = read_csv(write(tmp_path, b"a\nNA\nnull\nnan\n0.10\n"))
    assert table.column("a").to_pylist() == ["NA", "null", "nan", "0.10"]


def test_quoted_commas_quotes_and_line_breaks_are_part_of_the_cell(tmp_path):
    table = read_csv(write(tmp_path, b'a,b\n"x, ""y""\nz",1\nw,2\n'))
    assert table.column("a").to_pylist() == ['x, "y"\nz', "w"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", r"t\.csv is empty", id="empty"),
        pytest.param(b" \n\n", r"t\.csv is empty", id="only blanks"),
        pytest.param(b"\xef\xbb\xbf", r"t\.csv is empty", id="only a BOM"),
        pytest.param(b"a,b\n", r"column names but no rows", id="header only"),
        pytest.param(b"a,b", r"column names but no rows", id="header, no newline"),
        pytest.param(b",\n1,2\n", r"line 1: no column has a name", id="no names"),
        pytest.param(b"a,a\n1,2\n", r"line 1: two columns are called 'a'", id="twice"),
        pytest.param(b"a,b\n1,2\n3\n", r"line 3: 1 fields, not 2", id="too few"),
        pytest.param(b"a,b\n1,2,3\n", r"line 2: 3 fields, not 2", id="too many"),
        pytest.param(b'a,b\n"1\n2",3\n\n4\n', r"line 5: 1 fields", id="after breaks"),
        pytest.param(b"a,b\r\n1,2\r\n3\r\n", r"line 3: 1 fields", id="CRLF"),
        pytest.param(b"a,b\n1,caf\xe9\n", r"line 2: the byte 0xe9", id="Latin-1"),
        pytest.param(b"a,b\r1,2\r3,\xe9\r", r"line 3: the byte 0xe9", id="Latin-1, CR"),
        pytest.param("a,b\n1,2\n".encode("utf-16"), r"line 1: the byte", id="UTF-16"),
        pytest.param(b"a;b\n1;2\n", r"line 1: .* separated by ';'", id="semicolon"),
        pytest.param(b"a\tb\n1\t2\n", r"line 1: .* separated by", id="tab"),
        pytest.param(
            b"a,b\n1," + b"x" * 10_000_000 + b"\n",
            r"line 2: .*131,072",
            id="10 MB cell",
        ),
        pytest.param(b'a,b\n1,2\n3,"4\n5,6\n', r"line 3: cannot read", id="open quote"),
        pytest.param(b'a,b\n1,"2\n3,"4\n', r"line 2: cannot read", id="merged rows"),
        pytest.param(
            b"a,b\n1," + b"x" * 10_000_000 + b",3\n", r"line 2: cannot", id="10 MB line"
        ),
    ],
)
def test_unreadable_tables_name_file_and_line(tmp_path, content, message):
    with pytest.raises(DatasetError, match=message) as caught:
        read_csv(write(tmp_path, content))
    assert str(tmp_path / "t.csv") in caught.value.message
    assert caught.value.hint


def test_an_unclosed_quote_never_swallows_rows_in_silence(tmp_path):
    """The last column is where a lenient parser reads on to the end of the file."""
    rows = b"".join(b"%d,x\n" % i for i in range(100))
    with pytest.raises(DatasetError, match="line 2: "):
        read_csv(write(tmp_path, b'a,b\n0,"x\n' + rows))


def test_a_missing_file_and_a_folder_are_errors(tmp_path):
    with pytest.raises(DatasetError, match=r"cannot read .*No such file"):
        read_csv(tmp_path / "absent.csv")
    with pytest.raises(DatasetError, match=r"cannot read .*directory"):
        read_csv(tmp_path)
    with pytest.raises(DatasetError, match="cannot read "):
        read_header(tmp_path / "absent.csv")


def test_a_missing_column_is_named_beside_those_that_are_there(tmp_path):
    table = read_csv(write(tmp_path, b"a,b\n1,2\n"))
    table.require(["a"])
    with pytest.raises(DatasetError, match=r"no column 'c'; the columns are 'a', 'b'"):
        table.require(["a", "c"])


def test_header_is_read_without_the_rest(tmp_path):
    content = b'a,"b, c"\n' + b"1,2\n" * 100_000 + b"\xff"
    assert read_header(write(tmp_path, content)) == ["a", "b, c"]


def test_header_of_a_file_without_newline(tmp_path):
    assert read_header(write(tmp_path, b"a,b")) == ["a", "b"]


def test_places_count_lines_of_the_file_not_rows(tmp_path):
    table = read_csv(write(tmp_path, b'a,b\n"1\n1",x\n\n2,y\n3,z\n'))
    lines = [place_text.rsplit(", ", 1)[1] for place_text in table.places([2, 0, 1])]
    assert lines == ["line 6", "line 2", "line 5"]


def test_places_of_joined_tables_name_each_rows_own_file(tmp_path):
    one = read_csv(write(tmp_path, b"a\n1\n2\n", "one.csv"))
    two = read_csv(write(tmp_path, b"a\n3\n", "two.csv"))
    places = join_places([one, two])([2, 0])
    assert places == [f"{two.file}, line 2", f"{one.file}, line 2"]


_CELL = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)),
    max_size=8,
)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(
    rows=st.lists(st.tuples(_CELL, _CELL), min_size=1, max_size=12),
    line_end=st.sampled_from(["\n", "\r\n"]),
    bom=st.booleans(),
)
def test_any_table_that_csv_writes_is_read_back(tmp_path, rows, line_end, bom):
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator=line_end, quoting=csv.QUOTE_ALL)
    writer.writerows([("a", "b"), *rows])
    content = stream.getvalue().encode("utf-8-sig" if bom else "utf-8")
    table = read_csv(write(tmp_path, content))
    assert list(zip(*table.cells.to_pydict().values(), strict=True)) == rows
    assert not any(pc.any(pc.is_null(c)).as_py() for c in table.cells.columns)


@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=60,
)
@given(content=st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_named_error(tmp_path, content):
    file = write(tmp_path, content)
    try:
        sound = read_csv(file).cells.num_rows > 0
    except DatasetError as error:
        sound = str(file) in error.message
    assert sound
