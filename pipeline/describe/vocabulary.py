"""Words by which findings are recognised in a sentence."""

import functools
import importlib.resources
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

import yaml

from ..findings import spelling_key

__all__ = ["Vocabulary", "Words", "shipped_vocabulary"]

#: Words of a finding's name that say nothing of it alone.
_EMPTY: Final = frozenset(
    [
        "and",
        "of",
        "the",
        "via",
        "in",
        "other",
        "signs",
        "changes",
        "sign",
        "with",
        "a",
        "an",
    ]
)


@dataclass(frozen=True)
class Words:
    """How one finding is spoken of; every entry is a lower-case phrase.

    A phrase matches whole words; a trailing ``*`` lets the last word go on, so that
    ``effusion*`` is also "effusions".

    Attributes:
        names: Phrases that assert the finding unless they are negated.
        signs: Phrases that belong to it but do not assert it alone.
        groups: Findings that share a group may be named in one sentence.
    """

    names: tuple[str, ...]
    signs: tuple[str, ...] = ()
    groups: frozenset[str] = frozenset()

    @property
    def name_pattern(self) -> re.Pattern[str]:
        """Matches any of `names`."""
        return _pattern(self.names)

    @property
    def mention_pattern(self) -> re.Pattern[str]:
        """Matches any of `names` and `signs`."""
        return _pattern((*self.names, *self.signs))


class Vocabulary:
    """Words of many findings.

    Args:
        words: Finding -> its words.
    """

    def __init__(self, words: Mapping[str, Words]) -> None:
        self._words = {spelling_key(name): entry for name, entry in words.items()}
        self._labels = {spelling_key(name): name for name in words}

    def words_of(self, finding: str) -> Words:
        """The words of a finding; of an unlisted one, those that its name consists of.

        >>> Vocabulary({}).words_of("Rib fracture").names
        ('rib fracture*',)
        >>> Vocabulary({}).words_of("Rib fracture").signs
        ('rib*', 'fracture*')
        """
        key = spelling_key(finding)
        if key in self._words:
            return self._words[key]
        parts = [word for word in re.findall(r"\w+", key) if word not in _EMPTY]
        # One word of a long name recognises it: "the fracture", "a broken rib".
        single = [f"{word}*" for word in parts if len(word) > 2]
        return Words((f"{key}*",), tuple(single) if len(parts) > 1 else ())

    def others(self, finding: str) -> Iterable[tuple[str, Words]]:
        """Findings that a sentence about this one should not assert."""
        own_key, own = spelling_key(finding), self.words_of(finding)
        for key, words in self._words.items():
            if key != own_key and not words.groups & own.groups:
                yield self._labels[key], words


@functools.cache
def shipped_vocabulary() -> Vocabulary:
    """The vocabulary of the findings that the shipped set describes."""
    file = importlib.resources.files(__package__) / "vocabulary.yaml"
    raw = yaml.safe_load(file.read_text(encoding="utf-8"))
    return Vocabulary(
        {
            name: Words(
                tuple(entry["names"]),
                tuple(entry.get("signs", ())),
                frozenset(entry.get("groups", ())),
            )
            for name, entry in raw.items()
        }
    )


@functools.cache
def _pattern(phrases: tuple[str, ...]) -> re.Pattern[str]:
    parts = [
        re.escape(phrase.removesuffix("*")).replace(r"\ ", r"[\s-]+")
        + (r"\w*" if phrase.endswith("*") else "")
        for phrase in phrases
    ]
    # Longest first, or "mass" would hide "mass effect".
    parts.sort(key=len, reverse=True)
    # "Mass-like" is no mass.
    return re.compile(
        r"\b(?:" + "|".join(parts) + r")\b(?![\s-]like\b)" if parts else r"(?!)"
    )
