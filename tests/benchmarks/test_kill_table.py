"""A few of the kills of `make kills`, in a process that may fork."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_a_killed_command_loses_nothing_and_can_be_repeated() -> None:
    program = Path(__file__).with_name("kill_table.py")
    done = subprocess.run(
        [sys.executable, program, "--kills", "6", "--seed", "3"],
        capture_output=True, text=True, check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    words = [line.split()[-2:] for line in done.stdout.splitlines()[1:]]
    # A command that had ended before its kill is counted apart.
    assert sum(int(count) for word, count in words if word != "late") == 6
    assert {word for word, _ in words} <= {"held", "refused", "late"}
