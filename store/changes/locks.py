"""One writer at a time, told apart from a dead one."""

import fcntl
import json
import os
import shlex
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from ..atomic_files import NO_LOCK_ERRORS
from ..errors import StoreBusyError, StoreWriteError
from ..opening.catalog_errors import no_locks

__all__ = ["LOCK_NAME", "writer_lock"]

LOCK_NAME = "writer.lock"


@contextmanager
def writer_lock(
    root: Path, command: str, on_busy: Callable[[str], object] | None = None
) -> Iterator[None]:
    """Hold the store for writing; the operating system frees it when a process dies.

    Args:
        root: The store's folder.
        command: What is being done, shown to whoever comes second.
        on_busy: Told who writes, before waiting until that process has ended. None:
            do not wait.

    Raises:
        StoreBusyError: Another process writes, and `on_busy` is None; the message
            names it.
        StoreWriteError: The lock file cannot be written.
        StoreError: The file system has no file locks.
    """
    path = root / LOCK_NAME
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {path}: {error.strerror}", "Fix the rights on that folder."
        ) from error
    with os.fdopen(descriptor, "r+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            owner = _owner(file.read())
            if on_busy is None:
                raise StoreBusyError(
                    f"another process writes to {root}: {owner}",
                    "Wait until it has ended; `retune-cli embed --wait` does. Queries "
                    "and training go on meanwhile.",
                ) from error
            on_busy(owner)
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCK_ERRORS:
                raise
            raise no_locks(root, error.strerror or str(error)) from error
        with suppress(OSError):  # a full disk: the lock is held without a name
            _sign(file, command)
        try:
            yield
        finally:
            with suppress(OSError):  # nobody holds it: it names nobody
                file.seek(0)
                file.truncate()
                file.flush()


def _sign(file: TextIO, command: str) -> None:
    """Say who holds the lock, for whoever comes second."""
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "command": command,
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    file.seek(0)
    file.truncate()
    file.write(json.dumps(owner))
    file.flush()


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
        said = (
            f"{owner['command']} (process {owner['pid']} on {owner['host']}, "
            f"since {owner['since']})"
        )
        line = _command_line(int(owner["pid"]), str(owner["host"]))
    except (ValueError, KeyError, TypeError):
        return "it has not said who it is"
    return f"{said}: {line}" if line else said


def _command_line(pid: int, host: str) -> str:
    """How a process of this machine was started; empty where that cannot be read.

    It is asked of the operating system and not kept in the store: command lines may
    name patients.
    """
    if host != socket.gethostname():
        return ""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:  # it has ended, or this system has no such files
        return ""
    return shlex.join(word.decode(errors="replace") for word in words if word)
