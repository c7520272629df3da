"""Threads are told to sleep before torch could start any."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

_COMMAND = """
sys.argv = ["retune-cli", "--version"]
from retune.cli.main import main
try:
    main()
except SystemExit:
    pass
"""
_NOTEBOOK = """
import retune
retune.open(sys.argv[1], create=True)
"""


@pytest.mark.parametrize("entry", [_COMMAND, _NOTEBOOK])
@pytest.mark.parametrize("chosen", [None, "active"])
def test_threads_sleep_from_the_first_entry_on(
    tmp_path: Path, entry: str, chosen: str | None
) -> None:
    environment = {**os.environ}
    environment.pop("OMP_WAIT_POLICY", None)
    if chosen is not None:
        environment["OMP_WAIT_POLICY"] = chosen
    says = "print(os.environ['OMP_WAIT_POLICY'], 'torch' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", f"import os, sys\n{entry}\n{says}", tmp_path / "s"],
        capture_output=True, text=True, check=True, env=environment,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == f"{chosen or 'passive'} False"
