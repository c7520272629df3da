"""Sentences that repeat others are found as if each was compared with each."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.pipeline.describe import repetition
from retune.pipeline.describe.repetition import (
    Repetitions,
    is_near_duplicate,
    split_words,
)

_WORDS = list("abcdefghijklmnopqrstuvwxyz")


def _slow(kept: list[str], text: str) -> tuple[str, str] | None:
    """The obvious way."""
    for other in kept:
        if split_words(text) == split_words(other):
            return "duplicate", other
        if is_near_duplicate(text, other):
            return "near-duplicate", other
    return None


@settings(max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([3, 8, 26]), st.integers(1, 60))
def test_the_same_is_found_as_by_comparing_all(
    seed: int, n_words: int, longest: int
) -> None:
    own = random.Random(seed)
    words = [f"{word}{n}" for word in _WORDS[:n_words] for n in range(3)]
    texts = ["", "", "!"]
    for _ in range(30):
        text = [own.choice(words) for _ in range(own.randint(1, longest))]
        texts.append(" ".join(text))
        for _ in range(own.randint(0, 3)):
            text[own.randrange(len(text))] = own.choice(words)
        own.shuffle(text)
        texts.append(" ".join(text))
    repetitions = Repetitions(texts=texts)
    kept: list[str] = []
    for text in texts:
        assert repetitions.of(text) == _slow(kept, text)
        repetitions.add(text)
        kept.append(text)


def test_comparisons_grow_with_the_sentences_and_not_with_their_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compared: list[int] = []
    alike = repetition._are_alike

    def counted(one: set[str], other: set[str]) -> bool:
        compared.append(1)
        return alike(one, other)

    monkeypatch.setattr(repetition, "_are_alike", counted)
    own = random.Random(0)
    texts = [
        f"Pulmonary edema with {' '.join(own.sample(_WORDS, 7))} place {number}."
        for number in range(2_000)
    ]
    repetitions = Repetitions(texts=texts)
    for text in texts:
        repetitions.of(text)
        repetitions.add(text)
    assert len(compared) < 10 * len(texts)
