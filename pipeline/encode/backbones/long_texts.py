"""Sentences that are longer than a backbone's context: counted, and cut or pooled."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np
import pyarrow as pa

from retune.store import EncoderSpec, FeatureStore, StoreWriter
from retune.store.errors import ConfigurationError
from retune.store.fingerprint import content_digest
from retune.store.queries.bulk import read_vectors
from retune.store.queries.work import read_known_keys

from .token_counts import count_tokens

if TYPE_CHECKING:
    from .contract import Backbone
    from .source import BackboneSource

__all__ = [
    "adopt_images",
    "measure_texts",
    "of_source",
]

LONG_TEXTS: Final = ("cut", "chunk")
_SHARD_ROWS: Final = 16_384


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
