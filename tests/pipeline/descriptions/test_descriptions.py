"""Description sets: the shipped sentences, and the files that users bring."""

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from retune.pipeline import descriptions
from retune.pipeline.descriptions import (
    Description,
    available_sets,
    load_descriptions,
)
from retune.pipeline.findings import FINDINGS
from retune.store.errors import ConfigurationError

SHIPPED = Path(descriptions.__file__).parent

#: What makes a negative read as absence, in words.
ABSENCE = re.compile(
    r"\b(no|not|none|neither|without|absent|absence|free of|clear|normal|normally"
    r"|within normal limits|unremarkable|sharp|sharply|smooth|smoothly|crisp|intact"
    r"|preserved|thin)\b",
    re.IGNORECASE,
)

#: What would make a positive read as absence.
NEGATION = re.compile(
    r"\b(no|not|none|neither|without|absent|absence|free of|negative for|unremarkable"
    r"|normal|clear|ruled out)\b",
    re.IGNORECASE,
)

#: Per finding, the words by which a reader recognises it. One must be in each positive.
SIGNS = {
    "Enlarged Cardiomediastinum": "cardiomediastin|mediastin",
    "Cardiomegaly": "cardiomegaly|enlarge",
    "Lung Opacity": "opaci",
    "Lung Lesion": "lesion",
    "Edema": "edema",
    "Consolidation": "consolidation",
    "Pneumonia": "pneumonia|infectious",
    "Atelectasis": "atelectasis|collapse",
    "Pneumothorax": "pneumothorax|pleural line",
    "Pleural Effusion": "effusion|pleural fluid",
    "Pleural Other": "pleur.* (plaque|scarring|calcification|change|tumor|rind)"
    "|plaque|scarring|pleural calcification",
    "Fracture": "fracture|broken|cortical break",
    "Support Devices": "tube|catheter|pacemaker|defibrillator|port|devices",
    "Infiltration": "infiltrat",
    "Mass": "mass",
    "Nodule": "nodul",
    "Emphysema": "emphysema|lung volumes are markedly increased|obstructive",
    "Fibrosis": "fibro",
    "Pleural Thickening": "thicken",
    "Hernia": "hernia",
}

USER_SET = """\
set: our-hospital
generator: large language model
model: some-model-7b
created_at: 2026-11-23
instruction: Write one of each.
reviewed: true
findings:
  Rib fracture:
    positive:
      - There is a rib fracture.
      - "Seen in the fifth rib: a cortical break
        with callus."
    negative:
      - The ribs are intact.
"""


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    path = tmp_path / "ours.yaml"
    path.write_text(USER_SET, encoding="utf-8")
    return path


def texts(rows: tuple[Description, ...], finding: str, polarity: str) -> list[str]:
    return [r.text for r in rows if (r.finding, r.polarity) == (finding, polarity)]


# --- the shipped set ---------------------------------------------------------------


def test_available_sets_are_the_yaml_files_that_ship() -> None:
    assert available_sets() == tuple(sorted(p.stem for p in SHIPPED.glob("*.yaml")))


@pytest.mark.parametrize("finding", FINDINGS)
@pytest.mark.parametrize("polarity", ["positive", "negative"])
def test_each_finding_has_at_least_eight_sentences_of_each_polarity(
    finding: str, polarity: str
) -> None:
    assert len(texts(load_descriptions(), finding, polarity)) >= 8


def test_default_set_describes_exactly_the_canonical_findings_in_their_order() -> None:
    assert tuple(dict.fromkeys(r.finding for r in load_descriptions())) == FINDINGS


def test_no_sentence_stands_twice_in_the_whole_set_whatever_its_case() -> None:
    counts = Counter(
        re.sub(r"\W+", " ", r.text).strip().casefold() for r in load_descriptions()
    )
    assert [text for text, count in counts.items() if count > 1] == []


def test_negatives_read_as_absence() -> None:
    negatives = [r.text for r in load_descriptions() if r.polarity == "negative"]
    assert [text for text in negatives if not ABSENCE.search(text)] == []


def test_some_negatives_say_no_and_some_say_what_is_seen_instead() -> None:
    for finding in FINDINGS:
        negatives = texts(load_descriptions(), finding, "negative")
        explicit = [t for t in negatives if re.search(r"\b[Nn]o\b", t)]
        assert 2 <= len(explicit) < len(negatives), finding


def test_positives_hold_no_negation() -> None:
    positives = [r.text for r in load_descriptions() if r.polarity == "positive"]
    assert [text for text in positives if NEGATION.search(text)] == []


def test_each_positive_names_its_finding_a_synonym_or_its_sign() -> None:
    assert set(SIGNS) == set(FINDINGS)
    missing = [
        (r.finding, r.text)
        for r in load_descriptions()
        if r.polarity == "positive"
        and not re.search(SIGNS[r.finding], r.text, re.IGNORECASE)
    ]
    assert missing == []


def test_sentences_are_short_enough_for_clips_context_of_77_tokens() -> None:
    """At most 2.4 tokens a word were counted with CLIP's own vocabulary."""
    for name in available_sets():
        assert max(len(r.text.split()) for r in load_descriptions(name)) <= 30


def test_sentences_are_plain_ascii_on_one_line_and_end_with_a_full_stop() -> None:
    for row in load_descriptions():
        assert row.text.isascii()
        assert row.text.isprintable()
        assert row.text.endswith(".")
        assert row.text[0].isupper()


def test_shipped_sentences_say_that_a_model_wrote_them_and_nobody_reviewed_them() -> (
    None
):
    for row in load_descriptions():
        assert row.generator == "large language model"
        assert row.model == "Claude, by Anthropic"
        assert row.created_at == "2026-11"
        assert row.source == "shipped:default.yaml"
        assert len(row.instruction_digest) == 32
        assert not row.reviewed
        assert not row.edited


def test_shipped_file_tells_a_reader_its_provenance() -> None:
    document = yaml.safe_load((SHIPPED / "default.yaml").read_text(encoding="utf-8"))
    assert "no radiologist" in document["note"]
    assert document["licence"] == "Apache-2.0"
    assert document["version"] == 1
    assert "radiology report" in document["instruction"]


# --- templates ---------------------------------------------------------------------


def test_templates_cover_the_canonical_findings_unless_others_are_named() -> None:
    rows = load_descriptions("templates")
    assert tuple(dict.fromkeys(row.finding for row in rows)) == FINDINGS
    assert {(r.set_name, r.generator) for r in rows} == {("templates", "template")}
    assert Counter(r.polarity for r in rows if r.finding == "Mass") == {
        "positive": 5,
        "negative": 5,
    }


def test_templates_put_the_name_into_the_sentence_and_keep_abbreviations() -> None:
    rows = load_descriptions("templates", ["Pleural_Effusion", "COPD"])
    assert "There is no pleural effusion." in texts(
        rows, "Pleural_Effusion", "negative"
    )
    assert "There is COPD." in texts(rows, "COPD", "positive")


def test_a_finding_that_the_set_lacks_takes_templates_and_says_so() -> None:
    rows = load_descriptions("default", ["Edema", "Gallstones"])
    edema = [r for r in rows if r.finding == "Edema"]
    gallstones = [r for r in rows if r.finding == "Gallstones"]
    assert {r.generator for r in edema} == {"large language model"}
    assert {
        (r.set_name, r.generator, r.model, r.instruction_digest, r.source)
        for r in gallstones
    } == {("default", "template", "", "", "shipped:templates.yaml")}
    assert len(gallstones) == 10


def test_a_users_own_templates_come_before_the_shipped_ones(tmp_path: Path) -> None:
    path = tmp_path / "ours.yaml"
    path.write_text(
        USER_SET
        + 'templates: {positive: ["{finding} {x}"], negative: ["no {finding}"]}',
        encoding="utf-8",
    )
    rows = load_descriptions(path, ["Goitre"])
    assert [r.text for r in rows] == ["goitre {x}", "no goitre"]
    assert {(r.generator, r.source) for r in rows} == {("template", "ours.yaml")}
    assert len(load_descriptions(path)) == 3


# --- which findings, in which order ------------------------------------------------


def test_rows_follow_the_findings_asked_for_positives_first() -> None:
    rows = load_descriptions("default", ["Mass", "Edema", "Mass"])
    assert list(dict.fromkeys((r.finding, r.polarity) for r in rows)) == [
        ("Mass", "positive"),
        ("Mass", "negative"),
        ("Edema", "positive"),
        ("Edema", "negative"),
    ]
    assert len(rows) == len(set(rows)) == 40


def test_another_spelling_takes_the_same_sentences_under_the_name_asked_for() -> None:
    ours = load_descriptions("default", ["pleural_effusion"])
    theirs = load_descriptions("default", ["Pleural Effusion"])
    assert {r.finding for r in ours} == {"pleural_effusion"}
    assert [r.text for r in ours] == [r.text for r in theirs]


def test_part_of_a_name_does_not_take_a_findings_sentences() -> None:
    rows = load_descriptions("default", ["Effusion"])
    assert {r.generator for r in rows} == {"template"}


def test_no_findings_in_use_give_no_descriptions() -> None:
    assert load_descriptions("default", []) == ()


@pytest.mark.parametrize("name", ["No Finding", "no_finding", "", "  "])
def test_what_is_not_a_finding_has_no_descriptions(name: str) -> None:
    with pytest.raises(ConfigurationError, match="is not a finding"):
        load_descriptions("default", ["Edema", name])


# --- identity ----------------------------------------------------------------------


def test_ids_are_unique_over_all_shipped_sets() -> None:
    rows = [row for name in available_sets() for row in load_descriptions(name)]
    assert len({row.description_id for row in rows}) == len(rows)


def test_ids_do_not_depend_on_the_process() -> None:
    """The digest is fixed by its definition, not by Python's salted hash."""
    row = load_descriptions("templates", ["Edema"])[1]
    code = (
        "from retune.pipeline.descriptions import load_descriptions as load;"
        "import sys; sys.stdout.write(load('templates', ['Edema'])[1].description_id);"
        "assert 'torch' not in sys.modules"
    )
    other = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert row.text == "There is edema."
    assert row.description_id == other.stdout == "faa41e3952eb22dacef488c5c7e80b62"
    assert row.text_digest == "9622a57db471da200b7d3cdc2e57f789"


def test_id_changes_with_set_finding_polarity_and_text_and_with_nothing_else() -> None:
    row = load_descriptions()[0]
    changed = [
        replace(row, set_name="other"),
        replace(row, finding="other"),
        replace(row, polarity="negative"),
        replace(row, text="other"),
    ]
    assert len({row.description_id, *(r.description_id for r in changed)}) == 5
    same = replace(row, reviewed=True, edited=True, model="m", source="s")
    assert same.description_id == row.description_id


def test_id_parts_cannot_run_together() -> None:
    row = load_descriptions()[0]
    ab, a = (
        replace(row, set_name="ab", finding="c"),
        replace(row, set_name="a", finding="bc"),
    )
    assert ab.description_id != a.description_id


# --- users' files ------------------------------------------------------------------


def test_a_users_file_is_read_with_its_provenance(user_file: Path) -> None:
    first, second, negative = load_descriptions(user_file)
    assert first == Description(
        set_name="our-hospital",
        finding="Rib fracture",
        polarity="positive",
        text="There is a rib fracture.",
        generator="large language model",
        model="some-model-7b",
        created_at="2026-11-23",
        instruction_digest=first.instruction_digest,
        reviewed=True,
        edited=False,
        source="ours.yaml",
    )
    assert second.text == "Seen in the fifth rib: a cortical break with callus."
    assert negative.polarity == "negative"
    assert load_descriptions(str(user_file)) == (first, second, negative)


def test_a_copy_of_the_shipped_set_under_another_name_reads_the_same(
    tmp_path: Path,
) -> None:
    document = yaml.safe_load((SHIPPED / "default.yaml").read_text(encoding="utf-8"))
    document["set"] = "copy"
    path = tmp_path / "copy.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
    renamed = [
        replace(row, set_name="copy", source="copy.yaml") for row in load_descriptions()
    ]
    assert list(load_descriptions(path)) == renamed


def test_other_languages_and_a_byte_order_mark_are_read(tmp_path: Path) -> None:
    path = tmp_path / "deutsch.yaml"
    text = USER_SET.replace("There is a rib fracture.", "Rippenfraktur, möglich.")
    path.write_text(text, encoding="utf-8-sig")
    assert load_descriptions(path)[0].text == "Rippenfraktur, möglich."


def test_the_example_in_the_documentation_is_valid(tmp_path: Path) -> None:
    doc = load_descriptions.__doc__ or ""
    lines = doc.split("left out::\n\n")[1].split("\n\n")[0]
    path = tmp_path / "example.yaml"
    path.write_text(lines, encoding="utf-8")
    assert [r.text for r in load_descriptions(path)] == [
        "There is a rib fracture.",
        "The ribs are intact.",
    ]


FINDING = "findings: {Edema: {positive: [Edema.], negative: [No edema.]}}\n"
HEAD = "set: ours\ngenerator: g\ncreated_at: 2026\n"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("", "", "the file is empty", id="empty"),
        pytest.param("# only a comment\n", "", "the file is empty", id="comment"),
        pytest.param("a: [1\nb: 2\n", ":2", "not valid YAML", id="syntax"),
        pytest.param(HEAD + "---\n" + HEAD, ":4", "not valid YAML", id="two documents"),
        pytest.param("set: a\x07b\n", "", "not valid YAML", id="control character"),
        pytest.param("[" * 5000, "", "not valid YAML", id="deep nesting"),
        pytest.param(
            "- Edema\n", ":1", "the document: expected 'key", id="list on top"
        ),
        pytest.param(HEAD, ":1", "neither 'findings' nor 'templates'", id="no content"),
        pytest.param(
            "generator: g\ncreated_at: 1\n" + FINDING,
            ":1",
            "'set' is missing",
            id="set",
        ),
        pytest.param(
            "set: s\ncreated_at: 1\n" + FINDING, ":1", "'generator' is missing", id="by"
        ),
        pytest.param(
            "set: s\ngenerator: g\n" + FINDING, ":1", "'created_at' is missing", id="at"
        ),
        pytest.param(
            HEAD.replace("2026", "2026-13-45") + FINDING,
            ":3",
            "created_at: '2026-13-45' is no date",
            id="impossible date",
        ),
        pytest.param(
            HEAD.replace("2026", "yesterday") + FINDING,
            ":3",
            "is no date",
            id="no date",
        ),
        pytest.param(
            HEAD + "note: {a: {b: c}}\n" + FINDING,
            ":4",
            "note: expected text",
            id="note",
        ),
        pytest.param(
            HEAD + "licence:\n" + FINDING, ":4", "licence: expected text", id="licence"
        ),
        pytest.param(HEAD + "version: [1]\n" + FINDING, ":4", "version: expected text"),
        pytest.param(
            HEAD + 'findings: {"Ede\\x1bma": {positive: [a], negative: [b]}}\n',
            ":4",
            r"'Ede\x1bma' holds a control character",
            id="escape in a finding",
        ),
        pytest.param(
            HEAD + 'findings: {Edema: {positive: ["a\\u202e"], negative: [b]}}\n',
            ":4",
            r"'a\u202e' holds a control character",
            id="direction in a sentence",
        ),
        pytest.param(
            HEAD
            + "note: &a x\nfindings: {Edema: {positive: ["
            + "*a, " * 1_001
            + "*a], negative: [b]}}\n",
            ":5",
            "more than 1,000 aliases",
            id="aliases",
        ),
        pytest.param(
            HEAD + "findings: &a {Edema: {positive: [*a], negative: [b]}}\n",
            ":4",
            "expected text",
            id="a node inside itself",
        ),
        pytest.param(
            HEAD + "author: me\n" + FINDING, ":4", "'author'", id="unknown key"
        ),
        pytest.param(
            HEAD + "set: again\n" + FINDING, ":4", "'set' stands twice", id="key twice"
        ),
        pytest.param(
            HEAD.replace("ours", "a/b") + FINDING, ":1", "cannot name a set", id="slash"
        ),
        pytest.param(
            HEAD.replace("ours", "default") + FINDING,
            "",
            "'default' belongs to a shipped set",
            id="shipped name",
        ),
        pytest.param(
            HEAD + "model: [a]\n" + FINDING, ":4", "model: expected text, found a list"
        ),
        pytest.param(
            HEAD + "model:\n" + FINDING, ":4", "model: expected text, found nothing"
        ),
        pytest.param(
            HEAD + "reviewed: maybe\n" + FINDING, ":4", "reviewed: expected true or"
        ),
        pytest.param(HEAD + "edited: 1\n" + FINDING, ":4", "edited: expected true or"),
        pytest.param(HEAD + "findings: {}\n", ":4", "'findings' is empty", id="none"),
        pytest.param(
            HEAD + "findings: [Edema]\n",
            ":4",
            "findings: expected 'key",
            id="names only",
        ),
        pytest.param(
            HEAD + FINDING.replace("Edema: ", "No Finding: "), ":4", "is not a finding"
        ),
        pytest.param(
            HEAD + FINDING.replace("Edema: ", "No: "),
            ":4",
            "a key of findings: expected text, found a yes/no value",
            id="bare no",
        ),
        pytest.param(
            HEAD
            + "findings:\n  Rib fracture: {positive: [a], negative: [b]}\n"
            + "  rib_fracture: {positive: [c], negative: [d]}\n",
            ":6",
            "name one finding",
            id="one finding under two names",
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    positive: [Edema.]\n",
            ":6",
            "Edema: 'negative' is missing",
            id="no negatives",
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    postive: [Edema.]\n    negative: [b]\n",
            ":6",
            "Edema: unknown key 'postive'",
            id="slip",
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    positive: []\n    negative: [b]\n",
            ":6",
            "Edema > positive: the list is empty",
            id="empty list",
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    positive: Edema.\n    negative: [b]\n",
            ":6",
            "Edema > positive: expected a list",
            id="sentence without a list",
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    negative: [b]\n    positive:\n    -\n",
            ":8",
            "Edema > positive: expected text, found nothing",
            id="empty item",
        ),
        pytest.param(
            HEAD + FINDING.replace("[Edema.]", "[Edema., 5]"), ":4", "found a number"
        ),
        pytest.param(
            HEAD + FINDING.replace("[Edema.]", "[Sign: haze]"),
            ":4",
            "'key: value' entry",
        ),
        pytest.param(
            HEAD + FINDING.replace("[Edema.]", "[' ']"), ":4", "the text is empty"
        ),
        pytest.param(
            HEAD + FINDING.replace("[Edema.]", r'["a\0b"]'), ":4", "holds a NUL"
        ),
        pytest.param(
            HEAD + "findings:\n  Edema:\n    positive:\n    - Edema.\n    - EDEMA.\n"
            "    negative: [b]\n",
            ":8",
            "'EDEMA.' stands on line 7 already",
            id="duplicate",
        ),
        pytest.param(
            HEAD + FINDING.replace("No edema.", "Edema."),
            ":4",
            "Edema > negative: 'Edema.' stands on line 4 already",
            id="same sentence asserts and denies",
        ),
        pytest.param(
            HEAD + 'templates: {positive: ["{finding}"], negative: ["no {name}"]}\n',
            ":4",
            "templates > negative: 'no {name}' lacks {finding}",
            id="template without placeholder",
        ),
        pytest.param(
            HEAD + FINDING.replace("[Edema.]", "[!!python/name:os.system x]"),
            ":4",
            "expected text, found python/name:os.system",
            id="python tag",
        ),
    ],
)
def test_a_damaged_file_is_refused_with_its_name_and_line(
    tmp_path: Path, text: str, line: str, message: str
) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_descriptions(path)
    assert caught.value.message.startswith(f"{path}{line}: ")
    assert message in caught.value.message
    assert caught.value.hint


def test_a_slip_in_a_key_is_answered_with_the_close_one(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(HEAD + FINDING.replace("positive", "postive"), encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_descriptions(path)
    assert caught.value.hint == "Did you mean positive?"


def test_a_name_that_is_neither_set_nor_file_lists_the_sets() -> None:
    with pytest.raises(ConfigurationError, match="'defualt'") as caught:
        load_descriptions("defualt")
    assert "default, templates" in caught.value.hint


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        load_descriptions(tmp_path)
    assert str(tmp_path) in caught.value.message


def test_a_file_that_is_not_text_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "binary.yaml"
    path.write_bytes(b"set: \xff\xfe")
    with pytest.raises(ConfigurationError, match="not UTF-8 text at byte 5") as caught:
        load_descriptions(path)
    assert str(path) in caught.value.message


def test_an_error_of_the_yaml_reader_is_kept_as_the_cause(tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text("a: [", encoding="utf-8")
    with pytest.raises(ConfigurationError) as caught:
        load_descriptions(path)
    assert isinstance(caught.value.__cause__, yaml.YAMLError)


def test_sentences_are_counted_each_time_an_alias_stands_for_them(
    tmp_path: Path,
) -> None:
    sentences = "".join(f"    - Sentence {n}.\n" for n in range(1_000))
    repeated = "".join(
        f"  F{n}: {{positive: *s, negative: [No {n}.]}}\n" for n in range(300)
    )
    (tmp_path / "a.yaml").write_text(
        f"{HEAD}findings:\n  F:\n    positive: &s\n{sentences}"
        f"    negative: [No.]\n{repeated}"
    )
    with pytest.raises(ConfigurationError, match=r"more than 200,000 sentences"):
        load_descriptions(tmp_path / "a.yaml")


def test_a_pipe_a_device_or_a_sparse_file_is_no_description_file(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        load_descriptions(tmp_path / "a.yaml")
    with pytest.raises(ConfigurationError, match="it is no regular file"):
        load_descriptions("/dev/zero")
    with (tmp_path / "b.yaml").open("wb") as file:
        file.truncate(8 << 30)
    with pytest.raises(ConfigurationError, match="8,589,934,592 bytes, more than"):
        load_descriptions(tmp_path / "b.yaml")
