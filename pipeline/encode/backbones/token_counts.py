"""How many tokens a text has, and how a long one is cut into pieces."""

from collections.abc import Callable
from typing import Any

__all__ = ["count_tokens", "split_text"]


def count_tokens(tokenizer: Any, text: str) -> int | None:
    """Tokens of a sentence, marks included, before anything is cut.

    Args:
        tokenizer: One of open_clip's.
        text: The sentence.

    Returns:
        None if the tokenizer does not say.
    """
    clean = getattr(tokenizer, "clean_fn", str)
    inner = getattr(tokenizer, "tokenizer", None)
    if callable(inner):
        return len(inner(clean(text))["input_ids"])
    if hasattr(tokenizer, "encode"):
        return len(tokenizer.encode(text)) + 2
    return None


def split_text(
    text: str, n_tokens: Callable[[str], int | None], limit: int
) -> tuple[str, ...]:
    """A text in as few pieces of whole words as fit the context one by one.

    Args:
        text: The text.
        n_tokens: Counts tokens, marks included.
        limit: Tokens that fit.

    Returns:
        Pieces that give the text's words when they are joined by spaces. A single word
        that does not fit is a piece of its own.

    >>> split_text("one two three", lambda text: len(text.split()) + 2, 4)
    ('one two', 'three')
    """
    if (n_tokens(text) or 0) <= limit:
        return (text,)
    pieces: list[str] = []
    held = ""
    for word in text.split():
        longer = f"{held} {word}" if held else word
        if held and (n_tokens(longer) or 0) > limit:
            pieces.append(held)
            longer = word
        held = longer
    return (*pieces, held)
