"""A full disk, missing rights, and a share without locks: by name, and nothing lost."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from damage_samples import answers, whole_store
from store_samples import filled_store

from retune.store import FeatureStore
from retune.store.atomic_files import find_leftovers, written_atomically
from retune.store.errors import (
    ConfigurationError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    StoreWriteError,
)
from retune.store.opening.catalog_errors import store_error

_PATH = Path("/s/catalog.duckdb")


@pytest.mark.parametrize(
    ("text", "error_type", "said"),
    [
        ("Could not write file: No space left on device", StoreWriteError, "full"),
        ("Failed to commit: Disk quota exceeded", StoreWriteError, "full"),
        ("Could not write all bytes: File too large", StoreWriteError, "full"),
        ('Cannot open file "x": Permission denied', StoreWriteError, "Permission"),
        ('Cannot open "x": Read-only file system', StoreWriteError, "Read-only"),
        (
            'Could not set lock on file "x": Conflicting lock is held in python',
            StoreBusyError,
            "held by another process",
        ),
        (
            'Could not set lock on file "x": No locks available. See also https://d',
            StoreError,
            "no file locks (No locks available)",
        ),
        (
            'Could not set lock on file "x": Operation not supported',
            StoreError,
            "no file locks (Operation not supported)",
        ),
        ("file has storage version 99", StoreVersionError, "another version"),
        ("The file is not a valid DuckDB database", StoreCorruptError, "cannot be"),
        ("computed checksum 1 does not match", StoreCorruptError, "cannot be opened"),
    ],
)
@pytest.mark.parametrize(
    "raised", [duckdb.IOException, duckdb.TransactionException, duckdb.Error]
)
def test_what_duckdb_says_is_translated_once(
    text: str, error_type: type[StoreError], said: str, raised: type[duckdb.Error]
) -> None:
    error = store_error(raised(text), _PATH, 30)
    assert type(error) is error_type
    assert said in error.message
    assert error.hint
    assert "move" not in error.hint
    assert ("damaged" in error.hint) == (error_type is StoreCorruptError)


#: Runs a piece of code in a process whose files cannot grow beyond a size, or that
#: has no file locks: the library below stands between it and the system.
_CHILD = """
import resource, signal, sys
sys.path[:0] = {paths!r}
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from pathlib import Path
import duckdb, h5py, pyarrow
from retune.store import FeatureStore, record_run
from retune.store.errors import RetuneError
from damage_samples import predictions, run_of
from store_samples import filled_store
root = Path({root!r})
if {limit}:
    resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY))
try:
    {code}
except RetuneError as error:
    print(type(error).__name__, error.message, "|", error.hint)
"""


def _child(root: Path, code: str, limit_bytes: int = 0) -> str:
    tests = str(Path(__file__).resolve().parents[1])
    text = _CHILD.format(paths=[tests], root=str(root), limit=limit_bytes, code=code)
    done = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("limit_bytes", [1, 4096, 20_000, 100_000, 270_000])
def test_making_a_store_on_a_full_disk_can_be_repeated(
    tmp_path: Path, limit_bytes: int
) -> None:
    said = _child(tmp_path / "s", "FeatureStore.create(root)", limit_bytes)
    assert said.startswith("StoreWriteError"), said
    store = filled_store(tmp_path / "s")
    assert store.sql("SELECT count(*) FROM images").fetchall() == [(10,)]
    assert not store.verify()


@pytest.mark.parametrize("headroom_bytes", [0, 4096, 100_000, 300_000])
def test_a_run_on_a_full_disk_is_a_write_error_and_nothing_is_lost(
    tmp_path: Path, headroom_bytes: int
) -> None:
    store = whole_store(tmp_path / "s")
    truth = answers(store)
    size = (store.path / "catalog.duckdb").stat().st_size
    code = (
        "import pyarrow as pa; p = predictions(); "
        "record_run(FeatureStore(root), run_of('x'), [], "
        "pa.concat_tables([p] * 3000).combine_chunks())"
    )
    limit = headroom_bytes + (0 if headroom_bytes else size // 8)
    said = _child(store.path, code, limit)
    assert said == "" or said.startswith("StoreWriteError"), said
    if said:
        assert "full" in said
        assert answers(FeatureStore(store.path)) == truth
    assert not FeatureStore(store.path).verify()


def test_a_file_system_without_locks_is_named_at_once(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    library = _library_without_locks(tmp_path)
    tests = str(Path(__file__).resolve().parents[1])
    for code in ("FeatureStore(root).sql('SELECT 1')", "FeatureStore(root).repair()"):
        text = _CHILD.format(paths=[tests], root=str(store.path), limit=0, code=code)
        done = subprocess.run(
            [sys.executable, "-c", text],
            capture_output=True, text=True, check=False,
            env=os.environ | {"LD_PRELOAD": str(library)},
        )  # fmt: skip
        assert "no file locks (No locks available)" in done.stdout, done.stderr
        assert "local disk" in done.stdout


def _library_without_locks(folder: Path) -> Path:
    source = folder / "no_locks.c"
    source.write_text(
        "#define _GNU_SOURCE\n"
        "#include <dlfcn.h>\n#include <errno.h>\n#include <fcntl.h>\n"
        "#include <stdarg.h>\n"
        "#define LOCKLESS(name) int name(int fd, int command, ...) {\\\n"
        "  va_list rest; va_start(rest, command);\\\n"
        "  void *what = va_arg(rest, void *);\\\n"
        "  va_end(rest);\\\n"
        "  if (command == F_SETLK || command == F_SETLKW || command == F_GETLK)\\\n"
        "    { errno = ENOLCK; return -1; }\\\n"
        "  int (*real)(int, int, ...) = dlsym(RTLD_NEXT, #name);\\\n"
        "  return real(fd, command, what); }\n"
        "LOCKLESS(fcntl)\nLOCKLESS(fcntl64)\n"
        "int flock(int fd, int what) { errno = ENOLCK; return -1; }\n"
    )
    library = folder / "no_locks.so"
    try:
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-o", str(library), str(source), "-ldl"],
            check=True, capture_output=True,
        )  # fmt: skip
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("no C compiler to stand in for a share without locks")
    return library


def test_a_shard_that_may_not_be_read_is_not_set_aside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.store.vectors import shards

    store = filled_store(tmp_path / "s")

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(shards.h5py, "File", refused)
    with pytest.raises(StoreWriteError, match="Permission denied"):
        store.repair()
    monkeypatch.undo()
    assert not store.verify()


def test_a_file_that_somebody_writes_is_no_leftover(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with written_atomically(path) as file:
        file.write(b"half")
        (temporary,) = tmp_path.glob(".tmp-*")
        assert find_leftovers([tmp_path]) == []
    assert path.read_bytes() == b"half"
    temporary.write_bytes(b"dead")
    (tmp_path / ".tmp-folder").mkdir()
    (tmp_path / ".tmp-link").symlink_to(path)
    assert find_leftovers([tmp_path, tmp_path / "nowhere", path]) == [temporary]


def test_a_writer_leaves_the_files_of_living_processes_alone(tmp_path: Path) -> None:
    store = filled_store(tmp_path / "s")
    path = store.path / "runs" / "r" / "adaptors.json"
    with written_atomically(path) as file:
        file.write(b"{}")
        with store.writer("ingest"):
            pass
        store.repair()
    assert path.read_bytes() == b"{}"


def test_without_locks_a_leftover_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.store import atomic_files

    def lockless(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(atomic_files.fcntl, "flock", lockless)
    with written_atomically(tmp_path / "a") as file:
        file.write(b"x")
    young, old = tmp_path / ".tmp-young", tmp_path / ".tmp-old"
    young.write_bytes(b"")
    old.write_bytes(b"")
    os.utime(old, (0, 0))
    assert find_leftovers([tmp_path]) == [old]


def test_what_a_broken_block_wrote_is_gone(tmp_path: Path) -> None:
    def breaks() -> None:
        with written_atomically(tmp_path / "a") as file:
            file.write(b"x")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        breaks()
    assert list(tmp_path.iterdir()) == []


def test_two_processes_that_make_one_store_make_one(tmp_path: Path) -> None:
    FeatureStore.create(tmp_path / "s")
    (tmp_path / "s" / "retune-store.json").unlink()  # the other is not that far yet
    catalog = (tmp_path / "s" / "catalog.duckdb").stat().st_ino
    FeatureStore.create(tmp_path / "s")
    assert (tmp_path / "s" / "catalog.duckdb").stat().st_ino == catalog


@pytest.mark.parametrize("moment", range(6))
def test_kills_while_repairing_lose_nothing(tmp_path: Path, moment: int) -> None:
    store = whole_store(tmp_path / "s")
    truth = answers(store)
    (store.path / "catalog.duckdb").write_bytes(b"garbage" * 4000)
    dying = (
        "import os, pathlib; from retune.store.changes import verification as v\n"
        "    n = [0]\n"
        "    original = pathlib.Path.replace\n"
        "    def counting(*a):\n"
        f"        if n[0] == {moment}: os._exit(0)\n"
        "        n[0] += 1\n"
        "        return original(*a)\n"
        "    pathlib.Path.replace = counting\n"
        "    FeatureStore(root).repair(from_copies=True)"
    )
    _child(store.path, dying)
    after = FeatureStore(store.path)
    try:
        after.repair(from_copies=(store.path / "catalog.duckdb").exists())
    except ConfigurationError:  # it was whole: the kill came late
        after.repair()
    assert answers(after) == truth
    assert not after.verify()


@pytest.mark.parametrize("moment", range(0, 12, 2))
def test_kills_while_entering_a_dataset_lose_nothing(
    tmp_path: Path, moment: int
) -> None:
    """From the first byte of a new store to the last copy of its catalog."""
    dying = (
        "import os\n"
        "    n = [0]\n"
        "    original = os.fsync\n"
        "    def counting(*a):\n"
        f"        if n[0] == {moment}: os._exit(0)\n"
        "        n[0] += 1\n"
        "        return original(*a)\n"
        "    os.fsync = counting\n"
        "    filled_store(root)"
    )
    _child(tmp_path / "s", dying)
    store = filled_store(tmp_path / "s")  # the same command again
    assert store.sql("SELECT count(*) FROM image_features").fetchall() == [(10,)]
    assert store.sql("SELECT count(*) FROM labels").fetchall() == [(20,)]
    assert not store.verify()
