"""Whatever happens to `embed` or its files while it runs, the store ends up the same.

The backbone is a stub and the images are tiny, so that processes start and work fast
enough to be killed thirty times.
"""

import errno
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.context import ForkServerContext
from pathlib import Path

import duckdb
import numpy as np
import pytest
from image_samples import write_dataset, write_images
from PIL import Image
from process_samples import forking_context
from stub_backbone import (
    StubBackbone,
    assert_tidy,
    embed_stub,
    ingested_store,
    stored_rows,
)

from retune.pipeline.progress import Progress
from retune.store import FeatureStore, content_digest
from retune.store.catalog import Catalog
from retune.store.errors import StoreBusyError, StoreWriteError

pytestmark = pytest.mark.e2e

_N_IMAGES = 28
_KILLS = 30
Rows = dict[str, list[float]]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store that knows its images and has encoded none."""
    folder = tmp_path_factory.mktemp("killed")
    write_dataset(folder / "data", _N_IMAGES)
    return ingested_store(folder / "template", folder / "data").path


@pytest.fixture(scope="module")
def expected(template: Path) -> Rows:
    """What an uninterrupted run leaves."""
    folder = template.with_name("uninterrupted")
    shutil.copytree(template, folder)
    embed_stub(folder)
    rows = stored_rows(FeatureStore(folder))
    assert len(rows) == _N_IMAGES
    return rows


@pytest.fixture(scope="module")
def forking() -> ForkServerContext:
    return forking_context()


def _run(context: ForkServerContext, folder: Path, seconds: float | None) -> int:
    """Embed in a process of its own, killed if it takes longer; gives its exit code."""
    process = context.Process(target=embed_stub, args=(folder,))
    process.start()
    process.join(seconds)
    process.kill()
    process.join()
    assert process.exitcode is not None
    return process.exitcode


def test_thirty_kills_at_random_moments(
    template: Path, expected: Rows, forking: ForkServerContext, tmp_path: Path
) -> None:
    random = np.random.default_rng(4)
    whole = tmp_path / "whole"
    shutil.copytree(template, whole)
    started = time.perf_counter()
    assert _run(forking, whole, None) == 0
    longest = time.perf_counter() - started
    kills, interrupted_at = 0, set()
    # On a busy machine most moments may fall before the first commit: go on until some
    # fell after it.
    while kills < _KILLS or (len(interrupted_at) < 2 and kills < 3 * _KILLS):
        folder = tmp_path / f"killed-{kills}"
        shutil.copytree(template, folder)
        # A run that ended sooner than the moment chosen for it does not count.
        if _run(forking, folder, random.uniform(0, longest)) == -signal.SIGKILL:
            kills += 1
            store = FeatureStore(folder)
            (count,) = store.sql("SELECT count(*) FROM features").fetchall()
            interrupted_at.add(count)
            embed_stub(folder)
            assert stored_rows(store) == expected
            assert_tidy(store)
        shutil.rmtree(folder)
    assert len(interrupted_at) > 1, "the moments were not spread over the run"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    write_dataset(tmp_path / "data", _N_IMAGES)
    return ingested_store(tmp_path / "store", tmp_path / "data")


def _after_first_batch(action: Callable[[], object]) -> Callable[[Progress], None]:
    """A progress callback that acts once, when the first images are done."""
    waiting = [action]

    def show(progress: Progress) -> None:
        if progress.stage == "images" and waiting:
            waiting.pop()()

    return show


def _digests(store: FeatureStore) -> dict[str, str]:
    return dict(store.sql("SELECT path, content_digest FROM images").fetchall())


def test_a_source_file_removed_while_running_costs_itself(
    store: FeatureStore, tmp_path: Path
) -> None:
    victim = tmp_path / "data" / "027.png"
    content = victim.read_bytes()
    embed_stub(store.path, _after_first_batch(victim.unlink))
    rows = store.sql("SELECT path, stage, error FROM failures").fetchall()
    assert rows == [(str(victim), "read", "No such file or directory")]
    victim.write_bytes(content)
    embed_stub(store.path)
    assert _digests(store)["027.png"] == content_digest(content)
    assert len(stored_rows(store)) == _N_IMAGES
    assert_tidy(store)


@pytest.mark.parametrize("name", ["000.png", "027.png"])
def test_an_image_replaced_while_running_never_keeps_the_old_vector(
    store: FeatureStore, tmp_path: Path, name: str
) -> None:
    """The first was read before it was replaced, the last is read after it."""
    victim, fresh = tmp_path / "data" / name, tmp_path / "fresh.png"
    write_images(tmp_path, ["fresh.png"], seed=99)
    digest = content_digest(fresh.read_bytes())
    embed_stub(store.path, _after_first_batch(lambda: fresh.replace(victim)))
    was_read_later = _digests(store)[name] == digest
    assert was_read_later == (name == "027.png")
    embed_stub(store.path)
    assert _digests(store)[name] == digest
    ((vector,),) = store.sql(
        "SELECT embedding FROM image_features WHERE path = ?", [name]
    ).fetchall()
    with Image.open(victim) as image:
        pixels = StubBackbone().preprocess.to_pixels(image)
    assert list(vector) == StubBackbone().encode_images(pixels[None])[0].tolist()
    assert_tidy(store)


def test_a_folder_that_turns_read_only_loses_nothing(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = os.open

    def refuse(path: object, flags: int, *rest: int) -> int:
        if flags & os.O_CREAT and "features" in str(path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))
        return original(path, flags, *rest)  # type: ignore[arg-type]  # as it came

    def turn() -> None:
        monkeypatch.setattr(os, "open", refuse)

    with pytest.raises(StoreWriteError, match="Read-only file system") as caught:
        embed_stub(store.path, _after_first_batch(turn))
    assert "run the same command again" in caught.value.hint
    monkeypatch.undo()
    embed_stub(store.path)
    assert len(stored_rows(store)) == _N_IMAGES
    assert_tidy(store)


def test_a_store_that_is_read_only_is_said_at_once(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: object, *_: int) -> int:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(StoreWriteError, match=r"writer.lock: Read-only file system"):
        embed_stub(store.path)


def test_an_interruption_right_after_a_commit_enters_nothing_twice(
    store: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C may fall between the transaction's end and the writer's noticing it."""
    original, interrupted = Catalog.write, []

    @contextmanager
    def write(self: Catalog, *rest: float) -> Iterator[duckdb.DuckDBPyConnection]:
        with original(self, *rest) as connection:
            yield connection
        if len(interrupted) < 1 and _shards_of_images(self):
            interrupted.append(True)
            raise KeyboardInterrupt

    monkeypatch.setattr(Catalog, "write", write)
    with pytest.raises(KeyboardInterrupt):
        embed_stub(store.path)
    assert interrupted
    assert_tidy(store)
    embed_stub(store.path)
    assert len(stored_rows(store)) == _N_IMAGES
    assert_tidy(store)


def _shards_of_images(catalog: Catalog) -> bool:
    with catalog.read() as connection:
        query = "FROM shards WHERE modality = 'image'"
        return bool(connection.execute(query).fetchall())


def test_two_embeds_that_wait_do_the_work_once(
    store: FeatureStore, expected: Rows, forking: ForkServerContext
) -> None:
    both = [
        forking.Process(target=embed_stub, args=(store.path,), kwargs={"wait": True})
        for _ in range(2)
    ]
    for process in both:
        process.start()
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert stored_rows(store) == expected
    assert_tidy(store)


def test_a_second_embed_says_who_writes_and_waits_or_leaves(
    store: FeatureStore, expected: Rows
) -> None:
    told = threading.Event()
    said: list[str] = []

    def hear(progress: Progress) -> None:
        said.append(progress.stage)
        told.set()

    second = threading.Thread(
        target=embed_stub, args=(store.path, hear), kwargs={"wait": True}
    )
    with store.writer("ingest"):
        with pytest.raises(StoreBusyError, match="ingest") as caught:
            embed_stub(store.path)
        assert "--wait" in caught.value.hint
        second.start()
        assert told.wait(60)
        assert not store.sql("FROM shards").fetchall()
    second.join()
    assert said[0].startswith(f"waiting for ingest (process {os.getpid()} ")
    assert stored_rows(store) == expected


def test_queries_from_another_process_run_throughout(
    store: FeatureStore, expected: Rows, forking: ForkServerContext
) -> None:
    # A commit for each image: queries have time to fall between two of them.
    slowly = {"batch_size": 1, "shard_rows": 1}
    process = forking.Process(target=embed_stub, args=(store.path,), kwargs=slowly)
    process.start()
    counts = []
    while process.is_alive():
        rows = store.sql("SELECT image_id, embedding FROM image_features").fetchall()
        assert all(len(vector) == 16 for _, vector in rows)
        counts.append(len(rows))
    process.join()
    assert process.exitcode == 0
    assert counts == sorted(counts)
    assert set(counts) - {0, _N_IMAGES}, "no query fell into the run"
    assert stored_rows(store) == expected
