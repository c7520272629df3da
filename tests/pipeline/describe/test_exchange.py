"""Sets out to YAML and back in, edited and not."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from retune.pipeline.describe.exchange import (
    Imported,
    export_set,
    load_members,
    read_import,
)
from retune.pipeline.describe.members import Member, Origin, find_set, publish
from retune.pipeline.describe.validation import Requirements
from retune.pipeline.descriptions import load_descriptions
from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

_ASKED = Requirements(n=1)
_ORIGIN = Origin(
    "asked", "resolved", "host:1", '{"temperature": 0.7}', 3, "own", "1", "a" * 32,
    "b" * 32, "2026-11-24T00:00:00+00:00", "c" * 32,
)  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """A store with the set `ours`, which a language model wrote."""
    made = FeatureStore.create(tmp_path / "store")
    rows = load_descriptions("default", ["Edema", "Mass"])
    members = [Member(replace(row, set_name="ours"), _ORIGIN) for row in rows]
    publish(made, members, made_by="describe", language="en", created_at="2026")
    return made


def read(store: FeatureStore, text: str, name: str | None = "new") -> Imported:
    return read_import(
        store, text, "folder/f.yaml", _ASKED, set_name=name, created_at="now"
    )


def exported(store: FeatureStore, set_name: str, *, provenance: bool) -> str:
    language, members = load_members(store, set_name)
    parent = "" if provenance else set_name
    return export_set(set_name, language, members, parent=parent, provenance=provenance)


def test_what_goes_out_comes_back_with_its_provenance(
    store: FeatureStore, tmp_path: Path
) -> None:
    text = exported(store, "ours", provenance=True)
    other = FeatureStore.create(tmp_path / "other")
    imported = read(other, text, None)
    assert imported.problems == ()
    publish(other, imported.members, made_by="import", language="en", created_at="2026")
    assert find_set(other, "ours")[1] == find_set(store, "ours")[1]
    # `embed` reads the same file.
    (tmp_path / "ours.yaml").write_text(text, encoding="utf-8")
    rows = load_descriptions(tmp_path / "ours.yaml")
    assert [row.text for row in rows] == [
        member.description.text for member in imported.members
    ]


def test_an_edited_sentence_keeps_its_origin_and_says_that_it_was_edited(
    store: FeatureStore,
) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=False))
    positive = content["findings"]["Edema"]["positive"]
    old = positive[0]
    positive[0] = old.replace(".", ", as seen today.")
    dropped = positive.pop()
    content["findings"]["Edema"]["negative"].append("Lungs free of pulmonary oedema.")
    imported = read(store, yaml.safe_dump(content))
    by_text = {member.description.text: member for member in imported.members}
    assert imported.parent == "ours"
    assert by_text[positive[0]].description.edited
    assert by_text[positive[0]].origin == _ORIGIN
    assert by_text[positive[0]].description.generator == "large language model"
    by_hand = by_text["Lungs free of pulmonary oedema."]
    assert by_hand.description.generator == "person"
    assert by_hand.origin is None
    assert dropped not in by_text
    assert not by_text[positive[1]].description.edited
    assert by_text[positive[1]].origin == _ORIGIN
    assert {member.description.set_name for member in imported.members} == {"new"}


def test_a_file_with_provenance_that_was_edited_says_so(store: FeatureStore) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=True))
    content["set"] = "theirs"
    positive = content["findings"]["Edema"]["positive"]
    positive[0] = positive[0].replace(".", ", as seen today.")
    positive.append("Florid pulmonary oedema.")
    imported = read(store, yaml.safe_dump(content), None)
    assert imported.set_name == "theirs"
    by_text = {member.description.text: member for member in imported.members}
    edited, new = by_text[positive[0]], by_text["Florid pulmonary oedema."]
    assert (edited.description.edited, edited.origin) == (True, _ORIGIN)
    assert edited.description.generator == "large language model"
    assert (new.description.edited, new.origin) == (True, None)
    assert (new.description.generator, new.description.source) == ("person", "f.yaml")
    rest = [m for m in imported.members if m is not edited and m is not new]
    assert all(m.origin == _ORIGIN and not m.description.edited for m in rest)


def test_a_sentence_that_was_moved_keeps_its_origin(store: FeatureStore) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=False))
    content["findings"]["Lung Mass"] = content["findings"].pop("Mass")
    imported = read(store, yaml.safe_dump(content))
    moved = [m for m in imported.members if m.description.finding == "Lung Mass"]
    assert len(moved) == 20
    assert all(m.description.edited and m.origin == _ORIGIN for m in moved)
    assert {m.description.generator for m in moved} == {"large language model"}


@pytest.mark.parametrize("provenance", [True, False])
def test_a_review_is_recorded_and_ends_with_the_next_change(
    store: FeatureStore, provenance: bool
) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=provenance))
    imported = read(store, yaml.safe_dump(content | {"reviewed": True}), "seen")
    assert all(m.description.reviewed for m in imported.members)
    publish(
        store, imported.members, made_by="edit", language="en", created_at="2026"
    )  # fmt: skip
    content = yaml.safe_load(exported(store, "seen", provenance=provenance))
    assert content["reviewed"] is True
    content["findings"]["Edema"]["positive"][0] = "Florid pulmonary edema."
    changed = read(store, yaml.safe_dump(content), "changed").members
    unread = [m.description.text for m in changed if not m.description.reviewed]
    assert unread == ["Florid pulmonary edema."]
    taken_back = read(store, yaml.safe_dump(content | {"reviewed": False}), "no")
    assert not any(m.description.reviewed for m in taken_back.members)


def test_a_shipped_set_can_be_the_parent(store: FeatureStore) -> None:
    imported = read(store, exported(store, "default", provenance=False))
    assert imported.parent == "default"
    assert imported.problems == ()
    assert len(imported.members) == len(load_descriptions("default"))


def test_every_sentence_is_judged_and_its_faults_are_recorded(
    store: FeatureStore,
) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=False))
    content["findings"]["Edema"]["positive"].append("There is no pulmonary edema.")
    imported = read(store, yaml.safe_dump(content))
    assert [(name, p.rule) for name, p in imported.problems] == [("Edema", "polarity")]
    faulty = [member for member in imported.members if member.accepted]
    assert [member.accepted for member in faulty] == [("polarity",)]


def test_that_too_few_came_stays_recorded(store: FeatureStore) -> None:
    rows = load_descriptions("default", ["Edema"])
    members = [
        Member(replace(row, set_name="short"), _ORIGIN, ("count", "polarity"))
        for row in rows
    ]
    publish(store, members, made_by="describe", language="en", created_at="2026")
    for provenance in (True, False):
        imported = read(store, exported(store, "short", provenance=provenance))
        assert imported.problems == ()
        assert {member.accepted for member in imported.members} == {("count",)}


def test_the_language_is_the_files_or_the_callers(store: FeatureStore) -> None:
    text = (
        "set: x\ngenerator: person\ncreated_at: 2026\nlanguage: de\nfindings:\n"
        "  Edema:\n    positive: [Es zeigt sich ein Ödem der Lunge.]\n"
        "    negative: [Kein Ödem.]\n"
    )
    assert read(store, text).problems == ()
    assert read(store, text).language == "de"
    judged = read_import(store, text, "f", _ASKED, language="en")
    assert "language" in {problem.rule for _, problem in judged.problems}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"provenance": [{"text": "x"}]}, "not what `describe export` writes"),
        ({"provenance": 3}, "not what `describe export` writes"),
        ({"parent": "nobody"}, "no description set 'nobody'"),
        ({"findings": {}}, "'findings' is empty"),
        ({"templates": {"positive": ["{finding}"], "negative": ["no {finding}"]}},
         "templates cannot be imported"),
        ({"unknown": 1}, "unknown key 'unknown'"),
    ],
)  # fmt: skip
def test_files_that_cannot_be_imported_are_refused(
    store: FeatureStore, change: dict[str, object], said: str
) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=True))
    with pytest.raises(ConfigurationError, match=said.replace("`", ".")):
        read(store, yaml.safe_dump(content | change))


def test_provenance_of_the_wrong_type_is_refused(store: FeatureStore) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=True))
    content["provenance"][0]["origin"]["seed"] = "seven"
    with pytest.raises(ConfigurationError, match="seed is 'seven'"):
        read(store, yaml.safe_dump(content))
    text = exported(store, "ours", provenance=True) + "note: !!python/name:os.system\n"
    with pytest.raises(ConfigurationError):
        read(store, text)


def test_a_name_that_is_taken_or_shipped_is_refused(store: FeatureStore) -> None:
    text = exported(store, "ours", provenance=True)
    for name, said in ((None, "sets never change"), ("templates", "shipped")):
        with pytest.raises(ConfigurationError, match=said):
            publish(
                store, read(store, text, name).members,
                made_by="import", language="en", created_at="2026",
            )  # fmt: skip


@pytest.mark.parametrize(
    ("part", "field", "value", "said"),
    [
        ("description", "created_at", "2026-13-45", "entry 1: created_at is"),
        ("description", "polarity", "neutral", "entry 1: polarity is 'neutral'"),
        ("description", "reviewed", "yes", "entry 1: reviewed is 'yes'"),
        ("description", "text", "a\x1b[2J", r"entry 1: text is 'a\\x1b\[2J'"),
        ("description", "model", {"a": {"b": "c"}}, "entry 1: model is"),
        ("description", "own", "a", "entry 1: not the fields of Description"),
        ("origin", "parameters", None, "entry 1: parameters is None"),
        ("origin", "seed", 1 << 70, "entry 1: seed is"),
        ("origin", "seed", True, "entry 1: seed is True"),
        ("origin", "asked_at", "now", "entry 1: asked_at is 'now'"),
        ("accepted", "", [1], "entry 1: accepted is"),
        ("accepted", "", "rule", "entry 1: accepted is"),
        ("origin", "", "x", "entry 1: not the fields of Origin"),
    ],
)
def test_every_field_of_a_provenance_is_checked(
    store: FeatureStore, part: str, field: str, value: object, said: str
) -> None:
    content = yaml.safe_load(exported(store, "ours", provenance=True))
    entry = content["provenance"][0]
    if field:
        entry[part][field] = value
    else:
        entry[part] = value
    with pytest.raises(ConfigurationError, match="'provenance' is not what") as caught:
        read(store, yaml.safe_dump(content))
    assert re.search(said, caught.value.message)


@pytest.mark.parametrize(
    "text",
    ["{a: b}", "7", "2026-13-45", "[2026-13-45]", "[[]]", "[null]", "[" * 3_000],
)
def test_a_provenance_that_is_none_is_named(store: FeatureStore, text: str) -> None:
    content = exported(store, "ours", provenance=False)
    with pytest.raises(ConfigurationError, match=r"provenance|not valid YAML"):
        read(store, f"{content}provenance: {text}\n")


def test_an_edited_sentence_among_very_many_is_still_recognised(
    store: FeatureStore,
) -> None:
    texts = [f"Pulmonary edema of place {n} of {n * n} seen here." for n in range(300)]
    rows = [
        Member(replace(row, set_name="many", text=text), _ORIGIN)
        for text in texts
        for row in load_descriptions("default", ["Edema"])[:1]
    ]
    publish(store, rows, made_by="describe", language="en", created_at="2026")
    content = yaml.safe_load(export_set("many", "en", rows, parent="many"))
    del content["provenance"]
    changed = [text.replace("seen here", "found today") for text in texts]
    content["findings"]["Edema"] = {"positive": changed, "negative": ["No edema."]}
    imported = read(store, yaml.safe_dump(content))
    assert [m.origin for m in imported.members] == [_ORIGIN] * 300 + [None]
