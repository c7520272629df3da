"""Labels that a person changes are a new version; the old ones stay."""

from pathlib import Path

import pytest
from store_samples import FINDINGS, filled_store, images_table, states

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.label_states import STATE_NAMES
from retune.store.relabelling import add_note, relabel

_IMAGE = "d/0003.png"


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return filled_store(tmp_path / "s")


def _labels(store: FeatureStore, table: str = "labels") -> dict[tuple[str, str], str]:
    rows = store.sql(f"SELECT image_id, finding, state FROM {table}").fetchall()
    labels = {(image, finding): state for image, finding, state in rows}
    assert len(labels) == len(rows)
    return labels


def _other(state: str) -> str:
    return next(name for name in STATE_NAMES.values() if name != state)


def test_one_cell_changes_and_the_rest_stays(store: FeatureStore) -> None:
    before = _labels(store)
    cell = (_IMAGE, "Edema")
    wanted = _other(before[cell])
    done = relabel(store, *cell, wanted, "Florence")
    assert (done.version, done.before, done.changed) == (2, before[cell], True)
    assert _labels(store) == before | {cell: wanted}
    assert _labels(store, "old_labels") == before
    assert store.sql("SELECT * EXCLUDE (made_at) FROM label_edits").fetchall() == [
        ("d", 2, *cell, before[cell], wanted, "Florence")
    ]
    versions = store.sql(
        "SELECT version, n_images FROM label_versions ORDER BY version"
    ).fetchall()
    assert versions == [(1, 10), (2, 10)]


def test_the_same_state_again_is_no_change(store: FeatureStore) -> None:
    before = _labels(store)
    done = relabel(store, _IMAGE, "Edema", before[_IMAGE, "Edema"], "Florence")
    assert not done.changed
    assert done.version == 1
    assert _labels(store) == before
    assert _labels(store, "old_labels") == {}


def test_its_digest_is_that_of_an_ingest(store: FeatureStore, tmp_path: Path) -> None:
    """An ingest of the same labels finds nothing new, one of others makes a version."""
    codes = states(10)
    state = _other(STATE_NAMES[int(codes[3, 0])])
    relabel(store, _IMAGE, "Edema", state, "Florence")
    changed = codes.copy()
    changed[3, 0] = next(code for code, name in STATE_NAMES.items() if name == state)

    def ingest(labels: object) -> tuple[int, bool]:
        with store.writer("test") as writer:
            change = writer.replace_dataset(
                images_table(10), FINDINGS, labels, dataset="d", layout="table",  # type: ignore[arg-type]
                root=tmp_path, split_seed=0,
            )  # fmt: skip
        return change.label_version, change.labels_changed

    assert ingest(changed) == (2, False)
    assert ingest(codes) == (3, True)
    relabel(store, _IMAGE, "Mass", _other(STATE_NAMES[int(codes[3, 1])]), "Florence")
    rows = store.sql("SELECT version, count(*) FROM old_labels GROUP BY 1 ORDER BY 1")
    assert rows.fetchall() == [(1, 20), (2, 20), (3, 20)]


@pytest.mark.parametrize(
    ("image", "finding", "state", "words"),
    [
        ("no/such.png", "Edema", "positive", "no image"),
        (_IMAGE, "Hernia", "positive", "does not label"),
        (_IMAGE, "Edema", "maybe", "unknown label state"),
        (_IMAGE, "Edema", "", "unknown label state"),
    ],
)
def test_what_is_unknown_changes_nothing(
    store: FeatureStore, image: str, finding: str, state: str, words: str
) -> None:
    before = _labels(store)
    with pytest.raises(ConfigurationError, match=words):
        relabel(store, image, finding, state, "Florence")
    assert _labels(store) == before


def test_an_older_store_gains_the_tables(store: FeatureStore) -> None:
    store.sql("DROP TABLE label_edits; DROP TABLE image_notes", write=True)
    add_note(store, _IMAGE, " seen\r\ntwice \0", "Florence")
    relabel(store, _IMAGE, "Edema", _other(_labels(store)[_IMAGE, "Edema"]), "F")
    rows = store.sql(
        "SELECT image_id, finding, text, author FROM image_notes"
    ).fetchall()
    assert rows == [(_IMAGE, None, "seen\ntwice", "Florence")]


def test_an_empty_or_endless_note_is_refused(store: FeatureStore) -> None:
    for text in ("", " \n", "x" * 10_001):
        with pytest.raises(ConfigurationError):
            add_note(store, _IMAGE, text, "Florence")
    with pytest.raises(ConfigurationError, match="no image"):
        add_note(store, "no/such.png", "x", "Florence")
    assert store.sql("SELECT count(*) FROM image_notes").fetchall() == [(0,)]


def test_words_of_a_person_are_copied(store: FeatureStore) -> None:
    add_note(store, _IMAGE, "seen", "Florence", "Edema")
    relabel(store, _IMAGE, "Edema", _other(_labels(store)[_IMAGE, "Edema"]), "F")
    index = (store.path / "copies" / "index.json").read_text()
    assert '"image_notes"' in index
    assert '"label_edits"' in index
