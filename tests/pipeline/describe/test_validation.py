"""What is refused before it is stored, and that the rules are not blind."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.describe.languages import guess_language
from retune.pipeline.describe.repetition import is_near_duplicate
from retune.pipeline.describe.validation import (
    Requirements,
    estimate_tokens,
    is_denied,
    validate_finding,
    validate_sentence,
)
from retune.pipeline.describe.vocabulary import Vocabulary, Words, shipped_vocabulary
from retune.pipeline.descriptions import load_descriptions
from retune.pipeline.descriptions.sentence import Polarity
from retune.store.errors import ConfigurationError

_ASKED = Requirements()
_SHIPPED = load_descriptions("wide")  # holds those of "default"
_FINDINGS = list(dict.fromkeys(row.finding for row in _SHIPPED))
_OTHER: dict[Polarity, Polarity] = {"positive": "negative", "negative": "positive"}


def _rules(
    finding: str, polarity: Polarity, text: str, language: str = "en"
) -> set[str]:
    problems = validate_sentence(
        finding, polarity, text, Requirements(language=language)
    )
    return {problem.rule for problem in problems}


@pytest.mark.parametrize("finding", _FINDINGS)
def test_every_shipped_sentence_passes(finding: str) -> None:
    sentences: dict[Polarity, list[str]] = {"positive": [], "negative": []}
    for row in _SHIPPED:
        if row.finding == finding:
            sentences[row.polarity].append(row.text)
    assert validate_finding(finding, sentences, _ASKED) == []


@pytest.mark.parametrize("polarity", ["positive", "negative"])
def test_shipped_sentences_under_the_wrong_polarity_are_caught(
    polarity: Polarity,
) -> None:
    """Rules that let everything through would pass the test above too."""
    rows = [row for row in _SHIPPED if row.polarity == polarity]
    caught = [
        row
        for row in rows
        if _rules(row.finding, _OTHER[polarity], row.text) & {"polarity", "mention"}
    ]
    assert len(caught) >= 0.9 * len(rows), {row.text for row in {*rows} - {*caught}}


def test_sentences_of_another_finding_are_caught() -> None:
    wrong = [
        (row.finding, row.text)
        for row in _SHIPPED
        if row.polarity == "positive"
        and row.finding != "Pneumothorax"
        and not _rules("Pneumothorax", "positive", row.text)
    ]
    assert len(wrong) <= 0.03 * len(_SHIPPED), wrong


@pytest.mark.parametrize(
    ("polarity", "text", "rule"),
    [
        ("negative", "Pulmonary edema is present.", "polarity"),
        ("positive", "There is no pulmonary edema.", "polarity"),
        ("negative", "Only mild edema.", "polarity"),
        ("negative", "Pulmonary edema cannot be excluded.", "polarity"),
        ("negative", "Edema is not excluded.", "polarity"),
        ("negative", "No change of the pulmonary oedema.", "polarity"),
        ("negative", "The pulmonary vessels are not normal.", "polarity"),
        ("positive", "The patient came by bus.", "mention"),
        ("positive", "Edema and a left pneumothorax.", "other finding"),
        ("negative", "No edema, but there is a nodule in the apex.", "other finding"),
        ("positive", "Edema " + "of the lungs " * 30, "length"),
        ("positive", "   ", "length"),
        ("positive", "Edema\0", "length"),
        ("positive", "Es zeigt sich ein Edema auf der linken Seite.", "language"),
    ],
)
def test_each_rule_refuses(polarity: Polarity, text: str, rule: str) -> None:
    assert rule in _rules("Edema", polarity, text)


def test_a_healthy_sign_is_no_positive() -> None:
    assert _rules("Fracture", "positive", "The bony thorax is intact.") == {"polarity"}


@pytest.mark.parametrize(
    ("finding", "text"),
    [
        ("Edema", "Pulmonary oedema of both lungs."),
        ("Lung Tumor", "Round tumour beside the hilum."),
        ("Pneumothorax", "No significant change in the large right pneumothorax."),
    ],
)
def test_british_spelling_and_what_has_not_changed_assert(
    finding: str, text: str
) -> None:
    assert _rules(finding, "positive", text) == set()


@pytest.mark.parametrize(
    "text",
    ["Edema without pleural effusion.", "Edema. No pneumothorax and no fracture."],
)
def test_denying_another_finding_is_not_asserting_it(text: str) -> None:
    assert _rules("Edema", "positive", text) == set()


def test_a_phrase_of_the_finding_is_not_another_finding() -> None:
    words = {"Mass": Words(("mass",)), "Mass effect": Words(("mass effect",))}
    problems = validate_sentence(
        "Mass effect", "positive", "There is mass effect.", _ASKED, Vocabulary(words)
    )
    assert problems == []


def test_repeats_are_refused_across_polarities_and_the_first_is_kept() -> None:
    sentences: dict[Polarity, list[str]] = {
        "positive": ["Pulmonary edema.", "PULMONARY  edema!"],
        "negative": ["No pulmonary edema.", "Pulmonary edema."],
    }
    problems = validate_finding("Edema", sentences, Requirements(n=1))
    repeated = [problem.text for problem in problems if problem.rule == "duplicate"]
    assert repeated == ["PULMONARY  edema!", "Pulmonary edema."]
    assert not [problem for problem in problems if problem.rule == "count"]


def test_too_few_good_sentences_are_counted() -> None:
    sentences: dict[Polarity, list[str]] = {
        "positive": ["Pulmonary edema.", "No edema."],
        "negative": [],
    }
    problems = validate_finding("Edema", sentences, Requirements(n=2))
    counts = {p.polarity: p.reason for p in problems if p.rule == "count"}
    assert counts["positive"].startswith("1 usable")
    assert counts["negative"].startswith("0 usable")


@pytest.mark.parametrize(
    ("language", "positive", "negative"),
    [
        ("de", "Es zeigt sich ein Pneumothorax rechts.", "Kein Pneumothorax."),
        ("de", "Pneumothorax, nicht groß.", "Es zeigt sich hier kein Pneumothorax."),
        ("de", "Kein Erguss, aber ein Pneumothorax.", "Ein Pneumothorax fehlt."),
        ("es", "Se observa un neumotórax en el lado derecho.", "Sin neumotórax."),
        ("fr", "Un pneumothorax est présent dans le poumon.", "Pas de pneumothorax."),
        ("it", "Presenza di pneumotorace nel polmone.", "Nessun pneumotorace."),
        ("pt", "Há um pneumotórax na base.", "Ausência de pneumotórax."),
    ],
)
def test_other_languages_have_polarity(
    language: str, positive: str, negative: str
) -> None:
    assert _rules("Pneumothorax", "positive", positive, language) == set()
    assert _rules("Pneumothorax", "negative", negative, language) == set()
    assert "polarity" in _rules("Pneumothorax", "negative", positive, language)
    assert "polarity" in _rules("Pneumothorax", "positive", negative, language)


@pytest.mark.parametrize("language", ["english", "EN", "", "e"])
def test_a_language_is_a_code_of_two_letters(language: str) -> None:
    with pytest.raises(ConfigurationError, match="no code of a language"):
        Requirements(language=language)


def test_a_language_without_cues_is_checked_for_what_can_be_checked() -> None:
    assert _rules("Pneumothorax", "negative", "未见气胸。", "zh") == set()
    assert "language" in _rules("Pneumothorax", "negative", "未见气胸。", "en")


def test_shipped_sentences_are_never_taken_for_another_language() -> None:
    assert {guess_language(row.text) for row in _SHIPPED} <= {"en", None}


def test_the_estimate_stays_near_the_tokens_of_clip() -> None:
    open_clip = pytest.importorskip("open_clip")
    tokenizer = open_clip.SimpleTokenizer()
    exact = [len(tokenizer.encode(row.text)) for row in _SHIPPED]
    about = [estimate_tokens(row.text) for row in _SHIPPED]
    assert 1.0 <= sum(about) / sum(exact) <= 1.6
    assert all(a >= 0.7 * b for a, b in zip(about, exact, strict=True))


@given(st.text(max_size=80), st.text(max_size=80))
def test_any_text_can_be_judged(one: str, other: str) -> None:
    assert is_near_duplicate(one, other) == is_near_duplicate(other, one)
    validate_sentence("Edema", "negative", one, _ASKED)
    both = estimate_tokens(f"{one} {other}")
    assert both == estimate_tokens(one) + estimate_tokens(other)


@given(st.lists(st.sampled_from(["edema", "no", "but", "clear", "the"])))
def test_denial_reaches_from_the_negation_to_the_end_of_its_clause(
    words: list[str],
) -> None:
    open_mention = False
    negated = False
    for word in words:
        negated = word == "no" or (negated and word != "but")
        open_mention |= word == "edema" and not negated
    assert is_denied(" ".join(words), re.compile("edema")) == (not open_mention)


def test_an_unlisted_finding_is_known_by_the_words_of_its_name() -> None:
    words = shipped_vocabulary().words_of("Situs_inversus")
    assert words.mention_pattern.search("an inversus of the heart")
    assert _rules("Situs inversus", "positive", "Complete situs inversus.") == set()
