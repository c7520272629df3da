"""The gallery in a real browser; screenshots go to build/screens/."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from gallery_samples import (
    AUTHOR,
    DATASET,
    HOSTILE,
    N_IMAGES,
    Visit,
    gallery_store,
    served,
)

from retune.pipeline.app.gallery.gallery import Gallery
from retune.store import FeatureStore

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = [pytest.mark.browser, pytest.mark.e2e]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    return gallery_store(tmp_path_factory.mktemp("browser"))


@pytest.fixture(scope="module")
def address(store: FeatureStore) -> Iterator[str]:
    gallery = Gallery(store, AUTHOR)
    encoder = gallery.encoder()
    encoder.sentence = lambda text: encoder.image(
        f"{DATASET}/00{len(text) % 9 + 1}.png"
    )  # type: ignore[method-assign, assignment, return-value]
    encoder.picture = lambda _: encoder.image(f"{DATASET}/007.png")  # type: ignore[method-assign, assignment, return-value]
    with served(gallery) as base_url:
        yield base_url


@pytest.fixture
def visit(chromium: "Browser", address: str) -> Iterator[Visit]:
    opened = Visit(chromium, address)
    yield opened
    opened.context.close()
    assert opened.wrong == []


def _no_sideways(page: "Page") -> bool:
    return bool(
        page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    )


def test_images_are_filtered_sorted_and_walked_through(visit: Visit) -> None:
    page = visit.page
    assert page.inner_text("#total") == str(N_IMAGES)
    visit.shoot("gallery-grid-hostile")
    page.select_option("[name=view]", "PA")
    page.select_option("[name=finding]", HOSTILE)
    page.select_option("[name=state]", "positive")
    page.fill("[name=where]", "age > 10")
    page.select_option("[name=sort]", "age")
    page.select_option("[name=descending]", "1")
    page.click("#filters button")
    page.wait_for_url("**/images?**")
    shown = int(page.inner_text("#total"))
    assert 0 < shown < N_IMAGES / 2
    ages = [
        float(text.split(" · ")[2].split()[0])
        for text in page.locator(".tile .facts").all_inner_texts()
    ]
    assert ages == sorted(ages, reverse=True)
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.className") == "tile"
    chosen = page.evaluate("document.activeElement.dataset.id")
    page.keyboard.press("Enter")
    page.wait_for_url("**/image?**")
    assert chosen.split("/")[-1] in page.inner_text("h1")
    page.keyboard.press("Escape")
    page.wait_for_url("**/images?**")
    page.keyboard.press("Escape")
    visit.until("location.search === ''")


def test_a_long_grid_holds_only_what_is_seen(visit: Visit) -> None:
    page = visit.page
    page.wait_for_selector("#grid.moving")
    page.locator(".tile").first.focus()
    page.keyboard.press("End")
    last = f".tile[data-place='{N_IMAGES - 1}']"
    page.wait_for_selector(f"{last}:not([data-id=''])")
    visit.until(f"document.querySelector(\"{last}\").title.endsWith('149.png')")
    assert page.locator(".tile").count() < N_IMAGES
    assert page.evaluate("document.activeElement.dataset.place") == str(N_IMAGES - 1)
    page.keyboard.press("Home")
    visit.until("document.activeElement.dataset.place === '0'")
    assert "script" not in page.evaluate(
        "[...document.scripts].map(s => s.text).join()"
    )


def test_window_level_inversion_and_zoom(visit: Visit) -> None:
    page = visit.page
    visit.open(f"image?id={DATASET}/003.png")
    page.wait_for_selector("#picture[data-ready]")
    grey = """() => { const c = document.getElementById('picture');
        const at = c.getContext('2d').getImageData(c.width / 2, c.height / 2, 1, 1);
        return at.data[0]; }"""
    before = page.evaluate(grey)
    box = page.locator("#picture").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x - 60, y + 60, steps=5)
    page.mouse.up()
    assert page.inner_text("#window") == "window 210, level 83"
    after = page.evaluate(grey)
    assert after > before  # a lower level is brighter
    page.keyboard.press("i")
    visit.until("document.getElementById('window').textContent.includes('inverted')")
    assert abs(page.evaluate(grey) - (255 - after)) <= 3
    page.mouse.wheel(0, -300)
    visit.until("document.getElementById('window').textContent.includes('zoom')")
    page.click("#reset")
    visit.until(
        "document.getElementById('window').textContent === 'window 255, level 128'"
    )
    assert page.evaluate(grey) == before
    page.focus("#picture")
    page.keyboard.press("ArrowRight")
    visit.until("document.getElementById('window').textContent.includes('window 263')")
    assert page.locator(".labels tbody tr").count() == 3
    assert page.locator(".labels .decision").count() == 3
    assert page.locator(".strip .tile").count() > 3
    assert _no_sideways(page)
    visit.shoot("gallery-image-hostile", full_page=True)


def test_a_picture_that_is_gone_is_told(visit: Visit) -> None:
    visit.open(f"image?id={DATASET}/149.png")
    visit.page.wait_for_selector("#trouble:not([hidden])")
    assert "No such file" in visit.page.inner_text("#trouble")


def test_a_label_and_a_note_are_written_under_the_users_name(
    visit: Visit, store: FeatureStore
) -> None:
    page = visit.page
    image = f"{DATASET}/011.png"
    (before,) = store.sql(
        "SELECT state FROM labels WHERE image_id = ? AND finding = ?", [image, HOSTILE]
    ).fetchall()[0]
    visit.open(f"image?id={image}")
    row = page.locator(".labels tbody tr").nth(2)
    row.locator("select").select_option("uncertain")
    row.locator("button").click()
    page.wait_for_url("**#labels")
    assert "version 2" in page.inner_text("#labels")
    assert AUTHOR in page.locator(".history").inner_text()
    page.fill("#text", HOSTILE)
    page.click(".note-form button")
    page.wait_for_url("**#notes")
    assert "<script>" in page.locator(".note").inner_text()
    assert store.sql(
        "SELECT state FROM labels WHERE image_id = ? AND finding = ?", [image, HOSTILE]
    ).fetchall() == [("uncertain",)]
    assert store.sql(
        """SELECT version, state_before, state_after, author FROM label_edits"""
    ).fetchall() == [(2, before, "uncertain", AUTHOR)]
    assert store.sql(
        "SELECT state FROM old_labels WHERE image_id = ? AND finding = ?",
        [image, HOSTILE],
    ).fetchall() == [(before,)]
    assert store.sql("SELECT author FROM image_notes").fetchall() == [(AUTHOR,)]


def test_a_sentence_and_a_dropped_file_find_images(visit: Visit) -> None:
    page = visit.page
    page.fill("#q", HOSTILE.replace("\n", " "))
    page.fill("#not", "something")
    page.press("#q", "Enter")
    page.wait_for_url("**/images?among=*")
    page.wait_for_load_state("networkidle")
    assert "and not “something”" in page.inner_text(".count")
    first = page.locator(".tile .facts b").first.inner_text()
    assert float(first) <= 2
    visit.open("map")
    transfer = page.evaluate_handle(
        """() => { const all = new DataTransfer();
        const canvas = document.createElement('canvas');
        canvas.width = canvas.height = 40;
        const pen = canvas.getContext('2d');
        pen.fillStyle = '#888'; pen.fillRect(5, 5, 20, 20);
        const bytes = atob(canvas.toDataURL('image/png').split(',')[1]);
        const file = Uint8Array.from(bytes, (c) => c.charCodeAt(0));
        all.items.add(new File([file], '<b>new.png', { type: 'image/png' }));
        return all; }"""
    )
    page.dispatch_event("body", "dragenter", {"dataTransfer": transfer})
    assert page.evaluate("document.body.classList.contains('dropping')")
    page.dispatch_event("body", "drop", {"dataTransfer": transfer})
    page.wait_for_url("**/images?among=*")
    assert "like <b>new.png" in page.inner_text(".count")
    assert page.locator(".tile").first.get_attribute("data-id") == f"{DATASET}/007.png"


def test_the_map_is_drawn_round_and_leads_to_a_grid(visit: Visit) -> None:
    page = visit.page
    visit.open("map")
    page.wait_for_selector("#map[data-ready=dataset]")
    assert "onerror" in page.inner_text("#legend")
    page.select_option("[name=by]", "finding")
    page.wait_for_selector("#map[data-ready=finding]")
    assert "positive" in page.inner_text("#legend")
    page.select_option("[name=by]", "score")
    page.wait_for_selector("#map[data-ready=score]")
    assert "0.50" in page.inner_text("#legend")
    box = page.locator("#map").bounding_box()
    assert box is not None
    corners = [(0, 0), (0.5, 0), (0.5, 1), (0, 1), (0, 0)]
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for right, down in corners[1:]:
        page.mouse.move(
            box["x"] + 2 + right * (box["width"] - 4),
            box["y"] + 2 + down * (box["height"] - 4),
            steps=4,
        )
    page.mouse.up()
    visit.shoot("gallery-map-hostile")
    words = page.inner_text("#show-selected")
    n_selected = int(words.split()[1])
    assert 0 < n_selected < N_IMAGES
    page.click("#show-selected")
    page.wait_for_url("**/images?among=*")
    assert page.inner_text("#total") == str(n_selected)


def test_errors_and_runs(visit: Visit) -> None:
    page = visit.page
    for mistake in ("false-positives", "false-negatives", "uncertain", "unfamiliar"):
        visit.open(f"errors?kind={mistake}")
        assert page.locator("h1").count() == 0, page.inner_text("main")
    visit.open("errors?kind=uncertain")
    assert page.locator(".tile").count() > 5
    assert "label" in page.locator(".tile .positive").first.inner_text()
    visit.open("runs")
    assert page.locator("svg").count() == 3
    assert page.locator(".heat td.learned").count() > 3
    assert _no_sideways(page)
    visit.shoot("gallery-runs-hostile", full_page=True)


@pytest.mark.parametrize("width", [820, 420])
def test_nothing_is_cut_on_a_tablet(
    chromium: "Browser", address: str, width: int
) -> None:
    visit = Visit(chromium, address, width)
    for path in ("images", f"image?id={DATASET}/003.png", "errors", "map", "runs"):
        visit.open(path)
        assert _no_sideways(visit.page), path
    visit.context.close()
    assert visit.wrong == []


def test_every_control_is_reached_by_keyboard(visit: Visit) -> None:
    page = visit.page
    reached: set[str] = set()
    for _ in range(40):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate(
                "document.activeElement.name || document.activeElement.className || "
                "document.activeElement.textContent.trim()"
            )
        )
    wanted = {
        "q", "not", "Images", "Map", "Errors", "Runs", "dataset", "split", "view",
        "sex", "age_from", "age_to", "finding", "state", "where", "sort", "tile",
        "file button",
    }  # fmt: skip
    assert wanted <= reached
    outline = page.evaluate(
        """() => { const a = document.querySelector('nav a'); a.focus();
        return getComputedStyle(a).outlineStyle; }"""
    )
    assert outline != "none"


def test_texts_have_enough_contrast(visit: Visit) -> None:
    page = visit.page
    weak = """() => { const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
      const light = ([r, g, b]) => [r, g, b].map((v) => { v /= 255;
        return v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; })
        .reduce((s, v, k) => s + v * [0.2126, 0.7152, 0.0722][k], 0);
      const back = (e) => { for (; e; e = e.parentElement) {
        const c = parse(getComputedStyle(e).backgroundColor);
        if (c.length === 3 || c[3] === 1) return c; } return [16, 19, 23]; };
      return [...document.querySelectorAll('main *, header *')].filter((e) =>
        [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim()) &&
        !e.disabled && !e.closest('svg')).map((e) => {
        const [a, b] = [light(parse(getComputedStyle(e).color)), light(back(e))];
        return [(Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05), e.textContent]; })
        .filter(([ratio]) => ratio < 4.5); }"""
    for path in ("images", f"image?id={DATASET}/003.png", "errors", "map", "runs"):
        visit.open(path)
        assert page.evaluate(weak) == [], path
