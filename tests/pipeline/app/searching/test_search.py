"""Searching a store: what a query is taken for, who is found, a contact sheet."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from store_samples import digests, encoder, filled_store, vectors

import retune
from retune.pipeline.app.searching.contact_sheet import write_contact_sheet
from retune.pipeline.app.searching.search import SearchRequest, search
from retune.store.errors import ConfigurationError

_FINDING = "an effusion"


@pytest.fixture
def store(tmp_path: Path) -> retune.Store:
    """Thirty images of ten patients, and two sentences that are encoded."""
    opened = filled_store(tmp_path / "s", 30)
    with opened.writer("test") as writer:
        keys = digests([_FINDING, "no effusion"])
        writer.publish(encoder(), "text", keys, vectors(2, seed=9))
    opened.sql(
        """INSERT INTO descriptions SELECT text, 'default', 'Edema', 'positive', text,
            digest, 'x', 'x', 'x', 'x', false, false, 'x'
        FROM (VALUES (?, ?), (?, ?)) AS t(text, digest)""",
        [_FINDING, keys[0], "no effusion", keys[1]],
        write=True,
    )
    return retune.open(tmp_path / "s")


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector, axis=-1, keepdims=True)


def test_images_like_one_of_the_store_without_itself(store: retune.Store) -> None:
    units = _unit(vectors(30).astype(np.float16).astype(np.float64))
    cosine = units @ units[4]
    order = [index for index in np.argsort(-cosine) if index != 4]
    result = store.similar("d/0004.png", k=6)
    assert [hit.image_id for hit in result] == [f"d/{p:04d}.png" for p in order[:6]]
    assert [hit.rank for hit in result] == [1, 2, 3, 4, 5, 6]
    assert result[0].similarity == pytest.approx(cosine[order[0]], rel=1e-4)
    assert result.kind == "image"
    assert len(result.frame()) == 6
    assert "compared with 30" in repr(result)


def test_a_stored_sentence_needs_no_backbone_and_not_is_a_difference(
    store: retune.Store,
) -> None:
    units = _unit(vectors(30).astype(np.float16).astype(np.float64))
    texts = _unit(vectors(2, seed=9).astype(np.float16).astype(np.float64))
    result = store.search(_FINDING, k=30)
    assert result.kind == "sentence"
    assert result[0].similarity == pytest.approx((units @ texts[0]).max(), rel=1e-4)
    result = store.search(_FINDING, k=30, without="no effusion")
    expected = units @ (texts[0] - texts[1])
    assert result[0].image_id == f"d/{int(np.argmax(expected)):04d}.png"
    assert result[29].similarity == pytest.approx(expected.min(), rel=1e-4)


def test_one_image_of_each_patient(store: retune.Store) -> None:
    result = store.search(_FINDING, k=10, per_patient=1)
    assert len({hit.patient_id for hit in result}) == len(result) == 10
    best = {}
    for hit in store.search(_FINDING, k=30):
        best.setdefault(hit.patient_id, hit.image_id)
    assert [hit.image_id for hit in result] == list(best.values())
    assert len(store.search(_FINDING, k=30, per_patient=2)) == 20
    store.sql("UPDATE images SET patient_id = NULL", write=True)
    assert len(store.search(_FINDING, k=30, per_patient=1)) == 30


def test_a_condition_holds_for_what_is_found(store: retune.Store) -> None:
    result = store.search(_FINDING, k=30, where="view = 'PA' AND age < 10")
    assert {hit.view for hit in result} == {"PA"}
    assert len(result) == result.n_compared == 5


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        ("nowhere.png", "no file nowhere.png"),
        ("../x.DCM", "no file"),
    ],
)
def test_what_can_be_nothing_is_refused(
    store: retune.Store, query: str, words: str
) -> None:
    with pytest.raises(ConfigurationError, match=words):
        store.search(query)


def test_wrong_numbers_names_and_ids_are_refused(store: retune.Store) -> None:
    for wrong in ({"k": 0}, {"per_patient": 0}, {"without": " "}, {"datasets": "x"}):
        with pytest.raises(ConfigurationError):
            store.search(_FINDING, **wrong)
    with pytest.raises(ConfigurationError, match="no image x"):
        store.similar("x")
    with pytest.raises(ConfigurationError, match="no encoder"):
        store.search(_FINDING, backbone="other")


def test_a_store_without_vectors_says_so(tmp_path: Path) -> None:
    empty = retune.open(tmp_path / "s", create=True)
    with pytest.raises(ConfigurationError, match="no embeddings"):
        search(empty.feature_store, SearchRequest("x"))


def test_a_contact_sheet_shows_found_and_lost_files(
    store: retune.Store, tmp_path: Path
) -> None:
    result = store.search(_FINDING, k=7)
    pixels = np.arange(40_000, dtype=np.uint8).reshape(200, 200)
    Image.fromarray(pixels).save(tmp_path / Path(result[0].path).name)
    sheet = tmp_path / "found.png"
    write_contact_sheet(store.feature_store, result, sheet, "<b>\x1b[31m\u202e")
    with Image.open(sheet) as picture:
        assert picture.size == (5 * 250 + 10, 2 * 295 + 35)
        first = np.asarray(picture.convert("L"))[35:275, 10:250]
        second = np.asarray(picture.convert("L"))[60:275, 260:500]
    assert first.std() > 50  # the picture
    assert second.max() < 200  # none
    write_contact_sheet(store.feature_store, [], tmp_path / "none.jpg")
    for wrong in ("found.gif", "nowhere/found.png"):
        with pytest.raises(ConfigurationError):
            write_contact_sheet(store.feature_store, result, tmp_path / wrong)
