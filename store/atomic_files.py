"""Files that exist whole or not at all, however a process ends.

A file is written under a temporary name, flushed, renamed, and the folder is flushed.
While it is being written its maker holds a lock on it (flock), which the operating
system drops when the maker dies: that tells a leftover from the work of a process that
is alive.
"""

import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import StoreWriteError

__all__ = [
    "NO_LOCK_ERRORS",
    "TEMPORARY_PREFIX",
    "find_leftovers",
    "make_private",
    "sync_folder",
    "write_atomically",
    "written_atomically",
]

TEMPORARY_PREFIX = ".tmp-"
#: What a file system answers that has no locks.
NO_LOCK_ERRORS = frozenset(
    {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
)
#: Linux takes 75 MB in one piece at 0.4 to 0.6 GB/s, in pieces of 1 MB at 1.5.
_PIECE_BYTES = 1 << 20
#: Without locks nobody can tell who is alive; no file takes this long to write.
_OLD_SECONDS = 24 * 3600


def write_atomically(
    path: Path,
    content: bytes | Iterable[bytes | memoryview],
    *,
    flush_folder: bool = True,
) -> None:
    """Write a file under a temporary name, flush it, rename it, flush the folder.

    Args:
        path: Where it goes. A file of that name is replaced.
        content: What it holds, whole or in parts.
        flush_folder: False if the file may be gone, or be the old one, after a power
            cut.

    Raises:
        StoreWriteError: The disk refused; the temporary file is gone again.
    """
    with written_atomically(path, flush_folder=flush_folder) as file:
        for part in (content,) if isinstance(content, bytes) else content:
            whole = memoryview(part)
            for start in range(0, len(whole), _PIECE_BYTES):
                file.write(whole[start : start + _PIECE_BYTES])


@contextmanager
def written_atomically(path: Path, *, flush_folder: bool = True) -> Iterator[BinaryIO]:
    """A file to write to, which gets its name at the end of the block.

    Args:
        path: Where it goes. A file of that name is replaced.
        flush_folder: As for `write_atomically`.

    Raises:
        StoreWriteError: The disk refused; the temporary file is gone again.
    """
    temporary = path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
    try:
        make_private(path.parent)
        with os.fdopen(_open_locked(temporary), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        if flush_folder:
            sync_folder(path.parent)
    except OSError as error:
        with suppress(OSError):  # the write failed already: report that, not this
            temporary.unlink(missing_ok=True)
        raise StoreWriteError(
            f"cannot write {path}: {error.strerror or error}",
            "Free space or fix the rights on that folder, then run the same command "
            "again: finished shards are kept.",
        ) from error
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def make_private(folder: Path) -> None:
    """Make a folder and what leads to it for the owner only.

    `Path.mkdir(parents=True)` would give its mode to the last folder alone.
    """
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def find_leftovers(folders: list[Path]) -> list[Path]:
    """Temporary files of processes that are dead.

    Args:
        folders: Where to look; folders inside them are not entered.
    """
    leftovers = []
    for folder in folders:
        with suppress(FileNotFoundError, NotADirectoryError):
            leftovers += [
                path
                for path in sorted(folder.glob(f"{TEMPORARY_PREFIX}*"))
                if _is_leftover(path)
            ]
    return leftovers


def _open_locked(temporary: Path) -> int:
    """Make a file that nobody takes for a leftover."""
    while True:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCK_ERRORS:
                os.close(descriptor)
                raise
        # Between making and locking it, somebody may have cleaned it away.
        if os.fstat(descriptor).st_nlink:
            return descriptor
        os.close(descriptor)


def _is_leftover(path: Path) -> bool:
    try:
        status = path.lstat()
        if not stat.S_ISREG(status.st_mode):
            return False
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # it is gone, or not ours to judge
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        is_old = time.time() - status.st_mtime > _OLD_SECONDS
        return error.errno in NO_LOCK_ERRORS and is_old
    else:
        return True
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make new names in a folder last, should the power fail."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
