"""The contract of every adaptor, and of the model they are part of."""

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem
from torch.nn import functional

from retune.pipeline.learn.problem.features import Prompts
from retune.pipeline.learn.training.adaptors import ADAPTORS, PLACEMENTS, build_adaptors
from retune.pipeline.learn.training.model import AdaptedModel, masked_loss
from retune.store.errors import ConfigurationError


def _n_parameters(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("adaptor", "expected"), [("mlp", 65_920), ("linear", 16_512)])
def test_reference_sizes(adaptor: str, expected: int) -> None:
    assert _n_parameters(ADAPTORS[adaptor](128)) == expected


@pytest.mark.parametrize("adaptor", ADAPTORS)
def test_contract_shape_and_seed(adaptor: str) -> None:
    before = torch.get_rng_state()
    one, same, other = (build_adaptors(adaptor, "both", 8, seed) for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), before)
    x = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    assert one.image(x).shape == (5, 8)
    assert torch.equal(one.image(x), same.image(x))
    if adaptor in ("linear", "mlp"):
        assert not torch.equal(one.image(x), other.image(x))
        assert not torch.equal(one.image(x), one.text(x))


def test_residual_starts_exactly_at_the_identity() -> None:
    x = torch.randn(5, 8)
    assert torch.equal(ADAPTORS["residual"](8)(x), x)


def test_placements() -> None:
    sizes = {
        placement: _n_parameters(build_adaptors("linear", placement, 8, 0))
        for placement in PLACEMENTS
    }
    assert sizes == {"image": 72, "text": 72, "both": 144, "shared": 72}
    shared = build_adaptors("mlp", "shared", 8, 0)
    assert shared.image is shared.text


def test_unknown_names() -> None:
    with pytest.raises(ConfigurationError, match="`adaptor` x"):
        build_adaptors("x", "both", 8, 0)
    with pytest.raises(ConfigurationError, match="`placement` x"):
        build_adaptors("mlp", "x", 8, 0)
    with pytest.raises(ConfigurationError, match="`pooling` x"):
        _model(pooling="x")


def _model(pooling: str = "mean", **options: object) -> AdaptedModel:
    _, prompts = problem()
    adaptors = build_adaptors("mlp", "both", 12, 0)
    return AdaptedModel(adaptors, prompts, len(FINDINGS), pooling=pooling, **options)  # type: ignore[arg-type]  # by name


def _slow_similarities(
    model: AdaptedModel, prompts: Prompts, x: torch.Tensor, pooling: str
) -> tuple[np.ndarray, np.ndarray]:
    """The formulas of docs/method.md, one cell at a time."""
    result = np.zeros((2, len(x), len(FINDINGS)))
    texts = model.adaptors.text(torch.from_numpy(prompts.embedding))
    for i, one in enumerate(x):
        image = model.adaptors.image(one)
        for k in range(len(FINDINGS)):
            for side, wanted in enumerate((True, False)):
                chosen = [
                    text
                    for text, finding, positive in zip(
                        texts, prompts.finding, prompts.positive, strict=True
                    )
                    if finding == k and positive == wanted
                ]
                if pooling == "mean":
                    chosen = [torch.stack(chosen).mean(dim=0)]
                cosines = [
                    functional.cosine_similarity(image, t, dim=0) for t in chosen
                ]
                result[side, i, k] = max(float(c) for c in cosines)
    return result[0], result[1]


@pytest.mark.parametrize("pooling", ["mean", "max"])
def test_similarities_are_those_of_the_formulas(pooling: str) -> None:
    features, prompts = problem()
    x = torch.from_numpy(features.embedding[:4]).float()
    model = _model(pooling)
    with torch.no_grad():
        similarities = model.similarities(x)
        expected = _slow_similarities(model, prompts, x, pooling)
    for one, other in zip(similarities, expected, strict=True):
        np.testing.assert_allclose(one.numpy(), other, atol=1e-5)
        assert (one.abs() <= 1 + 1e-6).all()


def test_logits_are_scaled_and_shifted_differences() -> None:
    features, _ = problem()
    x = torch.from_numpy(features.embedding[:4]).float()
    model = _model(scale=7.0)
    with torch.no_grad():
        model.bias += torch.tensor([1.0, 2.0, 3.0])
        positive, negative = model.similarities(x)
        expected = 7 * (positive - negative) + torch.tensor([1.0, 2.0, 3.0])
        torch.testing.assert_close(model.logits(x), expected)


def test_only_what_is_learned_has_gradients() -> None:
    fixed = _model()
    assert not fixed.log_scale.requires_grad
    assert not fixed.bias.requires_grad
    learned = _model(learn_scale=True, learn_bias=True)
    assert learned.log_scale.requires_grad
    assert learned.bias.requires_grad


def test_the_loss_is_the_mean_over_observed_cells() -> None:
    logits = torch.tensor([[0.0, 3.0], [1.0, -2.0]])
    targets = torch.tensor([[1.0, 0.0], [0.0, float("nan")]])
    observed = torch.tensor([[True, True], [True, False]])
    expected = functional.binary_cross_entropy_with_logits(
        torch.tensor([0.0, 3.0, 1.0]), torch.tensor([1.0, 0.0, 0.0])
    )
    torch.testing.assert_close(masked_loss(logits, targets, observed), expected)


def test_nothing_observed_is_no_loss() -> None:
    empty = torch.zeros(2, 2, dtype=torch.bool)
    assert masked_loss(torch.ones(2, 2), torch.ones(2, 2), empty) == 0
