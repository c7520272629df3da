"""A small store with pictures, runs and hostile names, and a gallery that serves it."""

import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import uvicorn
from PIL import Image
from store_samples import encoder

from retune.cli.gallery.server import build_application
from retune.pipeline.app.gallery.gallery import Gallery
from retune.pipeline.app.train import TrainRequest, train
from retune.pipeline.learn.runs.selection import Selection
from retune.store import FeatureStore, FileState, content_digest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

HOSTILE = "<script>alert('x')</script> \"'& \u202eevil\x1b[31m\nline"
#: As a dataset may be called: it becomes part of ids.
DATASET = "<img src=x onerror=alert(1)>'\"\u202e"
FINDINGS = ("Edema", "Mass", HOSTILE)
N_IMAGES, SIDE = 150, 48
AUTHOR = "Dr <b>O'Hara</b>"


def gallery_store(root: Path, *, with_run: bool = True) -> FeatureStore:
    """150 pictures whose brightness and vectors follow their labels; one run."""
    random = np.random.default_rng(0)
    folder = root / "pictures"
    folder.mkdir(parents=True)
    states = random.integers(0, 2, (N_IMAGES, len(FINDINGS))).astype(np.int8)
    vectors = random.normal(size=(N_IMAGES, 16)).astype(np.float32)
    vectors[:, : len(FINDINGS)] += 2.5 * states
    names, keys, files = [], [], []
    for index in range(N_IMAGES):
        name = f"{index:03d}.png" if index else f"000{chr(0x202E)}<b>'\".png"
        pixels = random.integers(0, 60, (SIDE, SIDE)).astype(np.uint8)
        pixels[8:40, 8:40] += np.uint8(60 + 60 * states[index, 0])
        Image.fromarray(pixels).save(folder / name)
        content = (folder / name).read_bytes()
        names.append(name)
        keys.append(content_digest(content))
        files.append(
            FileState(f"{DATASET}/{name}", keys[-1], len(content), 0, "as stored")
        )
    (folder / names[-1]).unlink()  # one file is gone
    splits = np.array(["train", "train", "train", "validation", "test"])
    table = pa.table(
        {
            "image_id": [f"{DATASET}/{name}" for name in names],
            "dataset": [DATASET] * N_IMAGES,
            "path": names,
            "patient_id": [f"p{index // 2}" for index in range(N_IMAGES)],
            "study_id": pa.nulls(N_IMAGES, pa.string()),
            "view": [("PA", "AP")[index % 2] for index in range(N_IMAGES)],
            "sex": [("F", "M")[index // 2 % 2] for index in range(N_IMAGES)],
            "age": pa.array(np.arange(N_IMAGES) / 2, pa.float32()),
            "split": splits[(np.arange(N_IMAGES) // 2) % 5].tolist(),
        }
    )
    store = FeatureStore.create(root / "store")
    texts = random.normal(size=(2 * len(FINDINGS), 16)).astype(np.float32)
    with store.writer("test") as writer:
        writer.replace_dataset(
            table, FINDINGS, states, dataset=DATASET, layout="table", root=folder,
            split_seed=0,
        )  # fmt: skip
        writer.publish(encoder(16), "image", keys, vectors)
        writer.note(files, [])
        sentences = [f"{n} {k}" for n in ("yes", "no") for k in range(len(FINDINGS))]
        text_keys = [content_digest(one.encode()) for one in sentences]
        writer.publish(encoder(16), "text", text_keys, texts)
    for index, (sentence, key) in enumerate(zip(sentences, text_keys, strict=True)):
        store.sql(
            """INSERT INTO descriptions SELECT ?, 'default', ?, ?, ?, ?, 'x', 'x',
            'x', 'x', false, false, 'x'""",
            [
                str(index), FINDINGS[index % len(FINDINGS)],
                "positive" if index < len(FINDINGS) else "negative", sentence, key,
            ],
            write=True,
        )  # fmt: skip
    if with_run:
        request = TrainRequest("label", Selection(), method="analytic", bounds=False)
        train(store, request)
    return store


@contextmanager
def served(gallery: Gallery) -> Iterator[str]:
    """The address of a gallery that is served by a thread, with its token."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    token = secrets.token_urlsafe(8)
    config = uvicorn.Config(
        build_application(gallery, token, port), host="127.0.0.1", port=port,
        log_level="critical", lifespan="off", timeout_graceful_shutdown=1,
    )  # fmt: skip
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{port}/?token={token}"
    finally:
        server.should_exit = True
        thread.join()


_SCREENS = Path(__file__).resolve().parents[1] / "build" / "screens"
#: A picture that is gone is told by the browser, and by the page; reading the canvas is
#: what the tests do.
_EXPECTED = ("410", "willReadFrequently")


class Visit:
    """A page with what went wrong in it."""

    def __init__(self, browser: "Browser", address: str, width: int = 1280) -> None:
        self.context = browser.new_context(viewport={"width": width, "height": 800})
        self.context.set_default_timeout(60_000)  # a busy machine is no fault
        self.page: Page = self.context.new_page()
        self.home = address.split("?")[0]
        self.wrong: list[str] = []
        self.page.on("console", lambda message: self._note(message.text))
        self.page.on("pageerror", lambda error: self.wrong.append(str(error)))
        self.page.on("dialog", lambda dialog: self.wrong.append(dialog.message))
        self.page.on("request", lambda request: self._check(request.url))
        self.page.goto(address)
        self.page.wait_for_url("**/images")

    def _note(self, text: str) -> None:
        if not any(code in text for code in _EXPECTED):
            self.wrong.append(text)

    def _check(self, url: str) -> None:
        if not url.startswith((self.home, "data:", "blob:")):
            self.wrong.append(f"asked for {url}")

    def open(self, path: str) -> None:
        self.page.goto(self.home + path)
        self.page.wait_for_load_state("networkidle")

    def shoot(self, name: str, *, full_page: bool = False) -> None:
        _SCREENS.mkdir(parents=True, exist_ok=True)
        self.page.wait_for_load_state("networkidle")
        self.page.screenshot(path=_SCREENS / f"{name}.png", full_page=full_page)

    def until(self, expression: str) -> None:
        """Wait for an expression to be true; the page's policy forbids others to."""
        from playwright.sync_api import Error

        for _ in range(1200):
            with suppress(Error):  # the page is just being left
                if self.page.evaluate(expression):
                    return
            self.page.wait_for_timeout(50)
        raise AssertionError(f"never true: {expression}")
