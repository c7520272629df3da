"""Our Adam is torch's."""

import pytest
import torch

from retune.pipeline.learn.training.optimiser import FlatAdam
from retune.store.errors import TrainingError


@pytest.mark.parametrize("weight_decay", [0.0, 0.01, 0.5])
@pytest.mark.parametrize("learning_rate", [1e-4, 1e-3, 0.1])
@pytest.mark.parametrize(
    ("dtype", "fused", "rtol"),
    [(torch.float32, True, 1e-6), (torch.float64, False, 1e-12)],
)
def test_steps_are_those_of_torch(
    learning_rate: float,
    weight_decay: float,
    dtype: torch.dtype,
    fused: bool,
    rtol: float,
) -> None:
    """Of torch's fused kernel, and in double precision of its plain one."""
    torch.manual_seed(0)
    ours, theirs = (
        torch.nn.Sequential(
            torch.nn.Linear(5, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2)
        ).to(dtype)
        for _ in range(2)
    )
    theirs.load_state_dict(ours.state_dict())
    adam = FlatAdam(ours, learning_rate=learning_rate, weight_decay=weight_decay)
    reference = torch.optim.AdamW(
        theirs.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=fused
    )
    for _ in range(50):
        x = torch.randn(7, 5, dtype=dtype)
        ours(x).square().sum().backward()
        adam.step()
        reference.zero_grad()
        theirs(x).square().sum().backward()
        reference.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=rtol, atol=rtol / 10)


def test_only_what_requires_a_gradient_moves_and_a_shared_module_moves_once() -> None:
    shared = torch.nn.Linear(3, 3)
    module = torch.nn.ModuleList([shared, shared, torch.nn.Linear(3, 3)])
    module[2].requires_grad_(False)
    fixed = module[2].weight.clone()
    adam = FlatAdam(module, learning_rate=0.1, weight_decay=0.0)
    assert adam.sizes == [9, 3]
    before = shared.weight.detach().clone()
    module[1](module[0](torch.ones(1, 3))).sum().backward()
    adam.step()
    assert not torch.equal(shared.weight, before)
    assert torch.equal(module[2].weight, fixed)
    assert not adam.gradient.any()


def test_a_step_that_no_weight_can_hold_is_a_named_error() -> None:
    layer = torch.nn.Linear(2, 1)
    adam = FlatAdam(layer, learning_rate=1e38, weight_decay=0.0)
    layer(torch.ones(1, 2)).sum().backward()
    with pytest.raises(TrainingError, match="diverged"):
        adam.step()
