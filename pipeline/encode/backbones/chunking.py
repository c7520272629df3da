"""A backbone that reads all of a long text, piece by piece."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from .contract import Backbone
from .token_counts import count_tokens, split_text

__all__ = ["ChunkingBackbone", "with_long_texts"]

_BATCH = 128


@dataclass(frozen=True)
class ChunkingBackbone(Backbone):
    """Encodes a text that exceeds the context as the mean of its pieces' vectors.

    A text that fits gets the very vector that the plain backbone gives.
    """

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D)."""
        limit = self.tokenizer.context_length
        pieces = [
            split_text(text, lambda part: count_tokens(self.tokenizer, part), limit)
            for text in texts
        ]
        flat = [piece for parts in pieces for piece in parts]
        vectors = np.concatenate(
            [
                super(ChunkingBackbone, self).encode_texts(flat[start : start + _BATCH])
                for start in range(0, len(flat), _BATCH)
            ]
        )
        ends = np.cumsum([len(parts) for parts in pieces])
        means = [
            vectors[end - len(parts) : end].mean(axis=0)
            for end, parts in zip(ends, pieces, strict=True)
        ]
        return np.stack(means)


def with_long_texts(backbone: Backbone, long: str) -> Backbone:
    """The backbone, or one of another fingerprint that pools long texts from chunks."""
    if long == "cut":
        return backbone
    tokenizer = {**backbone.spec.tokenizer, "long": long}
    return ChunkingBackbone(
        backbone.model,
        backbone.preprocess,
        backbone.tokenizer,
        replace(backbone.spec, tokenizer=tokenizer),
        backbone.device,
        backbone.copies,
    )
