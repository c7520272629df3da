"""What a loader hands over, whatever library the model is of."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ...images.preprocess import Preprocess

__all__ = ["ImageOnly", "Parts", "output_size"]


@dataclass(frozen=True)
class Parts:
    """A model on the processor in float32, with all that its fingerprint is made of.

    Attributes:
        model: With `visual`, `encode_image` and, if it reads, `encode_text`.
        preprocess: Preprocessing of its pictures.
        preprocess_words: The same, for the fingerprint.
        tokenizer: Callable: sentences -> token ids; None: it knows images only.
        config: Configuration of the architecture, for the fingerprint.
        pooling: How places become one vector, for the fingerprint.
        dim: D.
    """

    model: Any
    preprocess: Preprocess
    preprocess_words: Mapping[str, object]
    tokenizer: Any
    config: Mapping[str, object]
    pooling: str
    dim: int


class ImageOnly(nn.Module):
    """A tower that gives vectors of images, as a model of open_clip has one.

    Args:
        visual: Batches of shape (B, 3, height, width) -> shape (B, D).
    """

    def __init__(self, visual: nn.Module) -> None:
        super().__init__()
        self.visual = visual

    def encode_image(self, batch: Tensor) -> Tensor:
        """Vectors, shape (B, D)."""
        features: Tensor = self.visual(batch)
        return features


def output_size(visual: nn.Module, height: int, width: int) -> int:
    """D, found by encoding a black picture."""
    with torch.inference_mode():
        output: Tensor = visual(torch.zeros(1, 3, height, width))
    return int(output.shape[-1])
