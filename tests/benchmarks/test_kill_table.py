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
    lines = done.stdout.splitlines()[1:]
    assert sum(int(line.split()[-1]) for line in lines) == 6
    assert not [line for line in lines if "LOST" in line]
