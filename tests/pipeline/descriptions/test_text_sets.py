"""Description sets of the store, as `embed` takes them."""

from dataclasses import replace
from pathlib import Path

import pytest
from image_samples import write_tiny_backbone

from retune.pipeline.describe.members import Member, publish
from retune.pipeline.descriptions import load_descriptions
from retune.pipeline.descriptions.named_sets import load_set
from retune.pipeline.encode.embed import EmbedOptions, embed
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    made = FeatureStore.create(tmp_path / "store")
    rows = load_descriptions("default", ["Edema", "Mass"])
    members = [Member(replace(row, set_name="ours")) for row in rows]
    publish(made, members, made_by="import", language="en", created_at="2026")
    return made


def test_a_set_of_the_store_is_found_by_name(store: FeatureStore) -> None:
    rows = load_set(store, "ours")
    assert {row.set_name for row in rows} == {"ours"}
    assert [row.text for row in rows] == [
        row.text for row in load_descriptions("default", ["Edema", "Mass"])
    ]


def test_findings_in_use_take_their_spelling_or_templates(store: FeatureStore) -> None:
    rows = load_set(store, "ours", ["edema", "Rib fracture", "edema"])
    generators = {row.finding: row.generator for row in rows}
    assert generators == {
        "edema": "large language model",
        "Rib fracture": "template",
    }
    assert {row.set_name for row in rows} == {"ours"}
    assert len({row.description_id for row in rows}) == len(rows)


def test_shipped_sets_and_files_are_found_as_before(
    store: FeatureStore, tmp_path: Path
) -> None:
    assert load_set(store, "default", ["Edema"]) == load_descriptions(
        "default", ["Edema"]
    )
    file = tmp_path / "f.yaml"
    file.write_text(
        "set: f\ngenerator: person\ncreated_at: 2026\nfindings:\n  Edema:\n"
        "    positive: [Edema.]\n    negative: [No edema.]\n"
    )
    assert len(load_set(store, str(file))) == 2


def test_a_file_cannot_slip_other_sentences_into_a_set(
    store: FeatureStore, tmp_path: Path
) -> None:
    write_tiny_backbone(tmp_path / "tiny")
    file = tmp_path / "f.yaml"
    count = "SELECT count(*) FROM descriptions WHERE set_name = 'ours'"
    options = EmbedOptions(
        backbone=f"local-dir:{tmp_path / 'tiny'}", description_sets=(str(file),)
    )
    text = (
        "set: {}\ngenerator: person\ncreated_at: 2026\nfindings:\n  Edema:\n"
        "    positive: [{}]\n    negative: [No edema.]\n"
    )
    before = store.sql(count).fetchall()
    file.write_text(text.format("ours", "Wet lungs."))
    with pytest.raises(ConfigurationError, match="'ours' for Edema, Mass, and sets"):
        embed(store, options)
    assert store.sql(count).fetchall() == before

    file.write_text(text.format("theirs", "Wet lungs."))
    embed(store, options)
    embed(store, options)
    file.write_text(text.format("theirs", "Very wet lungs."))
    with pytest.raises(ConfigurationError, match="'theirs' for Edema"):
        embed(store, options)


def test_an_unknown_set_is_named_with_those_there_are(store: FeatureStore) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_set(store, "nobody")
    assert "'nobody'" in caught.value.message
    assert "default, templates, wide, ours" in caught.value.hint


def test_a_store_older_than_named_sets_has_none(store: FeatureStore) -> None:
    for table in ("description_sets", "description_origins", "description_drafts"):
        store.sql(f"DROP TABLE {table}", write=True)
    assert len(load_set(store, "default", ["Edema"])) == 20
    with pytest.raises(ConfigurationError):
        load_set(store, "ours")
    members = [
        Member(replace(row, set_name="new"))
        for row in load_descriptions("default", ["Mass"])
    ]
    publish(store, members, made_by="import", language="en", created_at="2026")
    assert len(load_set(store, "new")) == 20
