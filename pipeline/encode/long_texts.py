"""Sentences that are longer than a backbone's context: counted, and cut or pooled."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pyarrow as pa

from retune.store import EncoderSpec, FeatureStore, StoreWriter
from retune.store.errors import ConfigurationError
from retune.store.fingerprint import content_digest
from retune.store.reading_vectors import read_vectors
from retune.store.work import read_known_keys

if TYPE_CHECKING:
    from .backbone import Backbone
    from .backbones import BackboneSource

__all__ = [
    "adopt_images",
    "count_tokens",
    "measure_texts",
    "of_source",
    "split_text",
    "with_long_texts",
]

LONG_TEXTS: Final = ("cut", "chunk")
_SHARD_ROWS: Final = 16_384


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


def measure_texts(
    backbone: "Backbone", texts: Sequence[str], digests: Sequence[str]
) -> pa.Table:
    """How long sentences are.

    Args:
        backbone: With its tokenizer; one that pools long texts cuts nothing off.
        texts: P sentences.
        digests: Their content digests.

    Returns:
        Columns `item_id`, `n_tokens` and `truncated`; null where it is not known.
    """
    counts = [count_tokens(backbone.tokenizer, text) for text in texts]
    limit = backbone.tokenizer.context_length
    chunked = "long" in backbone.spec.tokenizer
    cut = [None if n is None else n > limit and not chunked for n in counts]
    return pa.table(
        {
            "item_id": pa.array(digests, pa.string()),
            "n_tokens": pa.array(counts, pa.int32()),
            "truncated": pa.array(cut, pa.bool_()),
        }
    )


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


def of_source(source: "BackboneSource", long: str) -> "BackboneSource":
    """The source with what is done with long texts in its digest.

    Raises:
        ConfigurationError: It is neither ``cut`` nor ``chunk``.
    """
    if long not in LONG_TEXTS:
        raise ConfigurationError(
            f"long texts cannot be treated by '{long}'", "Use cut or chunk."
        )
    if long == "cut" or source.digest is None:
        return source
    return replace(source, digest=content_digest(f"{source.digest}|{long}".encode()))


def with_long_texts(backbone: "Backbone", long: str) -> "Backbone":
    """The backbone, or one of another fingerprint that pools long texts from chunks."""
    if long == "cut":
        return backbone
    from .chunking import ChunkingBackbone

    tokenizer = {**backbone.spec.tokenizer, "long": long}
    return ChunkingBackbone(
        backbone.model,
        backbone.preprocess,
        backbone.tokenizer,
        replace(backbone.spec, tokenizer=tokenizer),
        backbone.device,
        backbone.copies,
    )


def adopt_images(store: FeatureStore, writer: StoreWriter, spec: EncoderSpec) -> None:
    """Give a chunking encoder the image vectors of its plain twin.

    Images are encoded alike by both, so nothing has to be computed again.

    Raises:
        StoreCorruptError: A shard is missing or damaged.
        StoreWriteError: The disk refused.
    """
    if "long" not in spec.tokenizer:
        return
    tokenizer = {k: v for k, v in spec.tokenizer.items() if k != "long"}
    plain = replace(spec, tokenizer=tokenizer).fingerprint
    keys, vectors = read_vectors(store, plain)
    known = read_known_keys(store, spec.fingerprint, "image")
    missing = np.flatnonzero(~np.isin(keys, known))
    for start in range(0, len(missing), _SHARD_ROWS):
        rows = missing[start : start + _SHARD_ROWS]
        names = [key.decode() for key in keys[rows]]
        writer.publish(spec, "image", names, vectors[rows])
        writer.commit()
