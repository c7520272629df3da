"""Reading what a language model answered, strictly first and then leniently."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from ..encode.descriptions.description import Polarity

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
    r'(?:"(?P<key>positive|negative)s?"\s*:'
    r"|^[*#_\s]*(?P<title>positive|negative)s?\b[^:\n\"]{0,40}:)",
    re.IGNORECASE | re.MULTILINE,
)
_STRING: Final = re.compile(r'"((?:[^"\\\n]|\\.)*)"')
_BULLET: Final = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+(.+?)\s*$", re.MULTILINE)
_MARK: Final = re.compile(r"^\s*(?:[-*•]\s|\d+[.)]\s)\s*")


def parse_answer(text: str) -> Answer:
    r"""Sentences of an answer, however it is wrapped.

    Tried in this order: the text as JSON; the JSON object inside it, such as in a code
    fence; strings or list items under the headings "positive" and "negative", which
    also takes what came before an answer was cut off. The last string of a cut answer
    is left out, since it may be half a sentence.

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
    for candidate in _objects(text):
        found = {p: tuple(_sentences(_value(candidate, p))) for p in _POLARITIES}
        if any(found.values()):
            return found
    return {p: tuple(_clean(_under_heading(text, p))) for p in _POLARITIES}


def _objects(text: str) -> Iterator[Mapping[str, Any]]:
    """JSON objects at the first brace, and at each later one until one is whole."""
    decoder = json.JSONDecoder()
    for match in re.finditer(r"\{", text):
        try:
            value, _ = decoder.raw_decode(text, match.start())
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value
            return


def _value(answer: Mapping[str, Any], polarity: Polarity) -> object:
    for key, value in answer.items():
        if key.casefold().rstrip("s") == polarity:
            return value
    # Some models wrap the two lists into the finding's name or a "result".
    inner = [value for value in answer.values() if isinstance(value, dict)]
    return _value(inner[0], polarity) if len(inner) == 1 else None


def _sentences(value: object) -> list[str]:
    """Strings of a list, also of a list of objects with one text each."""
    if not isinstance(value, list):
        return []
    texts = []
    for item in value:
        if isinstance(item, dict):
            strings = [part for part in item.values() if isinstance(part, str)]
            texts += strings[:1]
        elif isinstance(item, str):
            texts.append(item)
    return _clean(texts)


def _under_heading(text: str, polarity: Polarity) -> list[str]:
    headings = list(_HEADING.finditer(text))
    for place, heading in enumerate(headings):
        if (heading["key"] or heading["title"]).casefold() == polarity:
            later = headings[place + 1 : place + 2]
            section = text[heading.end() : later[0].start() if later else len(text)]
            strings = [_unescaped(found) for found in _STRING.findall(section)]
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
