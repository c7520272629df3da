"""A stranger's HDF5 file may end the process that opens it, never this one."""

import random
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from retune.pipeline.exchange.contract import ColumnNames
from retune.pipeline.exchange.readers import hdf5
from retune.pipeline.exchange.readers.hdf5 import Hdf5Table
from retune.store.errors import ConfigurationError, DatasetError

_N, _D = 6, 4


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as made:
        made["x"] = np.arange(_N * _D, dtype="<f4").reshape(_N, _D)
        made["id"] = [f"{n}.png" for n in range(_N)]
        made["note"] = h5py.Empty("f4")
    return path


def _read(path: Path) -> tuple[np.ndarray, list[str]]:
    table = Hdf5Table(path, ColumnNames())
    ids = table.ids()
    vectors = [block.vectors for block in table.blocks()]
    return np.concatenate(vectors), [] if ids is None else ids.to_pylist()


def test_what_another_process_reads_is_the_file(file: Path) -> None:
    vectors, ids = _read(file)
    assert vectors.ravel().tolist() == list(range(_N * _D))
    assert ids == [f"{n}.png" for n in range(_N)]


def test_flipped_bits_never_end_this_process(file: Path) -> None:
    whole = file.read_bytes()
    drawn = random.Random(3)
    # Types, spaces and the heap of texts stand before the vectors.
    for offset in [drawn.randrange(2_500) for _ in range(6)]:
        content = bytearray(whole)
        content[offset] ^= 1 << drawn.randrange(8)
        file.write_bytes(content)
        try:
            vectors, _ = _read(file)
        except (DatasetError, ConfigurationError):
            continue
        assert vectors.ndim == 2


_SHAPES = """
if '"shapes"' in request:
    print('{"x": [[6, 4], "<f4"], "id": [[6], "O"]}')
    sys.exit()
"""


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("os.kill(os.getpid(), signal.SIGSEGV)", "is ended by SIGSEGV"),
        ("os.kill(os.getpid(), signal.SIGALRM)", "takes longer than 120 seconds"),
        ("os.write(1, b'12'); os.abort()", "is ended by SIGABRT"),
        ("raise MemoryError", "ends with exit status 1"),
        ('sys.stderr.write(\'["no file", "Look."]\'); sys.exit(3)', "no file"),
    ],
)
@pytest.mark.parametrize("knows_shapes", [True, False])
def test_however_the_other_process_ends_it_is_an_error(
    file: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    said: str,
    *,
    knows_shapes: bool,
) -> None:
    begin = "import os, signal, sys\nrequest = sys.stdin.read()\n"
    script = begin + (_SHAPES if knows_shapes else "") + ending + "\n"
    (file.parent / "ending_worker.py").write_text(script)
    monkeypatch.setattr(sys, "path", [str(file.parent), *sys.path])
    monkeypatch.setattr(hdf5, "_WORKER", "ending_worker")
    table = Hdf5Table(file, ColumnNames(vectors="x", ids="id"))
    with pytest.raises(DatasetError, match=said):
        list(table.blocks())
    with pytest.raises(DatasetError, match=said):
        table.ids()


def test_a_process_that_cannot_be_started_is_told(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(file.parent / "none"))
    with pytest.raises(DatasetError, match="cannot be started"):
        _read(file)


def test_who_stops_reading_leaves_no_process(file: Path) -> None:
    blocks = Hdf5Table(file).blocks()
    next(blocks)
    blocks.close()


@pytest.mark.parametrize("kept", [0, 10, 1_000])
def test_a_file_cut_short_is_named(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DatasetError, match="cannot read"):
        _read(file)


def test_ids_that_are_no_utf_8_are_named(tmp_path: Path) -> None:
    path = tmp_path / "b.h5"
    with h5py.File(path, "w") as made:
        made["x"] = np.ones((1, _D), dtype="f4")
        made.create_dataset("id", data=[b"\xff.png"], dtype=h5py.string_dtype())
    with pytest.raises(DatasetError, match="no UTF-8"):
        Hdf5Table(path).ids()
