"""The documentation builds as a site without a network, and stands by itself."""

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; broken links and unknown names fail the build."""
    folder = tmp_path_factory.mktemp("site")
    types = ROOT / "build" / "types" / "retune"
    types.mkdir(parents=True, exist_ok=True)
    for room in ("cli", "pipeline", "store"):
        link = types / room
        if not link.is_symlink():
            link.symlink_to(f"../../../{room}")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--site-dir", str(folder)],
        cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_generated_pages_are_there(site: Path) -> None:
    for name, word in [
        ("reference/command-line.html", "retune-cli compare"),
        ("reference/errors.html", "store-busy"),
        ("reference/catalog.html", "image_features"),
        ("python.html", "AnalyticClassifier"),
        ("changelog.html", "0.2.0"),
    ]:
        assert word.lower() in (site / name).read_text().lower(), name


@pytest.mark.browser
def test_it_needs_no_other_host_and_its_search_works(
    site: Path, chromium: "Browser"
) -> None:
    seen: list[str] = []
    wrong: list[str] = []
    for width in (1400, 420):
        page = chromium.new_page(viewport={"width": width, "height": 900})
        page.on("request", lambda request: seen.append(request.url))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("pageerror", lambda error: wrong.append(str(error)))
        for name in ("index", "choosing-a-method", "reference/command-line"):
            page.goto((site / f"{name}.html").as_uri())
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= width, name
    page.set_viewport_size({"width": 1400, "height": 900})
    page.goto((site / "index.html").as_uri())
    page.click("input.md-search__input")
    page.keyboard.type("forgetting")
    page.wait_for_selector(".md-search-result__item", timeout=20_000)
    assert not wrong
    assert all(url.startswith("file:") for url in seen)
