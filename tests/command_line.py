"""Run `retune-cli` within the test's process, which spares each call a start-up."""

import io
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import chdir, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest.mock import patch

from retune.cli.main import main

__all__ = ["Result", "result_in", "run_command", "run_in"]

Result = subprocess.CompletedProcess[str]


@contextmanager
def _streams(stdin: str) -> Iterator[tuple[io.StringIO, io.StringIO]]:
    with (
        redirect_stdout(io.StringIO()) as out,
        redirect_stderr(io.StringIO()) as err,
        patch.object(sys, "stdin", io.StringIO(stdin)),
    ):
        yield out, err


def run_command(
    *arguments: object, cwd: Path | None = None, stdin: str = "", **environment: str
) -> Result:
    """What a shell would see: the exit code and what was printed.

    Signals, start-up and what is loaded need a process of their own.
    """
    before = signal.getsignal(signal.SIGTERM)
    clean = {k: v for k, v in os.environ.items() if not k.startswith("RETUNE_")}
    code: object = 0
    with (
        chdir(cwd or Path.cwd()),
        patch.dict(os.environ, clean | environment, clear=True),
        patch.object(sys, "argv", ["retune-cli", *map(str, arguments)]),
        _streams(stdin) as (out, err),
    ):
        try:
            main()
        except SystemExit as stop:
            code = stop.code
        finally:
            signal.signal(signal.SIGTERM, before)
    assert isinstance(code, int)
    return Result(sys.argv, code, out.getvalue(), err.getvalue())


def run_in(cwd: Path, *arguments: object) -> Result:
    """`run_command` in a folder."""
    return run_command(*arguments, cwd=cwd)


def result_in(cwd: Path, *arguments: object) -> Any:
    """What a command gives with ``--json``; it must succeed."""
    done = run_in(cwd, *arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)
