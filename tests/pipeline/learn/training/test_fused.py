"""Written-out gradients are autograd's."""

import pytest
import torch
from torch.nn import functional

from retune.pipeline.learn.training.fused import cosine_difference, two_layers
from retune.pipeline.learn.training.model import loss_gradient, masked_loss


def _numbers(*shape: int, seed: int = 0) -> torch.Tensor:
    random = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=random, dtype=torch.float64)


def test_two_layers_by_finite_differences() -> None:
    shapes = [(5, 3), (6, 3), (6,), (3, 6), (3,)]
    inputs = [_numbers(*s, seed=i).requires_grad_() for i, s in enumerate(shapes)]
    assert torch.autograd.gradcheck(two_layers, inputs)


def test_cosine_difference_by_finite_differences() -> None:
    inputs = [_numbers(5, 3).requires_grad_(), _numbers(2, 3, seed=1).requires_grad_()]
    assert torch.autograd.gradcheck(cosine_difference, inputs)


def test_an_image_without_a_gradient_is_not_asked_for_one() -> None:
    text = _numbers(2, 3).requires_grad_()
    cosine_difference(_numbers(5, 3), text).sum().backward()
    assert text.grad is not None


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 3e-2)]
)
def test_values_and_gradients_are_those_of_plain_operations(
    dtype: torch.dtype, tolerance: float
) -> None:
    x, text = _numbers(64, 16).float(), _numbers(3, 16, seed=9).float()
    results = []
    for fused in (True, False):
        layers = torch.nn.Sequential(
            torch.nn.Linear(16, 32), torch.nn.ReLU(), torch.nn.Linear(32, 16)
        )
        torch.manual_seed(0)
        for p in layers.parameters():
            torch.nn.init.normal_(p, std=0.2)
        direction = text.clone().requires_grad_()
        if fused:
            w = list(layers.parameters())
            out = cosine_difference(two_layers(x.to(dtype), *w), direction)
        else:
            out = functional.normalize(layers(x), dim=-1) @ direction.T
        assert out.dtype == torch.float32
        (out * torch.arange(3)).mean().backward()
        grads = [p.grad for p in layers.parameters()] + [direction.grad]
        assert all(g is not None and g.dtype == torch.float32 for g in grads)
        results.append([out.detach(), *(g for g in grads if g is not None)])
    for one, other in zip(*results, strict=True):
        scale = float(other.abs().max())
        assert float((one - other).abs().max()) <= tolerance * scale


def test_the_gradient_of_the_loss_is_autograds() -> None:
    logits = _numbers(7, 4).requires_grad_()
    observed = _numbers(7, 4, seed=1) > 0
    targets = (_numbers(7, 4, seed=2) > 0).double()
    targets[~observed] = torch.nan
    masked_loss(logits, targets, observed).backward()
    gradient = loss_gradient(logits.detach(), targets, observed)
    torch.testing.assert_close(gradient, logits.grad)
    empty = torch.zeros_like(observed)
    assert not loss_gradient(logits.detach(), targets, empty).any()
