"""The gallery over 200,000 simulated images: first paint, next page, memory."""

import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
from pathlib import Path
from urllib.request import Request, urlopen

import numpy as np
from measuring import Row, seconds
from PIL import Image
from search_benchmark import make_search_store

N_IMAGES = 200_000
_PICTURES = 240
_PAINT_SECONDS, _PAGE_SECONDS, _BYTES = 2.0, 0.3, 500e6
_SERVE = "from retune.cli.main import main; main()"


def gallery_rows(root: Path) -> list[Row]:
    """A server in a process of its own, asked as a browser asks it."""
    path = root / f"search-{N_IMAGES}"
    if not (path / "retune-store.json").exists():
        make_search_store(path, N_IMAGES)
    _draw_pictures(root)
    with subprocess.Popen(
        [sys.executable, "-c", _SERVE, "view", "--store", str(path), "--no-browser"],
        stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as server:  # fmt: skip
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            return _measured(address, server.pid)
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(20)


def _draw_pictures(root: Path) -> None:
    """Files for the first and for some later images; the rest are absent."""
    random = np.random.default_rng(0)
    for row in range(_PICTURES):
        pixels = random.integers(0, 255, (320, 320)).astype(np.uint8)
        Image.fromarray(pixels).save(root / f"{row:08d}.png")


def _measured(address: str, pid: int) -> list[Row]:
    home = address.split("?")[0]
    with urlopen(address) as answer:
        cookie = answer.headers["set-cookie"].split(";")[0]

    def ask(path: str) -> bytes:
        with urlopen(Request(home + path, headers={"Cookie": cookie})) as answer:
            return bytes(answer.read())

    first = seconds(lambda: ask("images"))
    paint = _painted(address) or first
    pages = [
        seconds(lambda n=n: ask(f"tiles?start={n}&count=60"))
        for n in (60, 6_000, 100_000, 199_940, 50_000, 150_000, 300)
    ]
    filtered = seconds(lambda: ask("tiles?finding=Edema&state=positive&sort=age"))
    for n in range(0, _PICTURES, 2):
        ask(f"thumbnail?id=sim/{n:08d}.png")
    status = Path(f"/proc/{pid}/status").read_text()
    peak_line = re.search(r"VmHWM:\s+(\d+)", status)
    assert peak_line is not None
    peak = int(peak_line[1]) * 1024
    page = statistics.median(pages)
    title = f"gallery of {N_IMAGES:,}"
    return [
        Row(f"{title}: page from the server", first, _PAINT_SECONDS, "s",
            _PAINT_SECONDS / first, 1.0),
        Row(f"{title}: first paint in Chromium", paint, _PAINT_SECONDS, "s",
            _PAINT_SECONDS / paint, 1.0),
        Row(f"{title}: next part of the grid", page, _PAGE_SECONDS, "s",
            _PAGE_SECONDS / page, 1.0),
        Row(f"{title}: filter and sort anew", filtered, _PAINT_SECONDS, "s",
            _PAINT_SECONDS / filtered, 1.0),
        Row(f"{title}: memory of the server", peak / 1e6, _BYTES / 1e6, "MB",
            _BYTES / peak, 1.0),
    ]  # fmt: skip


def _painted(address: str) -> float | None:
    """Seconds to the first contentful paint of the grid; None without Chromium."""
    path = os.environ.get("RETUNE_CHROMIUM") or shutil.which("chromium")
    if path is None:
        return None
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=["--no-sandbox"]
        )
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        page.goto(address)
        page.wait_for_url("**/images")
        page.goto(address.split("?")[0] + "images", wait_until="domcontentloaded")
        paints = "performance.getEntriesByName('first-contentful-paint')"
        while not page.evaluate(f"{paints}.length"):
            page.wait_for_timeout(20)
        painted_ms = page.evaluate(f"{paints}[0].startTime")
        browser.close()
    return float(painted_ms) / 1000
