"""What a shard says about itself, without letting a damaged file end this process.

A flipped bit in what HDF5 keeps about attributes can make its library read where it
must not, which kills the process that asked. A file whose checksum the catalog does not
confirm is therefore read in a process of its own first.
"""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ..errors import StoreCorruptError, StoreError
from .shards import (
    REPAIR_HINT,
    ShardHeader,
    check_contents,
    file_checksum,
    read_header,
)

__all__ = ["block_sums_apart", "report_on", "tell_block_sums", "verify_shard"]

_SCRIPT: Final = (
    "import sys; from retune.store.vectors.shard_verification import report_on; "
    "sys.exit(report_on(sys.argv[1]))"
)
_SUMS_SCRIPT: Final = (
    "import sys; from retune.store.vectors.shard_verification import tell_block_sums; "
    "tell_block_sums(sys.argv[1:])"
)
_REFUSED: Final = 3
_CRASHES: Final = (
    signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL,
)  # fmt: skip
#: Time to start, and bytes in a second that any disk gives.
_START_SECONDS, _BYTES_PER_SECOND = 60, 2_000_000
#: Shards that one process is asked about.
_TOGETHER = 512
#: File as it was -> rows in a block, and the checksum of each block.
_BlockSumsOf = tuple[int, tuple[int, ...]]
_told: dict[tuple[int, int, int, int], _BlockSumsOf] = {}
_telling = threading.Lock()


def verify_shard(path: Path, known_crc32: int | None = None) -> ShardHeader:
    """Read a whole shard and compare every checksum.

    Args:
        path: The shard.
        known_crc32: CRC-32 of the whole file, if the catalog knows it: that covers the
            bytes around vectors and keys, too.

    Raises:
        StoreCorruptError: Something does not match; the message names the rows.
        StoreError: The process that reads a doubtful file cannot be started, or is
            killed from outside.
    """
    if file_checksum(path) != known_crc32:
        _probe(path)
        if known_crc32 is not None:
            raise StoreCorruptError(
                f"shard {path}: what it says about itself does not match its checksum",
                REPAIR_HINT,
            )
    return check_contents(path)


def block_sums_apart(path: Path) -> tuple[int, tuple[int, ...]]:
    """Rows in a block and the checksum of each block, as the shard says it.

    Only for stores whose catalogs are older than these checksums. The other process is
    asked about the shards beside this one too: starting it takes longer than that.

    Raises:
        StoreCorruptError: The shard is missing or damaged.
        StoreError: The process cannot be started, or is killed from outside.
    """
    identity = _identity(path)
    with _telling:
        if identity not in _told:
            _ask_about(path)
    if identity not in _told:
        raise StoreCorruptError(f"shard {path} cannot be read", REPAIR_HINT)
    return _told[identity]


def _ask_about(path: Path) -> None:
    """Ask another process about a shard and those beside it."""
    beside = sorted(path.parent.glob("*.h5"))[:_TOGETHER]
    asked = [path, *(other for other in beside if other != path)]
    done = _run_apart(_SUMS_SCRIPT, asked)
    lines = done.stdout.splitlines()
    if not lines:
        _check_exit(path, done)
    for line in lines:
        told = json.loads(line)
        if "problem" not in told:
            sums = told["block_rows"], tuple(told["block_crc32"])
            _told[_identity(Path(told["path"]))] = sums
        elif told["path"] == str(path):
            raise StoreCorruptError(told["problem"], REPAIR_HINT)


def _identity(path: Path) -> tuple[int, int, int, int]:
    try:
        status = path.stat()
    except OSError as error:
        raise StoreCorruptError(f"shard {path} is missing", REPAIR_HINT) from error
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def tell_block_sums(paths: Sequence[str]) -> None:
    """What the other process does: print a line of JSON for each shard."""
    for path in paths:
        told: dict[str, object] = {"path": path}
        try:
            header = read_header(Path(path))
        except StoreError as error:
            told["problem"] = error.message
        else:
            told["block_rows"] = header.block_rows
            told["block_crc32"] = header.block_crc32
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()


def _probe(path: Path) -> None:
    """Have another process compare every checksum that a shard carries.

    Raises:
        StoreCorruptError: Something does not match, or reading ends the process.
        StoreError: The process cannot be started, or is killed from outside.
    """
    probed = _run_apart(_SCRIPT, [path])
    if probed.returncode == _REFUSED:
        raise StoreCorruptError(probed.stdout, REPAIR_HINT)
    _check_exit(path, probed)


def _run_apart(
    script: str, paths: Sequence[Path]
) -> "subprocess.CompletedProcess[str]":
    """Run a script about some shards; the first is the one that matters.

    Raises:
        StoreCorruptError: It does not end.
        StoreError: It cannot be started.
    """
    folders = os.pathsep.join(folder for folder in sys.path if folder)
    try:
        return subprocess.run(
            # -P: no file of the working directory is imported.
            [sys.executable, "-P", "-c", script, *map(str, paths)],
            env={**os.environ, "PYTHONPATH": folders},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_SECONDS + paths[0].stat().st_size / _BYTES_PER_SECOND,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreCorruptError(
            f"shard {paths[0]} is damaged: reading it does not end", REPAIR_HINT
        ) from error
    except OSError as error:
        raise StoreError(
            f"a process that reads {paths[0]} cannot be started: {error}",
            "Is there memory left, and may this process start others?",
        ) from error


def _check_exit(path: Path, done: "subprocess.CompletedProcess[str]") -> None:
    """Tell a crash, which is damage, from what came from outside.

    Raises:
        StoreCorruptError: HDF5 crashed.
        StoreError: The process was ended by something else.
    """
    if -done.returncode in _CRASHES:
        raise StoreCorruptError(
            f"shard {path} is damaged: HDF5 crashes when it reads it", REPAIR_HINT
        )
    if done.returncode:  # killed for memory, say: `repair` must not set it aside
        raise StoreError(
            f"a process that reads {path} ended early, with exit status "
            f"{done.returncode}",
            "Is there memory left, and may this process start others?",
        )


def report_on(path: str) -> int:
    """What the other process does: print what is wrong with a shard.

    Returns:
        Its exit status: 0 if all checksums match, 3 if not.
    """
    try:
        check_contents(Path(path))
    except StoreCorruptError as error:
        sys.stdout.write(error.message)
        return _REFUSED
    return 0
