"""One writer at a time, told apart from a dead one."""

import fcntl
import json
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from ..errors import StoreBusyError, StoreWriteError

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
        file.seek(0)
        file.truncate()
        json.dump(
            {
                "pid": os.getpid(),
                "host": socket.gethostname(),
                "command": command,
                "since": datetime.now(UTC).isoformat(timespec="seconds"),
            },
            file,
        )
        file.flush()
        yield


def _owner(text: str) -> str:
    try:
        owner = json.loads(text)
        return (
            f"{owner['command']} (process {owner['pid']} on {owner['host']}, "
            f"since {owner['since']})"
        )
    except (ValueError, KeyError, TypeError):
        return "it has not said who it is"
