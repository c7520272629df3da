"""An image tower compiled for this machine by torch.compile, if a user asks for it.

It takes a minute or more at each start and pays on long jobs.
"""

from collections.abc import Callable

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from retune.store.errors import BackboneError

from .contract import Backbone

__all__ = ["compile_images"]


class _FixedBatch(nn.Module):
    """Gives a tower batches of one size only: it is compiled once, and for good.

    Args:
        tower: What is given batches.
        size: B of every batch; smaller ones are filled up with zeros.
    """

    def __init__(self, tower: Callable[[Tensor], Tensor], size: int) -> None:
        super().__init__()
        self.tower = tower
        self._size = size

    def forward(self, x: Tensor) -> Tensor:
        outputs = []
        for part in torch.split(x, self._size):
            n_missing = self._size - len(part)
            whole = part
            if n_missing:
                padding = part.new_zeros((n_missing, *part.shape[1:]))
                whole = torch.cat([part, padding])
            outputs.append(self.tower(whole)[: len(part)])
        return torch.cat(outputs)


def compile_images(backbone: Backbone, batch_size: int) -> Backbone:
    """Compile the image tower in place, and try it on a black picture.

    The fingerprint stays: vectors differ by rounding, as they do between batch sizes.

    Args:
        backbone: Its model is changed.
        batch_size: Images in a forward pass.

    Raises:
        BackboneError: The compiler is missing or cannot take this model.
    """
    model = backbone.model
    plain = model.visual
    model.visual = _FixedBatch(torch.compile(plain, dynamic=False), batch_size).eval()
    pixels = backbone.preprocess.to_pixels(Image.new("L", (64, 64)))
    try:
        backbone.encode_images(pixels[np.newaxis])
    except (RuntimeError, OSError) as error:  # torch's and its compilers' own
        model.visual = plain
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"'{backbone.spec.backbone}' cannot be compiled here: {reason}",
            "Leave `compiled` out. It needs a C compiler on this machine.",
        ) from error
    return backbone
