"""The two costly parts of a training step, with their gradients written out.

Autograd would make a copy for every small operation between the matrix products; at
D=128 these copies take longer than the products. Here they are done in place.
"""

from typing import Any

import torch
from torch import Tensor

__all__ = ["cosine_difference", "two_layers"]


class _TwoLayers(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor
    ) -> Tensor:
        dtype = x.dtype
        second = w2.to(dtype)
        # `addmm` would first write the bias into every row and then read it back.
        hidden = (x @ w1.to(dtype).T).add_(b1.to(dtype)).relu_()
        ctx.save_for_backward(x, hidden, w1, second)
        return (hidden @ second.T).add_(b2.to(dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, hidden, w1, second = ctx.saved_tensors
        (out,) = gradients
        dtype = w1.dtype
        dw2 = (out.T @ hidden).to(dtype)
        # A product with ones adds up in float32; `sum` would first copy to float32.
        ones = out.new_ones(1, len(out))
        db2 = (ones @ out)[0].to(dtype)
        inner = out @ second
        # Where ReLU gave 0 nothing flows back; `hidden` is 0 exactly there.
        torch.ops.aten.threshold_backward.grad_input(inner, hidden, 0, grad_input=inner)
        dw1 = (inner.T @ x).to(dtype)
        db1 = (ones @ inner)[0].to(dtype)
        dx = inner @ w1.to(inner.dtype) if ctx.needs_input_grad[0] else None
        return dx, dw1, db1, dw2, db2


class _CosineDifference(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, image: Tensor, text: Tensor) -> Tensor:
        dtype = text.dtype
        direction = text.to(image.dtype)
        norm = torch.linalg.vector_norm(image, dim=1, keepdim=True, dtype=dtype)
        norm.clamp_(min=1e-12)
        cosine = (image @ direction.T).to(dtype).div_(norm)
        ctx.save_for_backward(image, direction, norm, cosine)
        return cosine

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        image, direction, norm, cosine = ctx.saved_tensors
        (out,) = gradients
        share = out / norm
        dtext = (share.to(image.dtype).T @ image).to(out.dtype)
        if not ctx.needs_input_grad[0]:
            return None, dtext
        # d(o·t/|o|) = t/|o| − (o·t/|o|) o/|o|²
        along = (share * cosine).sum(dim=1, keepdim=True).div_(norm).neg_()
        dimage = share.to(image.dtype) @ direction
        dimage.addcmul_(image, along.to(image.dtype))
        return dimage, dtext


def two_layers(x: Tensor, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor) -> Tensor:
    """``w2·relu(w1·x + b1) + b2`` in the precision of x.

    Args:
        x: Shape (B, D), float32 or bfloat16.
        w1: Shape (H, D), float32, as its gradient.
        b1: Shape (H,).
        w2: Shape (D, H).
        b2: Shape (D,).

    Returns:
        Shape (B, D), of x's type.
    """
    output: Tensor = _TwoLayers.apply(x, w1, b1, w2, b2)
    return output


def cosine_difference(image: Tensor, text: Tensor) -> Tensor:
    """``o·t/|o|``: with t = t̂⁺ − t̂⁻ the difference of two cosines.

    Args:
        image: o, shape (B, D), float32 or bfloat16.
        text: t, shape (K, D), float32.

    Returns:
        Shape (B, K), float32.

    >>> image = torch.tensor([[3.0, 4.0]])
    >>> cosine_difference(image, torch.tensor([[1.0, 0.0], [0.0, -1.0]])).tolist()
    [[0.6000000238418579, -0.800000011920929]]
    """
    output: Tensor = _CosineDifference.apply(image, text)
    return output
