"""What `ingest` and `embed` say and keep beside the rows."""

from pathlib import Path

import numpy as np
import pytest
from image_samples import write_dataset
from store_samples import encoder
from stub_backbone import embed_stub

from retune.pipeline.app.ingest import IngestRequest, ingest
from retune.pipeline.progress import Progress
from retune.store import FeatureStore
from retune.store.vectors.shards import publish_shard


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", 3)
    return tmp_path / "data"


def _ingested(data: Path, *, follow_links: bool) -> FeatureStore:
    store = data.parent / f"store-{follow_links}"
    ingest(store, IngestRequest(data, "table", follow_links=follow_links))
    return FeatureStore(store)


@pytest.mark.parametrize("follow_links", [False, True])
def test_a_link_that_leads_out_after_ingest_is_refused_unless_followed(
    data: Path, tmp_path: Path, follow_links: bool
) -> None:
    store = _ingested(data, follow_links=follow_links)
    image = data / "001.png"
    image.rename(tmp_path / "elsewhere.png")
    image.symlink_to(tmp_path / "elsewhere.png")
    inner = data / "002.png"
    inner.rename(data / "renamed.png")
    inner.symlink_to(data / "renamed.png")
    embed_stub(store.path)
    failures = store.sql("SELECT image_id, stage, error FROM failures").fetchall()
    if follow_links:
        assert failures == []
    else:
        ((image_id, stage, error),) = failures
        assert (image_id, stage) == ("table/001.png", "read")
        assert "`follow_links`" in error


def test_what_a_killed_command_left_behind_is_told(data: Path) -> None:
    store = _ingested(data, follow_links=False)
    keys, vectors = np.array(["a" * 32, "b" * 32], dtype="S32"), np.ones((2, 8), "f4")
    publish_shard(store.path, encoder(), "image", keys, vectors)
    told: list[Progress] = []
    ingest(store.path, IngestRequest(data, "table"), told.append)
    assert [one.note for one in told] == [
        "1 shard was entered that an interrupted command left (2 vectors)"
    ]
    publish_shard(store.path, encoder(), "image", keys, vectors)
    embed_stub(store.path, told.append)
    assert sum("interrupted" in one.note for one in told) == 2


def test_verify_says_that_the_copies_are_behind(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = _ingested(data, follow_links=False)
    assert store.verify().copies_behind == 0
    with monkeypatch.context() as patched:
        patched.setattr(FeatureStore, "refresh_copies", lambda *_, **__: None)
        embed_stub(store.path)
    report = store.verify()
    assert report.copies_behind > 0
    assert not report, "nothing is wrong"
    embed_stub(store.path)
    assert store.verify().copies_behind == 0
