"""Reading answers: strict JSON, wrapped JSON, lists, and what was cut off."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.describe.answers import parse_answer

_SENTENCES = st.lists(
    st.text(st.characters(blacklist_categories=("Cs", "Cc"), max_codepoint=0x2FF))
    .map(lambda text: " ".join(f"x{text}".split()))
    .filter(lambda text: text not in ("positive", "negative")),
    max_size=5,
)


@given(_SENTENCES, _SENTENCES, st.booleans())
def test_whole_answers_are_read_as_they_are(
    positive: list[str], negative: list[str], ascii_only: bool
) -> None:
    text = json.dumps(
        {"positive": positive, "negative": negative}, ensure_ascii=ascii_only
    )
    wanted = {"positive": tuple(positive), "negative": tuple(negative)}
    assert parse_answer(text) == wanted
    assert parse_answer(f"Of course:\n```json\n{text}\n```") == wanted
    assert parse_answer(json.dumps({"Edema": json.loads(text)})) == wanted


def test_an_answer_cut_after_a_key_does_not_take_it_for_a_sentence() -> None:
    answer = parse_answer('{"positive": ["Dense lung."], "negative"')
    assert answer == {"positive": ("Dense lung.",), "negative": ()}


@given(st.data())
def test_a_cut_answer_gives_the_sentences_that_are_whole(data: st.DataObject) -> None:
    sentences = st.lists(st.from_regex(r"[A-Z][a-z ]{0,8}[a-z]\.", fullmatch=True))
    answer = {"positive": data.draw(sentences), "negative": data.draw(sentences)}
    text = json.dumps(answer)
    cut = data.draw(st.integers(0, len(text)))
    parsed = parse_answer(text[:cut])
    for polarity in ("positive", "negative"):
        whole = [" ".join(sentence.split()) for sentence in answer[polarity]]
        got = list(parsed[polarity])  # type: ignore[index]  # one of the two
        assert got == whole[: len(got)]
        # Nothing that was whole before the cut is lost.
        start = text.index(f'"{polarity}"')
        n_whole = sum(
            text.index(json.dumps(answer[polarity]), start) >= 0
            and start + len(f'"{polarity}": ') + _end(answer[polarity], end) <= cut
            for end in range(len(whole))
        )
        assert len(got) == n_whole


def _end(sentences: list[str], end: int) -> int:
    """Where a sentence's closing quote ends in the JSON of its list."""
    return len(json.dumps(sentences[: end + 1])) - 1


@given(st.text())
def test_any_text_can_be_read(text: str) -> None:
    answer = parse_answer(text)
    assert set(answer) == {"positive", "negative"}


@pytest.mark.parametrize(
    "text",
    [
        "**Positive:**\n1. One sentence.\n2. Two.\n\n**Negative:**\n- None.\n",
        "Positive ones:\n- One sentence.\n- Two.\nNegative ones:\n* None.",
        '{"Positives": ["One sentence.", {"text": "Two."}], "Negatives": ["None."]}',
        'Note {this}. {"positive": ["1. One sentence.", "- Two."], "negative": '
        '["None."]}',
        '<think>{"positive": ["A draft."], "negative": []}</think>{"positive": '
        '["One sentence.", "Two."], "negative": ["None."]}',
        "## Positive\n1. One sentence.\n2. Two.\n\n## Negative descriptions\n- None.",
        "{'positive': ['One sentence.', 'Two.'], 'negative': ['None.']}",
        '{"positive": ["One\nsentence.", "Two."], "negative": ["None."]}',
        '{"Edema": {"positive_descriptions": ["One sentence.", "Two."], '
        '"negative_descriptions": ["None."]}}',
        '{"positive": [{"id": "1", "text": "One sentence."}, {"id": "2", "text": '
        '"Two."}], "negative": [{"side": "no", "sentence": "None."}]}',
    ],
)
def test_other_forms_are_read_too(text: str) -> None:
    assert parse_answer(text) == {
        "positive": ("One sentence.", "Two."),
        "negative": ("None.",),
    }


def test_thoughts_that_never_end_are_no_answer() -> None:
    answer = parse_answer('<think>Perhaps {"positive": ["A."], "negative": ["B."]}')
    assert not any(answer.values())


def test_the_word_positive_in_a_sentence_is_no_heading() -> None:
    text = '{"positive": ["Positive for edema: hazy."], "negative": ["Negative: clear'
    assert parse_answer(text)["positive"] == ("Positive for edema: hazy.",)


_DRAFT = '{"positive": ["A draft."], "negative": ["No draft."]}'
_ANSWER = '{"positive": ["One sentence.", "Two."], "negative": ["None."]}'
_READ = {"positive": ("One sentence.", "Two."), "negative": ("None.",)}


@pytest.mark.parametrize(
    ("begin", "end"),
    [
        ("<think>", "</think>"),
        ("", "</think>"),
        ("<thinking>\n", "</thinking>\n"),
        ("", "\n</reasoning>\n"),
        ("<seed:think>", "</seed:think>"),
        ("<reflection>", "</reflection>"),
        ("<Thought>", "</THOUGHT>"),
        ("[THINK]", "[/THINK]"),
        ("◁think▷", "◁/think▷"),
        ("<|begin_of_thought|>", "<|end_of_thought|>"),
        ("<|channel|>analysis<|message|>", "<|channel|>final<|message|>"),
        ("<musings>", "</musings>"),
        ("", "</musings>"),
        ("<think>", "</think> Once more: <think>" + _DRAFT + "</think>"),
    ],
)
@pytest.mark.parametrize("wrapped", [False, True])
def test_drafts_before_the_end_of_thought_are_no_answer_whatever_the_tag(
    begin: str, end: str, wrapped: bool
) -> None:
    answer = f"<answer>{_ANSWER}</answer>" if wrapped else _ANSWER
    assert parse_answer(f"{begin}{_DRAFT}{end}{answer}") == _READ


@pytest.mark.parametrize("begin", ["<think>", "<reasoning>", "[THINK]", "◁think▷"])
@pytest.mark.parametrize("end", ["", "</think>", "</reasoning>"])
def test_thoughts_alone_are_no_answer_whatever_the_tag(begin: str, end: str) -> None:
    assert not any(parse_answer(f"{begin}{_DRAFT}{end}").values())


@pytest.mark.parametrize(
    "text",
    [
        f"<answer>{_ANSWER}</answer>",
        f"<final_answer>{_ANSWER}</final_answer>",
        f"{_ANSWER}</s>",
        f"{_ANSWER}<|im_end|>",
        _ANSWER.replace("One sentence.", "<b>One</b> sentence.").replace("<b>", ""),
    ],
)
def test_tags_that_end_no_thought_take_nothing_away(text: str) -> None:
    answer = parse_answer(text)
    assert len(answer["positive"]) == 2
    assert answer["negative"] == ("None.",)


def test_control_characters_do_not_get_into_sentences() -> None:
    answer = parse_answer(json.dumps({"positive": ["A\x1b[2J.\u202e"], "negative": []}))
    assert answer["positive"] == ("A [2J.",)
