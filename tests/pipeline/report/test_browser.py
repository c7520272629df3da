"""The report in a real browser: on a large screen, on a telephone, on paper."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from report_samples import HOSTILE, sample_extras, varied_runs

from retune.pipeline.report.page import build_page
from retune.pipeline.report.text_table import escaped

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.browser

SCREENS = Path(__file__).resolve().parents[3] / "build" / "screens"
#: Texts that leave the drawing they are in, as numbers of pixels on each side.
_CLIPPED = """() => [...document.querySelectorAll('svg text')].flatMap(text => {
  const frame = text.ownerSVGElement.getBoundingClientRect();
  const box = text.getBoundingClientRect();
  if (!frame.width || !box.width) { return []; }
  const over = [frame.left - box.left, box.right - frame.right,
                frame.top - box.top, box.bottom - frame.bottom];
  return Math.max(...over) > 1.5 ? [text.textContent + ' ' + over] : [];
})"""
#: Pairs of texts of one drawing that lie on each other.
_OVERLAPPING = """() => [...document.querySelectorAll('svg')].flatMap(svg => {
  const boxes = [...svg.querySelectorAll('text')].map(text =>
    [text.textContent, text.getBoundingClientRect()]).filter(one => one[1].width);
  return boxes.flatMap(([a, one], place) => boxes.slice(place + 1).flatMap(([b, two]) =>
    Math.min(one.right, two.right) - Math.max(one.left, two.left) > 1 &&
    Math.min(one.bottom, two.bottom) - Math.max(one.top, two.top) > 4
      ? [a + ' / ' + b] : []));
})"""
_WIDER = "document.documentElement.scrollWidth - window.innerWidth"


@pytest.fixture(scope="module")
def page_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of 22 runs."""
    runs = varied_runs()
    extras = sample_extras(runs)
    page = build_page(runs, version="1", made_at="today", extras=extras)
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(page, encoding="utf-8")
    return path


class _Opened:
    """A page, and what went wrong in it."""

    def __init__(
        self, browser: "Browser", path: Path, width: int, scheme: str = "light"
    ) -> None:
        self.page: Page = browser.new_page(
            viewport={"width": width, "height": 1000},
            color_scheme=scheme,  # type: ignore[arg-type]  # one of two words
        )
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self.wrong.append(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.goto(path.as_uri())

    def _check(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.wrong.append(f"asked for {url}")

    def open_details(self) -> None:
        self.page.evaluate(
            "document.querySelectorAll('details').forEach(one => one.open = true)"
        )

    def check(self) -> None:
        assert self.page.evaluate(_WIDER) <= 0
        assert self.page.evaluate(_CLIPPED) == []
        assert self.page.evaluate(_OVERLAPPING) == []
        assert self.wrong == []

    def screenshot(self, name: str) -> None:
        SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.screenshot(path=SCREENS / name, full_page=True)


@pytest.mark.parametrize("width", [1400, 1280, 1024, 800, 420])
def test_nothing_is_cut_whatever_the_width(
    chromium: "Browser", page_file: Path, width: int
) -> None:
    opened = _Opened(chromium, page_file, width)
    opened.check()
    opened.screenshot(f"report-{width}.png")
    opened.open_details()
    opened.check()
    opened.page.close()


def test_a_dark_room_gets_a_dark_page(chromium: "Browser", page_file: Path) -> None:
    opened = _Opened(chromium, page_file, 1400, "dark")
    colour = "getComputedStyle(document.body).backgroundColor"
    assert opened.page.evaluate(colour) == "rgb(22, 24, 26)"
    opened.screenshot("report-dark.png")
    opened.page.emulate_media(media="print")
    assert opened.page.evaluate(colour) == "rgb(255, 255, 255)"
    opened.page.close()


def test_paper_shows_everything(chromium: "Browser", page_file: Path) -> None:
    opened = _Opened(chromium, page_file, 718)  # A4 less its margins
    SCREENS.mkdir(parents=True, exist_ok=True)
    opened.page.pdf(path=SCREENS / "report.pdf", format="A4", print_background=True)
    opened.page.emulate_media(media="print")
    opened.page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    opened.check()
    cut = """[...document.querySelectorAll('.scroll')].filter(
        one => one.getBoundingClientRect().width + 1 < one.scrollWidth).length"""
    assert opened.page.evaluate(cut) == 0
    hidden = "[...document.querySelectorAll('details:not([open])')].length"
    assert opened.page.evaluate(hidden) == 0
    opened.page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert opened.page.evaluate(hidden) > 0
    opened.page.close()


def test_names_are_shown_as_they_are(chromium: "Browser", page_file: Path) -> None:
    opened = _Opened(chromium, page_file, 1400)
    opened.open_details()
    text = " ".join(opened.page.inner_text("body").split())
    for name in HOSTILE:
        assert escaped(name) in text  # control and direction characters as codes
    assert opened.page.evaluate("document.scripts.length") == 1
    assert opened.wrong == []
    opened.page.close()


def test_a_click_on_a_head_sorts_a_table(chromium: "Browser", page_file: Path) -> None:
    opened = _Opened(chromium, page_file, 1400)
    table = opened.page.locator("table.sortable").first
    column = table.locator("thead th").all_inner_texts()
    column_index = next(n for n, text in enumerate(column) if "final" in text)

    def values() -> list[float]:
        cells = table.locator(f"tbody tr > :nth-child({column_index + 1})")
        return [float(text.split()[0]) for text in cells.all_inner_texts()]

    before = values()
    button = table.locator("thead th").nth(column_index).locator("button")
    button.click()
    assert values() == sorted(before) != before
    button.press("Enter")  # the keyboard does it too
    assert values() == sorted(before, reverse=True)
    sorted_by = table.locator("thead th").nth(column_index).get_attribute("aria-sort")
    assert sorted_by == "descending"
    opened.page.close()


def test_the_list_of_contents_leads_to_each_run(
    chromium: "Browser", page_file: Path
) -> None:
    opened = _Opened(chromium, page_file, 1400)
    links = opened.page.locator("nav a")
    assert links.count() > 10
    for target in links.evaluate_all("all => all.map(a => a.getAttribute('href'))"):
        assert opened.page.locator(target).count() == 1
    opened.page.locator("nav a[href='#run-A']").click()
    assert opened.page.locator("#run-A > details").get_attribute("open") is not None
    opened.page.close()
