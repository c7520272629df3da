"""Adaptors: small modules D → D on top of frozen embeddings."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from retune.store.errors import ConfigurationError

from ..plugins import named
from ..problem.seeds import stream_seed
from .fused import two_layers

__all__ = ["ADAPTORS", "PLACEMENTS", "Adaptors", "ResidualAdaptor", "build_adaptors"]

_BLOCK = 16_384


class ResidualAdaptor(nn.Module):
    """``x + r·mlp((x − c)/r)`` that starts exactly at the identity.

    The last layer starts at zero, so that training starts from the zero-shot model and
    moves away from it only as far as the data ask. Embeddings of one backbone lie in a
    narrow cone; their centre c and their spread r, from the images of the first task,
    let the mlp see what differs instead of what is common.

    Args:
        dim: D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.centre: Tensor
        self.spread: Tensor
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("spread", torch.ones(()))
        self.mlp: MlpAdaptor = MlpAdaptor(dim)
        last = self.mlp[-1]
        assert isinstance(last, nn.Linear)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt vectors, shape (n, D)."""
        spread, centre = self.spread.to(x.dtype), self.centre.to(x.dtype)
        adapted: Tensor = x + spread * self.mlp((x - centre) / spread)
        return adapted

    def look_at(self, x: Tensor, rows: Tensor) -> None:
        """Take centre and spread from vectors; once, before training.

        Summed in float64 and in blocks: no copy of all vectors is made.

        Args:
            x: Shape (N, D).
            rows: The vectors to look at, shape (n,).
        """
        with torch.no_grad():
            parts = [part.to(x.device) for part in torch.split(rows, _BLOCK)]
            sums = [x[part].double().sum(dim=0) for part in parts]
            centre = torch.stack(sums).sum(dim=0) / len(rows)
            squares = [(x[part].double() - centre).square().sum() for part in parts]
            n_values = len(rows) * x.shape[1]
            spread = (torch.stack(squares).sum() / n_values).sqrt()
            self.centre.copy_(centre)
            self.spread.copy_(spread if spread > 0 else torch.ones_like(spread))


class MlpAdaptor(nn.Sequential):
    """The reference's adaptor: D → 2D → ReLU → D, in the precision of what it gets."""

    def __init__(self, dim: int) -> None:
        super().__init__(nn.Linear(dim, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        """Adapt vectors, shape (…, D)."""
        first, _, second = self
        assert isinstance(first, nn.Linear)
        assert isinstance(second, nn.Linear)
        rows = x.reshape(-1, x.shape[-1])
        weights = (first.weight, first.bias, second.weight, second.bias)
        return two_layers(rows, *weights).view_as(x)


class LinearAdaptor(nn.Linear):
    """D → D, in the precision of what it gets."""

    def __init__(self, dim: int) -> None:
        super().__init__(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """Adapt vectors, shape (n, D)."""
        return functional.linear(x, self.weight.to(x.dtype), self.bias.to(x.dtype))


def _identity(dim: int) -> nn.Module:
    del dim
    return nn.Identity()


#: Name -> maker of an adaptor for dimension D. Add an entry to add a kind, or name the
#: maker in the entry-point group ``retune.adaptors`` of your package.
ADAPTORS: dict[str, Callable[[int], nn.Module]] = {
    "identity": _identity,
    "linear": LinearAdaptor,
    "mlp": MlpAdaptor,
    "residual": ResidualAdaptor,
}

#: Placement -> whether the image side and the text side have an adaptor of their own.
PLACEMENTS: Mapping[str, tuple[bool, bool]] = {
    "image": (True, False),
    "text": (False, True),
    "both": (True, True),
    "shared": (True, True),
}


class Adaptors(nn.Module):
    """The image adaptor and the text adaptor; with ``shared`` they are one module."""

    def __init__(self, image: nn.Module, text: nn.Module) -> None:
        super().__init__()
        self.image = image
        self.text = text


def build_adaptors(adaptor: str, placement: str, dim: int, seed: int) -> Adaptors:
    """Make adaptors with weights drawn from a seed.

    Args:
        adaptor: A name in `ADAPTORS`.
        placement: A name in `PLACEMENTS`.
        dim: D.
        seed: Seed of the initial weights; torch's own generator is left as it was.

    Raises:
        ConfigurationError: A name is unknown.
    """
    make = named("adaptor", adaptor, ADAPTORS)
    if placement not in PLACEMENTS:
        raise ConfigurationError(
            f"unknown `placement` {placement}", f"Use one of {', '.join(PLACEMENTS)}."
        )
    on_image, on_text = PLACEMENTS[placement]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream_seed(seed, "weights"))
        image = make(dim) if on_image else nn.Identity()
        if placement == "shared":
            return Adaptors(image, image)
        text = make(dim) if on_text else nn.Identity()
    return Adaptors(image, text)
