"""The adapted model: similarities between images and descriptions.

Notation as in docs/method.md: x (D,) an image's embedding, u a
description's; A_I and A_T the adaptors; s± the cosine of an image with a finding's
positive or negative descriptions; z = s⁺ − s⁻ the logit.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from retune.store.errors import ConfigurationError

from ..problem.features import Prompts
from .adaptors import Adaptors
from .fused import cosine_difference

__all__ = ["POOLINGS", "AdaptedModel", "loss_gradient", "masked_loss"]

POOLINGS = ("mean", "max")


class AdaptedModel(nn.Module):
    """Adaptors with the descriptions they work on.

    Args:
        adaptors: For images and texts.
        prompts: P descriptions of K findings.
        n_findings: K.
        pooling: ``mean``: cosine to the mean of a polarity's adapted descriptions;
            ``max``: the largest cosine to one of them.
        scale: Initial factor on the logit; learned if `learn_scale`.
        learn_scale: Whether the factor is learned.
        learn_bias: Whether each finding has a learned offset of its logit. It carries
            the finding's prevalence, which the similarities then need not.
    """

    def __init__(
        self,
        adaptors: Adaptors,
        prompts: Prompts,
        n_findings: int,
        *,
        pooling: str = "mean",
        scale: float = 1.0,
        learn_scale: bool = False,
        learn_bias: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise ConfigurationError(
                f"unknown `pooling` {pooling}", f"Use one of {', '.join(POOLINGS)}."
            )
        self.adaptors = adaptors
        self.pooling = pooling
        self.prompts: Tensor
        self.membership: Tensor
        self.register_buffer(
            "prompts", torch.from_numpy(np.ascontiguousarray(prompts.embedding)).float()
        )
        self.register_buffer("membership", _membership(prompts, n_findings))
        self.slope: Tensor
        self.offset: Tensor
        self.register_buffer("slope", torch.ones(n_findings))
        self.register_buffer("offset", torch.zeros(n_findings))
        log_scale = torch.tensor(math.log(scale))
        bias = torch.zeros(n_findings)
        self.log_scale: nn.Parameter = nn.Parameter(
            log_scale, requires_grad=learn_scale
        )
        self.bias: nn.Parameter = nn.Parameter(bias, requires_grad=learn_bias)

    def similarities(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """s⁺ and s⁻, each of shape (B, K), within [−1, 1].

        Args:
            x: Embeddings as the backbone returned them, shape (B, D).
        """
        image = functional.normalize(self.adaptors.image(x).float(), dim=-1)
        text = self.adaptors.text(self.prompts)
        if self.pooling == "mean":
            # Mean of the unnormalised outputs, then cosine (docs/method.md).
            pooled = functional.normalize(self.membership @ text, dim=-1)
            both = image @ pooled.T
        else:
            each = image @ functional.normalize(text, dim=-1).T
            belongs = self.membership > 0
            both = torch.stack(
                [each[:, members].amax(dim=1) for members in belongs], dim=1
            )
        n_findings = len(self.bias)
        return both[:, :n_findings], both[:, n_findings:]

    def logits(self, x: Tensor) -> Tensor:
        """z, times the learned scale, plus the learned bias; shape (B, K), float32.

        Args:
            x: Shape (B, D); adaptors compute in its precision.
        """
        if self.pooling == "mean":
            text = self.adaptors.text(self.prompts)
            pooled = functional.normalize(self.membership @ text, dim=-1)
            n_findings = len(self.bias)
            towards = pooled[:n_findings] - pooled[n_findings:]
            difference = cosine_difference(self.adaptors.image(x), towards)
        else:
            positive, negative = self.similarities(x)
            difference = positive - negative
        logits: Tensor = difference * self.log_scale.exp() + self.bias
        return logits

    def scores(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """s⁺ − s⁻, s⁺ and the calibrated probability, each of shape (B, K)."""
        positive, negative = self.similarities(x)
        difference = positive - negative
        logits = difference * self.log_scale.exp() + self.bias
        return difference, positive, (logits * self.slope + self.offset).sigmoid()

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take what `state_dict` gave; older models had no calibration."""
        plain = {
            "slope": torch.ones_like(self.slope),
            "offset": torch.zeros_like(self.offset),
        }
        return super().load_state_dict(plain | dict(state_dict), strict, assign)


def _membership(prompts: Prompts, n_findings: int) -> Tensor:
    """Averages descriptions: shape (2K, P); rows of positives first, each sums to 1."""
    rows = prompts.finding + np.where(prompts.positive, 0, n_findings)
    matrix = np.zeros((2 * n_findings, len(rows)), dtype=np.float32)
    matrix[rows, np.arange(len(rows))] = 1
    matrix /= matrix.sum(axis=1, keepdims=True)
    return torch.from_numpy(matrix)


def masked_loss(logits: Tensor, targets: Tensor, observed: Tensor) -> Tensor:
    """Binary cross-entropy, averaged over the observed cells.

    Args:
        logits: Shape (B, K).
        targets: Shape (B, K), 0 or 1; anything where nothing was observed.
        observed: Shape (B, K), bool.

    Returns:
        A scalar; 0 if nothing was observed.
    """
    # The target of an unobserved cell is replaced, not multiplied by 0, so that it has
    # no influence even if it is NaN.
    known = torch.where(observed, targets, torch.zeros_like(targets))
    cells = functional.binary_cross_entropy_with_logits(logits, known, reduction="none")
    return (cells * observed).sum() / observed.sum().clamp(min=1)


def loss_gradient(logits: Tensor, targets: Tensor, observed: Tensor) -> Tensor:
    """Of `masked_loss` with respect to the logits: (σ(z) − y)/n at observed cells.

    Args:
        logits: Shape (B, K).
        targets: Shape (B, K), 0 or 1; anything where nothing was observed.
        observed: Shape (B, K), bool.

    >>> seen = torch.tensor([[True, False]])
    >>> loss_gradient(torch.zeros(1, 2), torch.ones(1, 2), seen)
    tensor([[-0.5000,  0.0000]])
    """
    share = 1 / observed.sum().clamp(min=1)
    slope = (logits.sigmoid() - targets) * share
    return slope.masked_fill_(~observed, 0.0)
