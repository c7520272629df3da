"""Threads are told to sleep before NumPy or torch could start any."""

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


#: Notes what the environment says when NumPy is loaded.
_WATCH = """
import os, sys
names = ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT")
noted = []
class Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy" and not noted:
            noted.extend(os.environ.get(one, "") for one in names)
sys.meta_path.insert(0, Watch())
"""
_SAYS = """
print(*(noted or [os.environ[one] for one in names]), "torch" in sys.modules)
"""


@pytest.mark.parametrize("entry", [_COMMAND, _NOTEBOOK])
@pytest.mark.parametrize(
    "chosen", [{}, {"OMP_WAIT_POLICY": "active", "OPENBLAS_THREAD_TIMEOUT": "26"}]
)
def test_threads_sleep_from_the_first_entry_on(
    tmp_path: Path, entry: str, chosen: dict[str, str]
) -> None:
    environment = {**os.environ}
    for name in ("OMP_WAIT_POLICY", "OPENBLAS_THREAD_TIMEOUT"):
        environment.pop(name, None)
    done = subprocess.run(
        [sys.executable, "-c", f"{_WATCH}{entry}{_SAYS}", tmp_path / "s"],
        capture_output=True, text=True, check=True, env=environment | chosen,
    )  # fmt: skip
    expected = " ".join(chosen.values()) or "passive 4"
    assert done.stdout.splitlines()[-1] == f"{expected} False"
