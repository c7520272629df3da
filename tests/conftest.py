"""Fixtures that every room's tests share."""

import gc
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, settings
from warm_programs import warm_programs

if TYPE_CHECKING:
    from playwright.sync_api import Browser

# A property is about what is true, not about how fast a busy machine shows it. Each run
# draws the same examples, so that a failure can be repeated; with the variable of the
# environment RETUNE_EXPLORE each run draws others.
settings.register_profile(
    "retune",
    deadline=None,
    derandomize="RETUNE_EXPLORE" not in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("retune")

# The hub's client asks the network six times, for half a minute, unless told so before
# its first import.
os.environ["HF_HUB_OFFLINE"] = "1"
# Threads of torch and NumPy that wait leave the processor to the other test processes.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
os.environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "4")

_SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"


#: Tests with these marks take seconds rather than milliseconds.
_LONG = ("e2e", "browser", "slow", "real", "gpu")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with long tests first: the short ones fill the processes' last minute.

    Files stay whole and in order, because fixtures are made once for each.
    """
    long = {
        item.path
        for item in items
        if any(item.get_closest_marker(mark) for mark in _LONG)
    }
    items.sort(key=lambda item: item.path not in long)


def pytest_collection_finish() -> None:
    """Leave out what is loaded by now when garbage is sought.

    Libraries and tests stay to the end, and are most of what each search goes through.
    """
    gc.collect()
    gc.freeze()


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


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with `retune-cli` and `kernel`, processes that start at once."""
    with warm_programs(tmp_path_factory.mktemp("warm")) as folder:
        yield folder


def _chromium_path() -> str | None:
    """Chromium of the system, or what RETUNE_CHROMIUM names."""
    names = ("chromium", "chromium-browser", "google-chrome")
    paths = (shutil.which(name) for name in names)
    return os.environ.get("RETUNE_CHROMIUM") or next(filter(None, paths), None)


@pytest.fixture(scope="module")
def chromium() -> "Iterator[Browser]":
    """A real browser; tests that need it are skipped where there is none."""
    path = _chromium_path()
    if path is None:
        pytest.skip("no Chromium: install it, or name it in RETUNE_CHROMIUM")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many tests did not see a real radiograph."""
    if _real_data_folder() is None:
        marked = [
            r for r in terminalreporter.getreports("skipped") if "real" in r.keywords
        ]
        terminalreporter.write_line(
            f"real X-rays absent: {len(marked)} tests did not run (RETUNE_REAL_DATA)"
        )
    if _chromium_path() is None:
        marked = [
            r for r in terminalreporter.getreports("skipped") if "browser" in r.keywords
        ]
        terminalreporter.write_line(
            f"Chromium absent: {len(marked)} tests did not run (RETUNE_CHROMIUM)"
        )
