"""`embed` encodes each content once, loses nothing, and goes on after any crash."""

import shutil
import subprocess
import sys
from dataclasses import replace
from multiprocessing.context import ForkServerContext
from pathlib import Path

import numpy as np
import pytest
from image_samples import write_dataset, write_images, write_table, write_tiny_backbone
from PIL import Image
from process_samples import embed_aloud, forking_context

from retune.pipeline.app.encoders.backbones import drop_backbone, list_backbones
from retune.pipeline.datasets.ingest import read_dataset
from retune.pipeline.encode import embed as embed_module
from retune.pipeline.encode.backbones.contract import Backbone
from retune.pipeline.encode.embed import EmbedOptions, EmbedSummary, embed
from retune.pipeline.encode.stage import sink as shard_sink
from retune.pipeline.progress import Progress
from retune.store import FeatureStore, choose_encoder, read_labelled_images
from retune.store.errors import BackboneError, ConfigurationError, StoreWriteError

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_tiny_backbone(tmp_path_factory.mktemp("backbone") / "tiny")


@pytest.fixture(scope="module")
def forking() -> ForkServerContext:
    return forking_context()


def ingest(store: FeatureStore, folder: Path) -> None:
    plan = read_dataset(folder, "table", dataset="d")
    with store.writer("ingest") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="d", layout="table",
            root=plan.root, split_seed=0, moved=True,
        )  # fmt: skip


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data", 20)
    return tmp_path / "data"


@pytest.fixture
def store(tmp_path: Path, data: Path) -> FeatureStore:
    made = FeatureStore.create(tmp_path / "store")
    ingest(made, data)
    return made


def _embed(store: FeatureStore, backbone: str, **options: object) -> EmbedSummary:
    return embed(store, replace(EmbedOptions(backbone, batch_size=4), **options))  # type: ignore[arg-type]  # by name


def _vectors(store: FeatureStore) -> dict[str, np.ndarray]:
    read = read_labelled_images(store, choose_encoder(store).fingerprint)
    return dict(zip(read.images["image_id"].to_pylist(), read.embedding, strict=True))


def test_everything_is_encoded_once_and_then_nothing(
    store: FeatureStore, backbone: str
) -> None:
    first = _embed(store, backbone)
    assert (first.images_encoded, first.images_failed) == (20, 0)
    assert first.descriptions_encoded == 400
    second = _embed(store, backbone)
    assert (second.images_encoded, second.images_skipped) == (0, 20)
    assert second.descriptions_encoded == 0
    assert second.fingerprint == first.fingerprint
    assert len(_vectors(store)) == 20


def test_a_second_call_does_not_load_the_backbone(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    _embed(store, backbone)

    def never(*_: object, **__: object) -> Backbone:
        raise AssertionError("loaded")

    monkeypatch.setattr(embed_module, "load_to_embed", never)
    assert _embed(store, backbone).images_skipped == 20


def test_vectors_are_those_of_the_files(store: FeatureStore, backbone: str) -> None:
    _embed(store, backbone)
    whole = _vectors(store)
    again = FeatureStore.create(store.path.parent / "again")
    ingest(again, store.path.parent / "data")
    _embed(again, backbone, batch_size=7)
    for image_id, vector in _vectors(again).items():
        cosine = (
            vector.astype("f4")
            @ whole[image_id].astype("f4")
            / (
                np.linalg.norm(vector.astype("f4"))
                * np.linalg.norm(whole[image_id].astype("f4"))
            )
        )
        assert cosine > 0.9999


def test_new_files_are_encoded_and_only_they(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    _embed(store, backbone)
    names = [f"{i:03d}.png" for i in range(30)]
    write_images(data, names[20:], seed=1)
    write_table(data, names)
    ingest(store, data)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_skipped) == (10, 20)


def test_a_changed_file_is_encoded_again(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    _embed(store, backbone)
    before = _vectors(store)
    write_images(data, ["007.png"], seed=9)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_skipped) == (1, 19)
    after = _vectors(store)
    changed = [name for name in after if not np.array_equal(after[name], before[name])]
    assert changed == ["d/007.png"]


def test_a_renamed_or_touched_or_moved_file_is_not(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    _embed(store, backbone)
    before = _vectors(store)
    (data / "007.png").rename(data / "renamed.png")
    (data / "008.png").touch()
    names = [f"{i:03d}.png" for i in range(20)]
    names[7] = "renamed.png"
    write_table(data, names)
    ingest(store, data)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_matched) == (0, 2)
    np.testing.assert_array_equal(_vectors(store)["d/renamed.png"], before["d/007.png"])
    moved = data.with_name("moved")
    shutil.move(data, moved)
    ingest(store, moved)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_skipped) == (0, 20)


def test_equal_files_are_encoded_once_and_both_have_the_vector(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    shutil.copy(data / "001.png", data / "002.png")
    shutil.copy(data / "001.png", data / "019.png")
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_matched) == (18, 2)
    vectors = _vectors(store)
    assert len(vectors) == 20
    np.testing.assert_array_equal(vectors["d/001.png"], vectors["d/019.png"])


def _spoil(data: Path) -> dict[str, tuple[str, str]]:
    """Bad files: image id -> stage and a word of the reason."""
    good = (data / "000.png").read_bytes()
    (data / "003.png").write_bytes(b"")
    (data / "004.png").write_bytes(b"not an image")
    (data / "005.png").write_bytes(good[: len(good) // 2])
    (data / "006.png").unlink()
    (data / "007.png").unlink()
    (data / "007.png").mkdir()
    return {
        "d/003.png": ("decode", "empty"),
        "d/004.png": ("decode", "not a PNG"),
        "d/005.png": ("decode", "damaged"),
        "d/006.png": ("read", "No such file"),
        "d/007.png": ("read", "directory"),
    }


def test_bad_files_become_failure_rows_and_cost_nobody_else(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    expected = _spoil(data)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_failed) == (15, 5)
    rows = store.sql("SELECT image_id, path, stage, error FROM failures").fetchall()
    assert {image_id for image_id, *_ in rows} == set(expected)
    for image_id, path, stage, error in rows:
        assert stage == expected[image_id][0]
        assert expected[image_id][1] in error
        assert Path(path).name == Path(image_id).name
    assert len(_vectors(store)) == 15


def test_refused_files_wait_until_they_change_or_are_asked_for(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    _spoil(data)
    _embed(store, backbone)
    again = _embed(store, backbone)
    assert (again.images_refused, again.images_encoded) == (3, 0)
    asked = _embed(store, backbone, retry_failed=True)
    assert (asked.images_refused, asked.images_failed) == (0, 5)
    attempts = store.sql(
        "SELECT max(attempt) FROM failures WHERE image_id = 'd/004.png'"
    ).fetchall()
    assert attempts == [(2,)]
    write_images(data, ["004.png"], seed=3)
    mended = _embed(store, backbone)
    assert (mended.images_encoded, mended.images_refused) == (1, 2)


def test_a_folder_of_only_bad_files(
    store: FeatureStore, data: Path, backbone: str
) -> None:
    for path in data.glob("*.png"):
        path.write_bytes(path.name.encode())
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_failed) == (0, 20)
    assert store.sql("SELECT count(*) FROM failures").fetchall() == [(20,)]


def test_a_vector_that_cannot_be_stored_is_a_failure_of_its_image_alone(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = Backbone.encode_images

    def spoiled(self: Backbone, pixels: np.ndarray) -> np.ndarray:
        vectors = original(self, pixels)
        vectors[0] = [np.nan] * vectors.shape[1]
        return vectors

    monkeypatch.setattr(Backbone, "encode_images", spoiled)
    summary = _embed(store, backbone)
    assert (summary.images_encoded, summary.images_failed) == (15, 5)
    rows = store.sql("SELECT DISTINCT stage FROM failures").fetchall()
    assert rows == [("encode",)]
    monkeypatch.undo()
    assert _embed(store, backbone).images_encoded == 5


def test_an_interruption_keeps_what_is_encoded(
    store: FeatureStore, backbone: str
) -> None:
    def stop(progress: Progress) -> None:
        if progress.stage == "images" and progress.done >= 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        embed(store, EmbedOptions(backbone, batch_size=4), stop)
    assert len(_vectors(store)) == 8
    assert _embed(store, backbone).images_encoded == 12
    assert not store.verify()
    assert _rates(store) == [(8, "cpu"), (12, "cpu")]


def _rates(store: FeatureStore) -> list[tuple[int, str]]:
    return store.sql(
        'SELECT images, device FROM encodings WHERE seconds > 0 ORDER BY "at"'
    ).fetchall()


def test_the_rate_of_an_encoder_is_kept_and_goes_with_it(
    store: FeatureStore, backbone: str
) -> None:
    store.sql("DROP TABLE encodings", write=True)  # as in an older store
    assert list_backbones(store) == []
    _embed(store, backbone)
    _embed(store, backbone)  # nothing is left to encode: no rate
    assert _rates(store) == [(20, "cpu")]
    seconds = store.sql("SELECT seconds FROM encodings").fetchall()[0][0]
    listed = list_backbones(store)[0]
    assert listed.images_per_second == pytest.approx(20 / seconds)
    drop_backbone(store, listed.fingerprint)
    assert _rates(store) == []


def test_a_backbone_that_breaks_down_keeps_what_is_encoded(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, calls = Backbone.encode_images, []

    def breaking(self: Backbone, pixels: np.ndarray) -> np.ndarray:
        calls.append(len(pixels))
        if sum(calls[:8]) > 8:  # two batches of four go well
            raise RuntimeError("the device is gone")
        return original(self, pixels)

    monkeypatch.setattr(Backbone, "encode_images", breaking)
    # One core: of two lanes either may come first.
    monkeypatch.setattr("retune.pipeline.encode.stage.stage.usable_cores", lambda: 1)
    with pytest.raises(BackboneError, match="the device is gone"):
        _embed(store, backbone, precision="float32")
    kept = len(_vectors(store))
    assert kept == 8
    monkeypatch.undo()
    again = _embed(store, backbone, precision="float32")
    assert again.images_encoded == 20 - kept
    assert not store.verify()


def test_a_full_disk_keeps_what_is_committed(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.store.vectors import shards

    original, calls = shards.write_atomically, []

    def filling(path: Path, content: bytes) -> None:
        calls.append(path)
        if len(calls) > 3:  # descriptions, then two shards of images
            raise StoreWriteError(f"cannot write {path}: No space left on device")
        original(path, content)

    monkeypatch.setattr(shards, "write_atomically", filling)
    with pytest.raises(StoreWriteError, match="No space left"):
        _embed(store, backbone, shard_rows=4)
    monkeypatch.undo()
    kept = len(_vectors(store))
    assert kept == 8
    assert _embed(store, backbone).images_encoded == 20 - kept
    assert not store.verify()


def test_readers_that_hold_the_catalog_do_not_stop_encoding(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shard_sink, "COMMIT_PATIENCE_SECONDS", 0.01)
    path = str(store.path / "catalog.duckdb")
    code = (
        f"import duckdb; c = duckdb.connect({path!r}, read_only=True); "
        "print('open', flush=True); input(); c.close()"
    )
    readers = []

    def hold(progress: Progress) -> None:
        if progress.stage == "images" and not readers:
            reader = subprocess.Popen(
                [sys.executable, "-c", code],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            )  # fmt: skip
            assert reader.stdout is not None
            reader.stdout.readline()
            readers.append(reader)
        elif progress.done == progress.total and progress.stage == "images":
            readers[0].communicate("\n")

    summary = embed(store, EmbedOptions(backbone, batch_size=4, shard_rows=4), hold)
    assert summary.images_encoded == 20
    assert len(_vectors(store)) == 20


@pytest.mark.parametrize("moment", range(4))
def test_kill_9_at_any_moment_loses_nothing_that_was_committed(
    store: FeatureStore, backbone: str, forking: ForkServerContext, moment: int
) -> None:
    options = EmbedOptions(backbone, batch_size=2, shard_rows=2)
    hears, tells = forking.Pipe(duplex=False)
    process = forking.Process(target=embed_aloud, args=(store.path, options, tells))
    process.start()
    tells.close()
    while hears.recv() != "images":
        pass
    for _ in range(moment):  # another moment of the loop each time
        hears.recv()
    process.kill()
    process.join()
    hears.close()
    _embed(store, backbone)
    assert len(_vectors(store)) == 20
    assert store.sql(
        """SELECT count(*), count(DISTINCT item_id) FROM features
        WHERE modality = 'image'"""
    ).fetchall() == [(20, 20)]
    assert not store.verify()


def test_two_backbones_live_side_by_side_and_are_not_mixed(
    store: FeatureStore, backbone: str, tmp_path: Path
) -> None:
    _embed(store, backbone)
    _embed(store, write_tiny_backbone(tmp_path / "other", seed=1))
    with pytest.raises(ConfigurationError, match="several encoders"):
        choose_encoder(store)
    assert store.sql("SELECT count(*) FROM image_features").fetchall() == [(40,)]


def test_an_idle_accelerator_is_told_before_the_work_begins(
    store: FeatureStore, backbone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_module, "count_installed", lambda: 1)
    seen: list[Progress] = []
    embed(store, EmbedOptions(backbone), seen.append)
    stages = [progress.stage for progress in seen]
    assert stages.index("warning") < stages.index("images")
    assert "torch cannot use" in seen[stages.index("warning")].note


@pytest.mark.real
def test_real_radiographs_with_mini(real_data: Path, tmp_path: Path) -> None:
    store = FeatureStore.create(tmp_path / "store")
    plan = read_dataset(real_data / "nih-1024")
    with store.writer("ingest") as writer:
        writer.replace_dataset(
            plan.images, plan.findings, plan.states, dataset="nih", layout="nih",
            root=plan.root, split_seed=0,
        )  # fmt: skip
    summary = embed(store, EmbedOptions())
    assert (summary.images_encoded, summary.images_failed) == (24, 0)
    vectors = np.stack(list(_vectors(store).values())).astype("f4")
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    cosine = unit @ unit.T
    assert 0.2 < cosine[~np.eye(24, dtype=bool)].mean() < 0.99


def test_how_pictures_are_shown_is_kept_by_content(
    store: FeatureStore, backbone: str, data: Path
) -> None:
    shutil.copy(data / "000.png", data / "001.png")
    _embed(store, backbone)
    rows = store.sql(
        """SELECT path, display FROM images JOIN image_display USING (content_digest)
        ORDER BY path"""
    ).fetchall()
    assert len(rows) == 20
    assert {display for _, display in rows} == {"as stored"}
    count = store.sql("SELECT count(*) FROM image_display").fetchall()[0][0]
    assert count == 19


def _of_before(store: FeatureStore, backbone: str) -> str:
    """Embed as it was before pixel rules had a number; gives the fingerprint."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(embed_module, "pixel_rules", lambda *_: 1)
        fingerprint = _embed(store, backbone).fingerprint
    with store.catalog.write() as connection:
        connection.execute("DROP TABLE image_display")
    return fingerprint


def test_a_store_of_before_goes_on_if_its_pictures_look_the_same(
    store: FeatureStore, backbone: str, data: Path
) -> None:
    before = _of_before(store, backbone)
    write_images(data, ["fresh.png"], seed=9)
    write_table(data, [*(f"{index:03d}.png" for index in range(20)), "fresh.png"])
    ingest(store, data)
    again = _embed(store, backbone)
    assert again.fingerprint == before
    assert (again.images_encoded, again.images_skipped) == (1, 20)
    shown = store.sql("SELECT count(*) FROM image_display").fetchall()[0][0]
    assert shown == 21
    assert _embed(store, backbone).images_skipped == 21


def test_a_store_of_before_is_encoded_anew_if_a_picture_looks_different(
    store: FeatureStore, backbone: str, data: Path
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(data / "007.png") as image:
        image.load()
    image.save(data / "007.png", exif=exif)
    before = _of_before(store, backbone)
    again = _embed(store, backbone)
    assert again.fingerprint != before
    assert again.images_encoded == 20
    last = _embed(store, backbone)
    assert (last.fingerprint, last.images_skipped) == (again.fingerprint, 20)


def test_a_new_store_has_the_rules_in_its_fingerprint(
    store: FeatureStore, backbone: str
) -> None:
    _embed(store, backbone)
    spec = choose_encoder(store)
    rows = store.sql("SELECT spec FROM encoders").fetchall()
    assert '"pixels":2' in rows[0][0]
    assert spec.fingerprint
