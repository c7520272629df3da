"""Reading what a language model answered, strictly first and then leniently."""

import json
import re
from collections.abc import Mapping
from typing import Any, Final

from ..descriptions.sentence import Polarity

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
#: What reasoning models think aloud; drafts in it are no answer.
_THOUGHT: Final = re.compile(r"\A\s*<think>.*?(?:</think>|\Z)", re.DOTALL)
_MARK: Final = re.compile(r"^\s*(?:[-*•]\s|\d+[.)]\s)\s*")


def parse_answer(text: str) -> Answer:
    r"""Sentences of an answer, however it is wrapped.

    Tried in this order: the JSON object in it, such as in a code fence; strings or list
    items under the headings "positive" and "negative", which also takes what came
    before an answer was cut off. The last string of a cut answer is left out, since it
    may be half a sentence. What a model thinks aloud before its answer is passed over.

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
    text = _THOUGHT.sub("", text)
    candidate = _first_object(text)
    found = {p: tuple(_sentences(_value(candidate, p))) for p in _POLARITIES}
    if any(found.values()):
        return found
    return {p: tuple(_clean(_under_heading(text, p))) for p in _POLARITIES}


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
    for place, heading in enumerate(headings):
        said = heading["key"] or heading["title"] or heading["line"]
        if said.casefold() == polarity:
            later = headings[place + 1 : place + 2]
            section = text[heading.end() : later[0].start() if later else len(text)]
            strings = [_unescaped(found) for found in _STRING.findall(section)]
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
    folded = [" ".join(_MARK.sub("", text).split()) for text in texts]
    return [text for text in folded if text]
