"""What an exported model computes: probabilities from embeddings or from pixels."""

import copy
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

if TYPE_CHECKING:
    from ...encode.backbones.contract import Backbone
    from ...learn.runs.saved_model import SavedModel

__all__ = ["answering_module", "example_input"]

_N_EXAMPLES = 3


class _Probability(nn.Module):
    """Normalising, adaptor and calibration: (N, D) float32 to (N, K)."""

    def __init__(self, saved: "SavedModel") -> None:
        super().__init__()
        self.model = saved.model

    def forward(self, embedding: Tensor) -> Tensor:
        return self.model.scores(embedding)[2].float()


class _FromPixels(nn.Module):
    """The image tower in float32 before it: (N, height, width, 3) uint8 to (N, K)."""

    def __init__(self, saved: "SavedModel", backbone: "Backbone") -> None:
        super().__init__()
        # A copy: the backbone may be in another precision.
        self.tower = copy.deepcopy(backbone.model).float()
        self.answer = _Probability(saved)
        self.register_buffer("mean", backbone.preprocess.mean.float())
        self.register_buffer("std", backbone.preprocess.std.float())

    def forward(self, pixels: Tensor) -> Tensor:
        batch = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        batch = (batch - self.get_buffer("mean")) / self.get_buffer("std")
        vectors: Tensor = self.tower.encode_image(batch)
        probability: Tensor = self.answer(vectors.float())
        return probability


def answering_module(saved: "SavedModel", backbone: "Backbone | None") -> nn.Module:
    """What is exported, in evaluation mode.

    Args:
        saved: A run's model.
        backbone: Backbone of the run, on a processor; None: embeddings go in.
    """
    saved.model.eval()
    if backbone is None:
        return _Probability(saved).eval()
    return _FromPixels(saved, backbone).eval()


def example_input(saved: "SavedModel", backbone: "Backbone | None") -> Tensor:
    """Random input: embeddings, or pictures of the size that the backbone takes."""
    random = np.random.default_rng(0)
    if backbone is None:
        vectors = random.normal(size=(_N_EXAMPLES, saved.dim)).astype(np.float32)
        return torch.from_numpy(vectors)
    noise = random.integers(0, 256, (_N_EXAMPLES, 24, 24), dtype=np.uint8)
    pictures = [
        backbone.preprocess.to_pixels(Image.fromarray(one).resize((320, 320)))
        for one in noise
    ]
    return torch.from_numpy(np.stack(pictures))
