"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

# A property is about what is true, not about how fast a busy machine shows it.
settings.register_profile("retune", deadline=None)
settings.load_profile("retune")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


def _real_data_folder() -> Path | None:
    """The folder with `nih-320`, `nih-64` and `nih-1024`, or None."""
    folder = Path(os.environ.get("RETUNE_REAL_DATA", _SHARED))
    return folder if (folder / "nih-320" / "images").is_dir() else None


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Real NIH radiographs; tests that need them are skipped where they are absent."""
    folder = _real_data_folder()
    if folder is None:
        pytest.skip("no real X-rays: set RETUNE_REAL_DATA to a folder with nih-320/")
    return folder


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not see a real radiograph."""
    if _real_data_folder() is None:
        marked = [
            r for r in terminalreporter.getreports("skipped") if "real" in r.keywords
        ]
        terminalreporter.write_line(
            f"real X-rays absent: {len(marked)} tests did not run (RETUNE_REAL_DATA)"
        )
