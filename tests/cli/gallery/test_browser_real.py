"""The gallery over real radiographs and the demo, with mini, in a real browser."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from gallery_samples import AUTHOR, Visit, served

import retune
from retune.pipeline.app.demo import draw_demo
from retune.pipeline.app.gallery.gallery import Gallery

if TYPE_CHECKING:
    from playwright.sync_api import Browser

pytestmark = [pytest.mark.browser, pytest.mark.e2e]


def _walk_through(chromium: "Browser", store: retune.Store, name: str) -> None:
    """Everything that a person does, once; screenshots on the way."""
    gallery = Gallery(store.feature_store, AUTHOR)
    with served(gallery) as address:
        visit = Visit(chromium, address)
        try:
            _look(visit, store, name)
        finally:
            visit.context.close()
    assert visit.wrong == []


def _look(visit: Visit, store: retune.Store, name: str) -> None:
    page = visit.page
    visit.shoot(f"{name}-grid")
    page.select_option("[name=view]", "PA")
    page.click("#filters button")
    page.wait_for_url("**view=PA")
    page.locator(".tile").first.click()
    page.wait_for_selector("#picture[data-ready]")
    image = page.inner_text("h1")
    box = page.locator("#picture").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 200, box["y"] + 200)
    page.mouse.down()
    page.mouse.move(box["x"] + 140, box["y"] + 220, steps=4)
    page.mouse.up()
    assert page.inner_text("#window") != "window 255, level 128"
    visit.shoot(f"{name}-image")
    row = page.locator(".labels tbody tr").first
    finding = row.locator("th").inner_text()
    row.locator("select").select_option("uncertain")
    row.locator("button").click()
    page.wait_for_url("**#labels")
    assert "version 2" in page.inner_text("#labels")
    assert store.sql(
        "SELECT state FROM labels WHERE image_id = ? AND finding = ?", [image, finding]
    ).fetchall() == [("uncertain",)]
    assert store.sql(
        "SELECT version, author FROM label_edits WHERE image_id = ?", [image]
    ).fetchall() == [(2, AUTHOR)]
    page.fill("#q", "an enlarged heart")
    page.press("#q", "Enter")
    page.wait_for_url("**/images?among=*")
    assert page.locator(".tile .facts b").count() > 5
    visit.shoot(f"{name}-search")
    root, path = store.sql(
        """SELECT root, path FROM images JOIN datasets USING (dataset)
        WHERE image_id = ?""",
        [image],
    ).fetchall()[0]
    page.set_input_files("#file", str(Path(root, path)))
    visit.until("document.querySelector('.count').textContent.includes('like ')")
    assert page.locator(".tile").first.get_attribute("data-id") == image
    visit.open("map")
    page.wait_for_selector("#map[data-ready]")
    page.select_option("[name=by]", "finding")
    page.wait_for_selector("#map[data-ready=finding]")
    box = page.locator("#map").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 3, box["y"] + 3)
    page.mouse.down()
    for x, y in ((box["width"] * 0.6, 3), (box["width"] * 0.6, box["height"] - 3),
                 (3, box["height"] - 3)):  # fmt: skip
        page.mouse.move(box["x"] + x, box["y"] + y, steps=3)
    page.mouse.up()
    visit.shoot(f"{name}-map")
    page.click("#show-selected")
    page.wait_for_url("**/images?among=*")
    assert int(page.inner_text("#total")) > 0
    visit.open("errors?kind=uncertain")
    assert page.locator(".tile").count() > 0
    visit.shoot(f"{name}-errors")
    visit.open("runs")
    visit.shoot(f"{name}-runs", full_page=True)


@pytest.mark.real
def test_real_radiographs(chromium: "Browser", tmp_path: Path, real_data: Path) -> None:
    store = retune.open(tmp_path / "store", create=True)
    store.ingest(real_data / "nih-320", layout="nih", dataset="nih")
    store.embed("mini", where="image_id < 'nih/images/00005'")
    store.train(
        "joint", method="analytic", bounds=False, allow_contaminated=True,
        findings=["Infiltration", "Atelectasis"],
    )  # fmt: skip
    _walk_through(chromium, store, "gallery-nih-320")


def test_the_demo(chromium: "Browser", tmp_path: Path) -> None:
    draw_demo(tmp_path / "drawn", n_images=120)
    store = retune.open(tmp_path / "store", create=True)
    store.ingest(tmp_path / "drawn", dataset="demo")
    store.embed("mini")
    for method in ("analytic", "finetune"):
        store.train("label", method=method, bounds=False)
    _walk_through(chromium, store, "gallery-demo")
