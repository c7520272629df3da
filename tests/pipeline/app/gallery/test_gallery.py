"""The gallery's questions: lists, tiles, small pictures, words of a person, the map."""

import importlib.util
import io
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from gallery_samples import AUTHOR, DATASET, FINDINGS, HOSTILE, N_IMAGES, gallery_store
from PIL import Image

from retune.pipeline.app.gallery import projection
from retune.pipeline.app.gallery.gallery import Gallery
from retune.pipeline.app.gallery.grid import SORTS, Filters
from retune.pipeline.app.gallery.thumbnails import (
    CACHE_FOLDER,
    THUMBNAIL_SIDE,
    Thumbnails,
    remove_thumbnails,
)
from retune.pipeline.app.measuring.label_audit import LabelAuditRequest, audit_labels
from retune.pipeline.learn.runs.selection import Selection
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, ImageError, QueryError

_IMAGE = f"{DATASET}/003.png"
_FIRST = f"{DATASET}/000\u202e<b>'\".png"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    """For tests that change nothing but the cache."""
    return gallery_store(tmp_path_factory.mktemp("gallery"))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return gallery_store(tmp_path, with_run=False)


@pytest.fixture
def gallery(shared: FeatureStore) -> Gallery:
    return Gallery(shared, AUTHOR)


def _ids(gallery: Gallery, **filters: str) -> list[str]:
    ids: list[str] = gallery.choose(Filters(**filters)).image_ids.to_pylist()
    return ids


def test_filters_choose_what_sql_chooses(gallery: Gallery) -> None:
    for filters, condition in (
        ({}, "true"),
        ({"dataset": DATASET}, "true"),
        ({"dataset": "other"}, "false"),
        ({"split": "test", "view": "PA", "sex": "F"},
         "split = 'test' AND view = 'PA' AND sex = 'F'"),
        ({"age_from": "10", "age_to": "12.5"}, "age BETWEEN 10 AND 12.5"),
        ({"where": "age < 3 OR age > 70 -- both ends"}, "age < 3 OR age > 70"),
    ):  # fmt: skip
        rows = gallery.store.sql(
            f"SELECT image_id FROM images WHERE {condition} ORDER BY 1"
        ).fetchall()
        assert _ids(gallery, **filters) == [one for (one,) in rows], filters


def test_a_finding_and_a_state(gallery: Gallery) -> None:
    rows = gallery.store.sql(
        "SELECT image_id FROM labels WHERE finding = ? AND state = 'positive'",
        [HOSTILE],
    ).fetchall()
    ids = _ids(gallery, finding=HOSTILE, state="positive")
    assert ids == sorted(one for (one,) in rows)
    assert len(_ids(gallery, finding=HOSTILE)) == N_IMAGES
    both = _ids(gallery, finding="Edema", state="positive")
    assert len(both) + len(_ids(gallery, finding="Edema", state="negative")) == N_IMAGES


@pytest.mark.parametrize("sort", SORTS)
@pytest.mark.parametrize("descending", ["", "1"])
def test_every_order_has_every_image_once(
    gallery: Gallery, sort: str, descending: str
) -> None:
    ids = _ids(gallery, sort=sort, descending=descending)
    assert len(set(ids)) == len(ids) == N_IMAGES
    if sort == "age":
        ages = [tile["age"] for tile in gallery.tiles(gallery.choose(Filters(
            sort=sort, descending=descending)), 0, N_IMAGES)]  # fmt: skip
        assert ages == sorted(ages, reverse=bool(descending))


def test_tiles_say_what_is_known(gallery: Gallery) -> None:
    images = gallery.choose(Filters())
    tiles = gallery.tiles(images, N_IMAGES - 3, 10)
    assert [tile["image_id"] for tile in tiles] == _ids(gallery)[-3:]
    assert gallery.tiles(images, N_IMAGES, 10) == []
    for tile in tiles:
        assert set(tile["positive"]) <= set(FINDINGS)


def test_what_is_no_filter_is_refused(gallery: Gallery) -> None:
    for wrong in ({"age_from": "x"}, {"sort": "rowid"}, {"state": "x"}, {"among": "x"}):
        with pytest.raises(ConfigurationError):
            gallery.choose(Filters(**wrong))
    with pytest.raises(QueryError):
        gallery.choose(Filters(where="nothing = 1"))


def test_a_list_stays_in_its_order_and_can_be_filtered(gallery: Gallery) -> None:
    chosen = [f"{DATASET}/01{digit}.png" for digit in (7, 2, 5, 1)]
    key = gallery.keep_ids(chosen, "chosen")
    assert _ids(gallery, among=key) == chosen
    assert _ids(gallery, among=key, sort="image_id") == sorted(chosen)
    views = [tile["view"] for tile in gallery.tiles(gallery.choose(
        Filters(among=key, view="AP")), 0, 9)]  # fmt: skip
    assert views == ["AP"] * 3
    for _ in range(30):  # lists are not kept for ever
        gallery.keep_ids([chosen[0]], str(_))
    with pytest.raises(ConfigurationError, match="no longer kept"):
        gallery.choose(Filters(among=key, split="test"))


def test_small_pictures_are_made_once_and_anew_for_a_changed_file(
    store: FeatureStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.pipeline.app.gallery import thumbnails

    made: list[Path] = []
    make = thumbnails._made

    def counting(path: Path) -> bytes:
        made.append(path)
        return make(path)

    monkeypatch.setattr(thumbnails, "_made", counting)
    small = Thumbnails(store)
    first = small.of(_IMAGE)
    assert first is not None
    assert first.startswith(b"\xff\xd8")
    assert small.of(_IMAGE) == first
    assert Thumbnails(store).of(_IMAGE) == first
    assert len(made) == 1
    Image.new("L", (900, 300), 77).resize((900, 300)).save(tmp_path / "x.png")
    pixels = np.arange(900 * 300).reshape(300, 900) % 200
    Image.fromarray(pixels.astype(np.uint8)).save(tmp_path / "pictures" / "003.png")
    again = small.of(_IMAGE)
    assert again != first
    file = store.path / CACHE_FOLDER / "thumbnails.sqlite"
    assert file.stat().st_mode & 0o077 == 0
    assert again is not None
    with Image.open(io.BytesIO(again)) as picture:
        assert max(picture.size) == THUMBNAIL_SIDE
    assert small.of("no/such.png") is None
    assert small.of(_FIRST) is not None
    with pytest.raises(ImageError, match="No such file"):
        small.of(f"{DATASET}/149.png")


def test_erased_pictures_leave_nothing_behind(store: FeatureStore) -> None:
    small = Thumbnails(store)
    ids = [f"{DATASET}/00{digit}.png" for digit in range(1, 6)]
    kept = [small.of(one) for one in ids]
    file = store.path / CACHE_FOLDER / "thumbnails.sqlite"
    (store.path / CACHE_FOLDER / "map-x-y.npz").write_bytes(b"x")
    assert kept[0] is not None
    assert kept[0][300:340] in file.read_bytes()
    assert remove_thumbnails(store.path, [*ids[:3], "no/such.png"]) == 3
    content = file.read_bytes()
    assert all(one[300:340] not in content for one in kept[:3] if one)
    assert all(one[300:340] in content for one in kept[3:] if one)
    assert not list((store.path / CACHE_FOLDER).glob("map-*"))
    assert [entry.name for entry in file.parent.iterdir()] == ["thumbnails.sqlite"]
    assert remove_thumbnails(store.path, []) == 0


def test_a_damaged_or_forbidden_cache_is_no_obstacle(store: FeatureStore) -> None:
    small = Thumbnails(store)
    file = store.path / CACHE_FOLDER / "thumbnails.sqlite"
    assert small.of(_IMAGE)
    file.write_bytes(b"nothing" * 1000)
    assert small.of(_IMAGE)
    assert small.of(_IMAGE)
    with sqlite3.connect(file) as connection:
        assert connection.execute("SELECT count(*) FROM thumbnails").fetchone() == (1,)
    connection.close()
    file.unlink()
    file.parent.rmdir()
    file.parent.write_text("a file where the folder should be")
    assert small.of(_IMAGE)


def test_many_threads_ask_at_once(gallery: Gallery) -> None:
    problems: list[BaseException] = []

    def ask(thread_index: int) -> None:
        try:
            for digit in range(1, 9):
                image = f"{DATASET}/0{thread_index}{digit}.png"
                assert gallery.thumbnails.of(image)
                assert gallery.image(image)
                assert gallery.neighbours(image)
                assert gallery.store.sql("SELECT 1").fetchall() == [(1,)]
        except BaseException as error:  # noqa: BLE001 - told by the test
            problems.append(error)

    threads = [
        threading.Thread(target=ask, args=(thread_index,)) for thread_index in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems


def test_one_image_with_neighbours_patient_and_verdicts(gallery: Gallery) -> None:
    page = gallery.image(_IMAGE)
    assert page is not None
    assert [row.finding for row in page.labels] == list(FINDINGS)
    assert page.label_version == 1
    assert [one["image_id"] for one in gallery.others(page)] == [f"{DATASET}/002.png"]
    near = gallery.neighbours(_IMAGE)
    assert _IMAGE not in [one["image_id"] for one in near]
    assert near[0]["similarity"] >= near[-1]["similarity"]
    verdicts, problems = gallery.judge(_IMAGE)
    assert not problems
    (one,) = verdicts
    assert set(one.probability) == set(one.decision) == set(FINDINGS)
    assert all(0 <= value <= 1 for value in one.probability.values())
    assert one.deviation
    assert one.unfamiliar in (True, False)
    assert gallery.image("no/such.png") is None
    assert gallery.judge("no/such.png") == ([], [])


def test_a_run_that_is_damaged_is_told_beside_the_others(store: FeatureStore) -> None:
    from retune.pipeline.app.train import TrainRequest, train
    from retune.pipeline.learn.runs.selection import Selection

    for seed in (0, 1):
        request = TrainRequest(
            "joint", Selection(), method="analytic", bounds=False, seed=seed
        )
        (made,) = train(store, request)
    (store.path / "runs" / made.run.run_id / "adaptors.json").write_text("{")
    verdicts, problems = Gallery(store, AUTHOR).judge(_IMAGE)
    assert len(verdicts) == len(problems) == 1
    assert made.run.run_id in problems[0]


def test_errors_are_test_images_in_order(gallery: Gallery) -> None:
    rows = gallery.store.sql(
        """SELECT image_id, state FROM labels JOIN images USING (image_id)
        WHERE split = 'test' AND finding = 'Edema'"""
    ).fetchall()
    states = dict(rows)
    seen: set[str] = set()
    for mistake_type, state, sign in (
        ("false-positives", "negative", -1),
        ("false-negatives", "positive", 1),
    ):
        mistakes = gallery.mistakes("latest", "Edema", mistake_type)  # type: ignore[arg-type]
        assert {states[one.image_id] for one in mistakes} <= {state}
        values = [sign * one.probability for one in mistakes]
        assert values == sorted(values)
        seen |= {one.image_id for one in mistakes}
    unsure = gallery.mistakes("latest", "Edema", "uncertain")
    assert {one.image_id for one in unsure} == set(states)
    measures = [one.measure for one in unsure]
    assert measures == sorted(measures, reverse=True)
    flagged = gallery.mistakes("latest", "Edema", "unfamiliar")
    assert all(one.measure > 1 for one in flagged)
    for wrong in (
        ("latest", "x", "uncertain"),
        ("latest", "Edema", "x"),
        ("x", "", ""),
    ):
        with pytest.raises(ConfigurationError):
            gallery.mistakes(*wrong)  # type: ignore[arg-type]


def test_doubtful_labels_come_from_the_last_audit(gallery: Gallery) -> None:
    asked = ("latest", "Edema", "suspects")
    if not gallery.store.sql("FROM label_audits").fetchall():
        assert gallery.mistakes(*asked) == []  # type: ignore[arg-type]
    request = LabelAuditRequest(Selection(allow_leakage=True), ("Edema",), k=5)
    audit = audit_labels(gallery.store, request)
    mistakes = gallery.mistakes(*asked)  # type: ignore[arg-type]
    rows = audit.frame()
    assert len(mistakes) >= 5
    assert [one.image_id for one in mistakes[:5]] == rows["image_id"].tolist()[:5]
    assert {one.label for one in mistakes} <= {"positive", "negative"}


@pytest.fixture(params=["t-SNE", "PCA"])
def method(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[str]:
    if request.param == "PCA":
        find = importlib.util.find_spec
        monkeypatch.setattr(
            "importlib.util.find_spec",
            lambda name, *rest: None if name == "openTSNE" else find(name, *rest),
        )
    return request.param


def test_a_map_is_made_once_the_same_each_time(
    shared: FeatureStore, method: str
) -> None:
    gallery = Gallery(shared, AUTHOR)
    assert gallery.fingerprint is not None
    first = projection.compute_map(shared, gallery.fingerprint)
    assert first.method == method
    assert first.xy.shape == (N_IMAGES, 2)
    assert first.xy.min() == 0
    assert first.xy.max() == 1
    kept = projection.read_map(shared, gallery.fingerprint)
    assert kept is not None
    np.testing.assert_array_equal(kept.xy, first.xy)
    (file,) = (shared.path / CACHE_FOLDER).glob("map-*.npz")
    file.write_bytes(file.read_bytes()[:100])
    again = projection.compute_map(shared, gallery.fingerprint)
    np.testing.assert_allclose(again.xy, first.xy, atol=1e-6)
    points = gallery.points()
    assert points is not None
    assert _FIRST in points.image_ids
    for by in ("dataset", "split", "view", "sex", "finding"):
        assert len(gallery.colours(points, by, "Edema")) == N_IMAGES
    scores = gallery.colours(points, "score", "Edema", "latest")
    assert all(0 <= value <= 1 for value in scores)
    with pytest.raises(ConfigurationError, match="coloured"):
        gallery.colours(points, "patient_id; DROP")


def test_of_many_vectors_some_are_drawn(
    shared: FeatureStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(projection, "MOST_POINTS", 40)
    made = projection.compute_map(shared, Gallery(shared, AUTHOR).fingerprint or "")
    assert len(made.digests) == len(made.xy) == 40
    assert made.n_vectors == N_IMAGES


def test_a_store_without_vectors_has_pages_all_the_same(tmp_path: Path) -> None:
    gallery = Gallery(FeatureStore.create(tmp_path / "s"), AUTHOR)
    assert len(gallery.choose(Filters())) == 0
    assert gallery.choices().n_images == 0
    with pytest.raises(ConfigurationError, match="no embeddings"):
        gallery.points()
    with pytest.raises(ConfigurationError, match="no embeddings"):
        gallery.find("a heart")
