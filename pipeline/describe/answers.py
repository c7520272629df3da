"""Reading what a language model answered, strictly first and then leniently."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ..descriptions.sentence import STEERING, Polarity

__all__ = ["ANSWER_SCHEMA", "Answer", "parse_answer"]

#: Sentences by polarity.
Answer = Mapping[Polarity, tuple[str, ...]]

_LIST: Final = {"type": "array", "items": {"type": "string"}}
#: JSON schema of an answer.
ANSWER_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {"positive": _LIST, "negative": _LIST},
    "required": ["positive", "negative"],
    "additionalProperties": False,
}
_POLARITIES: Final[tuple[Polarity, ...]] = ("positive", "negative")
_HEADING: Final = re.compile(
    r"(?:[\"'](?P<key>positive|negative)(?:s|_\w+)?[\"']\s*:"
    r"|^[*_\s]*(?P<title>positive|negative)s?\b[^:\n\"]{0,40}:"
    r"|^#+[*_\s]*(?P<line>positive|negative)s?\b[^:\n\"]{0,40}$)",
    re.IGNORECASE | re.MULTILINE,
)
_STRING: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_SINGLE: Final = re.compile(r"'([^'\n]*(?:\b'\b[^'\n]*)*)'\s*[,\]]")
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
#: Ends of what reasoning models think aloud: </think>, [/THINK], ◁/think▷,
#: <|end_of_thought|>, and the begin of the channel in which the answer comes.
_CLOSING: Final = re.compile(
    r"</\s*(?P<tag>[\w:.-]+)\s*>|\[/\s*(?P<square>[\w:.-]+)\s*\]"
    r"|◁\s*/\s*(?P<drawn>\w+)\s*▷|<\|\s*(?:end_of_|/\s*)(?P<bar>\w+)\s*\|>"
    r"|<\|channel\|>\s*(?P<channel>final)\s*(?:<\|message\|>)?",
    re.IGNORECASE,
)
_OPENING: Final = re.compile(
    r"\A\s*(?:<\s*(?P<tag>[\w:.-]+)\s*>|\[\s*(?P<square>\w+)\s*\]"
    r"|◁\s*(?P<drawn>\w+)\s*▷|<\|\s*(?:begin_of_)?(?P<bar>\w+)\s*\|>)"
)
_THOUGHT: Final = re.compile(
    r"think|thought|reason|reflect|analy[sz]|scratch|ponder|deliberat|monologue|draft"
    r"|final|plan\b",
    re.IGNORECASE,
)
#: Tags that hold the answer itself, or that are a part of its typesetting.
_NO_THOUGHT: Final = re.compile(
    r"(?:final_?)?(?:answer|output|response|result|reply|json|positive|negative)s?"
    r"|s|b|i|u|em|strong|br|p|li|ul|ol|sup|sub|code|pre|span|div|h\d|text|im",
    re.IGNORECASE,
)
_MARK: Final = re.compile(r"^\s*(?:[-*•]\s|\d+[.)]\s)\s*")


def parse_answer(text: str) -> Answer:
    r"""Sentences of an answer, however it is wrapped.

    Tried in this order: the JSON object in it, such as in a code fence; strings or list
    items under the headings "positive" and "negative", which also takes what came
    before an answer was cut off. The last string of a cut answer is left out, since it
    may be half a sentence. What a model thinks aloud before its answer is passed over:
    drafts in it are no answer.

    Returns:
        Both polarities, each perhaps empty; white space is folded, numbers and bullets
        are taken off, empty sentences are dropped.

    >>> parse_answer('```json\n{"positive": ["A."], "negative": ["No A."]}\n```')
    {'positive': ('A.',), 'negative': ('No A.',)}
    >>> parse_answer('{"positive": ["A.", "B')
    {'positive': ('A.',), 'negative': ()}
    >>> parse_answer("Sorry, I cannot help with that.")
    {'positive': (), 'negative': ()}
    """
    text = _without_thought(text)
    candidate = _first_object(text)
    sentences = {p: tuple(_sentences(_value(candidate, p))) for p in _POLARITIES}
    if any(sentences.values()):
        return sentences
    return {p: tuple(_clean(_under_heading(text, p))) for p in _POLARITIES}


def _without_thought(text: str) -> str:
    """What comes after a model's thoughts, whatever marks their end.

    The mark that begins them may be missing, because it was a part of the prompt; the
    one that ends them may be, because the answer was cut: then there is no answer.

    >>> _without_thought("A draft.</reasoning> The answer.")
    ' The answer.'
    >>> _without_thought("<think>A draft that was cut")
    ''
    """
    for match in reversed(list(_CLOSING.finditer(text))):
        name = next(group for group in match.groups() if group)
        if _NO_THOUGHT.fullmatch(name):
            continue
        before, after = text[: match.start()], text[match.end() :]
        if _THOUGHT.search(name) or (after.strip() and _is_unopened(before, name)):
            return after
    begun = _OPENING.match(text)
    name = next((group for group in begun.groups() if group), "") if begun else ""
    return "" if _THOUGHT.search(name) and not _NO_THOUGHT.fullmatch(name) else text


def _is_unopened(before: str, name: str) -> bool:
    """Whether a closing tag ends all that came before it."""
    opened = re.search(rf"[<\[◁]\s*{re.escape(name)}\b", before, re.IGNORECASE)
    return opened is None or not before[: opened.start()].strip()


def _first_object(text: str) -> Mapping[str, Any]:
    """The first JSON object that is whole; empty if none is."""
    decoder = json.JSONDecoder(strict=False)
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            return value
    return {}


def _value(answer: Mapping[str, Any], polarity: Polarity) -> object:
    for key, value in answer.items():
        if re.fullmatch(rf"{polarity}(?:s|_\w+)?", key.casefold()):
            return value
    # Some models wrap the two lists into the finding's name or a "result".
    inner = [value for value in answer.values() if isinstance(value, dict)]
    return _value(inner[0], polarity) if len(inner) == 1 else None


def _sentences(value: object) -> list[str]:
    """Strings of a list, also of a list of objects with a text in each."""
    if not isinstance(value, list):
        return []
    texts = []
    for item in value:
        if isinstance(item, dict):
            strings = [part for part in item.values() if isinstance(part, str)]
            # Beside its number or side, the sentence is what is longest.
            texts += sorted(strings, key=len)[-1:]
        elif isinstance(item, str):
            texts.append(item)
    return _clean(texts)


def _under_heading(text: str, polarity: Polarity) -> list[str]:
    headings = list(_HEADING.finditer(text))
    for index, heading in enumerate(headings):
        said = heading["key"] or heading["title"] or heading["line"]
        if said.casefold() == polarity:
            later = headings[index + 1 : index + 2]
            section = text[heading.end() : later[0].start() if later else len(text)]
            strings = [_unescaped(literal) for literal in _STRING.findall(section)]
            strings = strings or _SINGLE.findall(section)
            # An answer may be cut right after the next key.
            quoted = [one for one in strings if one.casefold() not in _POLARITIES]
            return quoted or _BULLET.findall(section)
    return []


def _unescaped(string: str) -> str:
    try:
        return str(json.loads(f'"{string}"'))
    except ValueError:
        return string


def _clean(texts: list[str]) -> list[str]:
    plain = [STEERING.sub(" ", _MARK.sub("", text)) for text in texts]
    folded = [" ".join(text.split()) for text in plain]
    return [text for text in folded if text]
