"""Packed tables: whole or refused, and never larger than the limit."""

import gzip
import os
import random
import subprocess
import sys

import pytest

from retune.pipeline.datasets.contract import TableOptions
from retune.pipeline.datasets.layouts import read_layout
from retune.pipeline.datasets.tables.delimited import read_csv, read_header
from retune.pipeline.datasets.tables.packed import TABLE_LIMIT_VARIABLE, read_file
from retune.store.errors import ConfigurationError, DatasetError

LINES = b"a,b\n" + b"".join(
    b"%d,%d\n" % (i, random.Random(i).getrandbits(64)) for i in range(20_000)
)


@pytest.fixture
def packed(tmp_path):
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(LINES))
    return file


def test_a_packed_table_reads_as_the_plain_one(packed, tmp_path):
    plain = tmp_path / "t.csv"
    plain.write_bytes(LINES)
    assert read_csv(packed).cells == read_csv(plain).cells
    assert read_header(packed) == ["a", "b"]
    assert read_csv(packed).places([1]) == [f"{packed}, line 3"]


def test_several_packed_parts_in_one_file_are_all_read(tmp_path):
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(b"a\n1\n") + gzip.compress(b"2\n"))
    assert read_csv(file).column("a").to_pylist() == ["1", "2"]


def test_a_cut_off_file_names_the_line_up_to_which_it_can_be_read(packed):
    content = packed.read_bytes()
    packed.write_bytes(content[: len(content) // 2])
    with pytest.raises(
        DatasetError, match=r"line \d+: the gzip file is .*cut off"
    ) as e:
        read_csv(packed)
    line = int(e.value.message.split("line ")[1].split(":")[0])
    assert 5_000 < line < 15_000
    assert str(packed) in e.value.message


def test_a_damaged_file_is_named(packed):
    content = bytearray(packed.read_bytes())
    content[len(content) // 2] ^= 0xFF
    packed.write_bytes(content)
    with pytest.raises(DatasetError, match=r"line \d+: the gzip file is damaged"):
        read_csv(packed)


def test_what_only_calls_itself_packed_is_named(tmp_path):
    file = tmp_path / "t.csv.gz"
    file.write_bytes(LINES)
    with pytest.raises(DatasetError, match="line 1: the gzip file is damaged"):
        read_csv(file)


def test_a_bomb_is_refused_at_a_limit_that_can_be_raised(tmp_path, monkeypatch):
    file = tmp_path / "t.csv.gz"
    file.write_bytes(gzip.compress(b"a,b\n" + b"1,2\n" * 500_000))
    assert file.stat().st_size < 10_000
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "1000000")
    with pytest.raises(DatasetError, match="more than 1,000,000 bytes when") as caught:
        read_csv(file)
    assert TABLE_LIMIT_VARIABLE in caught.value.hint
    assert read_header(file) == ["a", "b"]
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "10000000")
    assert read_csv(file).cells.num_rows == 500_000


def test_a_file_of_exactly_the_limit_is_read(tmp_path, monkeypatch):
    file = tmp_path / "t.csv"
    file.write_bytes(b"a\n1\n")
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "4")
    assert read_file(file) == b"a\n1\n"
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, "3")
    with pytest.raises(DatasetError, match="more than 3 bytes"):
        read_file(file)


@pytest.mark.parametrize("given", ["", "0", "-1", "1e9", "many", "٣"])
def test_a_limit_that_is_no_number_is_refused(tmp_path, monkeypatch, given):
    monkeypatch.setenv(TABLE_LIMIT_VARIABLE, given)
    with pytest.raises(ConfigurationError, match=TABLE_LIMIT_VARIABLE):
        read_file(tmp_path / "t.csv")


@pytest.mark.parametrize("name", ["t.csv", "t.csv.gz", "t.parquet"])
def test_a_pipe_or_a_device_is_no_table(tmp_path, name):
    os.mkfifo(tmp_path / name)
    options = TableOptions(file=name)
    with pytest.raises(DatasetError, match="it is no regular file"):
        read_layout("table", tmp_path, options)
    (tmp_path / name).unlink()
    (tmp_path / name).symlink_to("/dev/zero")
    with pytest.raises(DatasetError, match="it is no regular file"):
        read_layout("table", tmp_path, options)


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_a_sparse_file_is_refused_before_it_is_read(tmp_path, name):
    with (tmp_path / name).open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(DatasetError, match="has more than 2,147,483,648 bytes"):
        read_layout("table", tmp_path, TableOptions(file=name))


def test_what_packs_better_than_any_table_stops_at_a_stated_size(tmp_path):
    file = tmp_path / "t.csv.gz"
    line = b"a.png,1,1\n"
    file.write_bytes(gzip.compress(b"path,patient_id,Edema\n" + line * 8_000_000))
    with pytest.raises(DatasetError, match=r"unpacks to more than 67,108,864 bytes"):
        read_csv(file)


def test_memory_stays_below_six_times_the_table(tmp_path):
    # Large, so that what pyarrow and its threads take once is a small part.
    file = tmp_path / "t.csv"
    file.write_bytes(b"a,b,c,d\n" + b"1,0,1,0\n" * 9_000_000)
    code = (
        "import re, sys; from pathlib import Path;"
        "from retune.pipeline.datasets.tables.delimited import read_csv;"
        # `ru_maxrss` would count the process that started this one as well.
        "status = lambda: Path('/proc/self/status').read_text();"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', status())[1]);"
        "before = peak(); read_csv(Path(sys.argv[1])); print(peak() - before)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(file)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert 2 * file.stat().st_size < int(done.stdout) * 1024 < 6 * file.stat().st_size
