"""Which of many sentences say the same, without comparing each with each."""

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations
from typing import Final

__all__ = ["Repetitions", "is_near_duplicate", "split_words"]

_NEAR_DUPLICATE: Final = 0.85
#: Words of a sentence that is long. What is alike may be 0.85 as long, or as much
#: longer: sentences in between are entered in both ways.
_LONG: Final = 35
_LONG_FOR_ALL, _SHORT_FOR_ALL = 42, 30


def split_words(text: str) -> list[str]:
    """The words of a sentence in lower case."""
    return re.findall(r"\w+", text.casefold())


def is_near_duplicate(one: str, other: str) -> bool:
    """Whether two sentences share nearly all of their words.

    Jaccard similarity of their sets of words, at least 0.85; sides and numbers count.

    >>> is_near_duplicate("A small nodule in the right lung.",
    ...                   "a small nodule, in the right lung")
    True
    >>> is_near_duplicate("A small nodule is seen.", "No nodule is seen.")
    False
    """
    return _are_alike(set(split_words(one)), set(split_words(other)))


class Repetitions:
    """Sentences to compare others with.

    Two sets of words that are alike share three of their few rarest words (prefix
    filtering: Chaudhuri et al., ICDE 2006; Wang et al., SIGMOD 2012), so only sentences
    that share these three are compared. Of long sentences, which have many threes, one
    such word.

    Args:
        kept: Sentences that are there.
        texts: Sentences that are to come: they say which words are rare.

    >>> repetitions = Repetitions(["A small nodule in the right lung."])
    >>> repetitions.of("a small nodule, in the right lung")
    ('duplicate', 'A small nodule in the right lung.')
    """

    def __init__(self, kept: Sequence[str] = (), texts: Iterable[str] = ()) -> None:
        self._counts = Counter(
            word for text in (*kept, *texts) for word in set(split_words(text))
        )
        self._texts: list[str] = []
        self._words: list[list[str]] = []
        self._sets: list[set[str]] = []
        self._places: dict[tuple[str, ...], list[int]] = {}
        for text in kept:
            self.add(text)

    def add(self, text: str) -> None:
        """Keep one more sentence."""
        words = split_words(text)
        own = set(words)
        keys = [
            *(self._keys(own, 3) if len(own) <= _LONG_FOR_ALL else ()),
            *(self._keys(own, 1) if len(own) >= _SHORT_FOR_ALL else ()),
        ]
        for key in keys:
            self._places.setdefault(key, []).append(len(self._texts))
        self._texts.append(text)
        self._words.append(words)
        self._sets.append(own)

    def of(self, text: str) -> tuple[str, str] | None:
        """The rule that a sentence breaks, and the first that it repeats, or None."""
        words = split_words(text)
        own = set(words)
        keys = self._keys(own, 3 if len(own) <= _LONG else 1)
        for index in sorted({n for key in keys for n in self._places.get(key, ())}):
            if words == self._words[index]:
                return "duplicate", self._texts[index]
            if _are_alike(own, self._sets[index]):
                return "near-duplicate", self._texts[index]
        return None

    def _keys(self, words: set[str], n_shared: int) -> list[tuple[str, ...]]:
        """What sentences alike have one of in common: some of their rarest words."""
        least = math.ceil(_NEAR_DUPLICATE * len(words) - 1e-9)
        n_shared = min(n_shared, least)
        ranked = sorted(words, key=lambda word: (self._counts[word], word))
        return [*combinations(ranked[: len(words) - least + n_shared], n_shared)]


def _are_alike(one: set[str], other: set[str]) -> bool:
    union = len(one | other)
    return bool(union) and len(one & other) / union >= _NEAR_DUPLICATE
