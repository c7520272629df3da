"""A log of what a command said: a line each, as text or as JSON, never a bar.

``--log FILE`` and ``--log-format text|json`` may stand anywhere on the command line.
"""

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path

__all__ = ["RunLog", "known_format", "log_line", "logging_to", "take_log_options"]

_FORMATS = ("text", "json")


class RunLog:
    """Appends lines to a file.

    Args:
        file: It is made, readable by its owner only, if it is not there.
        form: ``text`` or ``json``.
    """

    def __init__(self, file: Path, form: str = "text") -> None:
        self.file: Path = file
        self.form: str = form

    def write(self, level: str, message: str) -> None:
        """Append a line; a message of several lines becomes one.

        Args:
            level: ``info``, ``note`` or ``error``.
            message: What to say.

        Raises:
            OSError: The disk refused.
        """
        now = datetime.now(UTC).isoformat(timespec="seconds")
        said = " | ".join(line for line in message.splitlines() if line.strip())
        if self.form == "json":
            entry = {"time": now, "level": level, "pid": os.getpid(), "message": said}
            line = json.dumps(entry, ensure_ascii=False)
        else:
            line = f"{now} {level} {os.getpid()} {said}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        descriptor = os.open(self.file, flags, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(line + "\n")


_CURRENT: ContextVar[RunLog | None] = ContextVar("log", default=None)


def log_line(level: str, message: str) -> None:
    """Write to the log of this command, if it has one; a full disk ends no work."""
    log = _CURRENT.get()
    if log is not None and message.strip():
        with suppress(OSError):
            log.write(level, message)


@contextmanager
def logging_to(log: RunLog | None, command: str) -> Iterator[list[int]]:
    """Log a command from its beginning to its end.

    Args:
        log: None: nothing is logged.
        command: How it was called.

    Yields:
        A list for its exit code.
    """
    token = _CURRENT.set(log)
    started = time.monotonic()
    codes: list[int] = []
    log_line("info", f"begins: {command}")
    try:
        yield codes
    finally:
        seconds = time.monotonic() - started
        code = codes[-1] if codes else 1
        level = "error" if code else "info"
        log_line(level, f"ends with exit code {code} after {seconds:.1f} s")
        _CURRENT.reset(token)


def take_log_options(
    arguments: Sequence[str],
) -> tuple[list[str], str | None, str]:
    """The arguments without those of the log, its file and its format.

    >>> take_log_options(["embed", "--log", "a.log", "--log-format=json"])
    (['embed'], 'a.log', 'json')
    """
    rest: list[str] = []
    options = {"--log": os.environ.get("RETUNE_LOG"), "--log-format": "text"}
    waiting: str | None = None
    for position, argument in enumerate(arguments):
        name, mark, value = argument.partition("=")
        if waiting:
            options[waiting], waiting = argument, None
        elif argument == "--":
            return (
                [*rest, *arguments[position:]],
                options["--log"],
                str(options["--log-format"]),
            )
        elif name in options and mark:
            options[name] = value
        elif argument in options:
            waiting = argument
        else:
            rest.append(argument)
    if waiting:
        rest.append(waiting)  # without a value: the parser says so
    return rest, options["--log"], str(options["--log-format"])


def known_format(form: str) -> bool:
    """Whether a log can have this format.

    >>> known_format("json"), known_format("xml")
    (True, False)
    """
    return form in _FORMATS
