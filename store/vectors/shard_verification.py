"""Every checksum of a shard, without letting a damaged file end this process.

A flipped bit in what HDF5 keeps about attributes can make its library read where it
must not, which kills the process that asked. A file whose checksum the catalog does not
confirm is therefore read in a process of its own first.
"""

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from ..errors import StoreCorruptError, StoreError
from .shards import REPAIR_HINT, ShardHeader, check_contents, file_checksum

__all__ = ["report_on", "verify_shard"]

_SCRIPT: Final = (
    "import sys; from retune.store.vectors.shard_verification import report_on; "
    "sys.exit(report_on(sys.argv[1]))"
)
_REFUSED: Final = 3
_CRASHES: Final = (
    signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL,
)  # fmt: skip
#: Time to start, and bytes in a second that any disk gives.
_START_SECONDS, _BYTES_PER_SECOND = 60, 2_000_000


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


def _probe(path: Path) -> None:
    """Have another process compare every checksum that a shard carries.

    Raises:
        StoreCorruptError: Something does not match, or reading ends the process.
        StoreError: The process cannot be started, or is killed from outside.
    """
    folders = os.pathsep.join(folder for folder in sys.path if folder)
    try:
        probed = subprocess.run(
            # -P: no file of the working directory is imported.
            [sys.executable, "-P", "-c", _SCRIPT, str(path)],
            env={**os.environ, "PYTHONPATH": folders},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=_START_SECONDS + path.stat().st_size / _BYTES_PER_SECOND,
        )
    except subprocess.TimeoutExpired as error:
        raise StoreCorruptError(
            f"shard {path} is damaged: reading it does not end", REPAIR_HINT
        ) from error
    except OSError as error:
        raise StoreError(
            f"a process that reads {path} cannot be started: {error}",
            "Is there memory left, and may this process start others?",
        ) from error
    if probed.returncode == _REFUSED:
        raise StoreCorruptError(probed.stdout, REPAIR_HINT)
    if -probed.returncode in _CRASHES:
        raise StoreCorruptError(
            f"shard {path} is damaged: HDF5 crashes when it reads it", REPAIR_HINT
        )
    if probed.returncode:  # killed for memory, say: `repair` must not set it aside
        raise StoreError(
            f"a process that reads {path} ended early, with exit status "
            f"{probed.returncode}",
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
