"""Training of the projection and the text tower, on made-up features."""

from dataclasses import replace

import numpy as np
import open_clip
import pytest
import torch

from retune.pipeline.mini_recipe.training import (
    Pool,
    RecipeConfig,
    TrainedTowers,
    train_towers,
)

_K, _F, _D, _TOKENS = 3, 12, 8, 40
_CONFIG = RecipeConfig(steps=60, batch_size=32, learning_rate=3e-3, seed=1)


def _tower() -> torch.nn.Module:
    torch.manual_seed(0)
    tower: torch.nn.Module = open_clip.transformer.TextTransformer(
        context_length=10,
        vocab_size=_TOKENS,
        width=16,
        heads=2,
        layers=1,
        output_dim=_D,
    )
    return tower


def _sentences() -> np.ndarray:
    """Sentences whose third token says what they state, at different lengths."""
    random = np.random.default_rng(0)
    tokens = np.zeros((_K, 2, 6, 10), dtype=np.int64)
    for finding in range(_K):
        for positive in (0, 1):
            for index in range(6):
                n_words = 3 + index % 3
                words = random.integers(10, 30, n_words)
                words[1] = 2 + 2 * finding + positive
                tokens[finding, positive, index, : n_words + 2] = [
                    _TOKENS - 2, *words, _TOKENS - 1,
                ]  # fmt: skip
    return tokens


def _pool(seed: int = 0, name: str = "one") -> Pool:
    random = np.random.default_rng(seed)
    features = random.standard_normal((80, _F)).astype(np.float32)
    value = (features[:, :_K] > 0).astype(np.float32)
    observed = random.random((80, _K)) < 0.8
    observed[:, 0] = True
    return Pool(name, features, value, observed, share=1.0)


def _train(*pools: Pool, config: RecipeConfig = _CONFIG) -> TrainedTowers:
    return train_towers(_tower(), pools, _sentences(), 1, _D, config)


def test_training_learns_what_images_show_and_sentences_say() -> None:
    pool = _pool()
    trained = _train(pool, config=replace(_CONFIG, steps=200))
    with torch.no_grad():
        text = trained.text(torch.from_numpy(_sentences()).flatten(0, 2))
    statements = text.unflatten(0, (_K, 2, 6)).mean(dim=2).numpy()
    statements /= np.linalg.norm(statements, axis=-1, keepdims=True)
    images = pool.features @ trained.weight.T + trained.bias
    images /= np.linalg.norm(images, axis=-1, keepdims=True)
    score = images @ (statements[:, 1] - statements[:, 0]).T
    right = (score > np.median(score, axis=0)) == (pool.value > 0)
    assert right.mean() > 0.85


def test_the_same_seed_gives_the_same_weights() -> None:
    first, second, other = (
        _train(_pool(), _pool(1, "two"), config=replace(_CONFIG, seed=seed))
        for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.weight, second.weight)
    assert first.loss == second.loss
    assert not np.array_equal(first.weight, other.weight)


def test_cells_that_are_not_observed_have_no_influence() -> None:
    pool = _pool()
    changed = replace(pool, value=np.where(pool.observed, pool.value, 1 - pool.value))
    assert (changed.value != pool.value).any()
    np.testing.assert_array_equal(_train(pool).weight, _train(changed).weight)


def test_scaling_and_shifting_features_is_undone_by_the_projection() -> None:
    pool = _pool()
    moved = replace(pool, features=(pool.features * 5 + 3).astype(np.float32))
    plain, shifted = _train(pool), _train(moved)
    np.testing.assert_allclose(
        moved.features @ shifted.weight.T + shifted.bias,
        pool.features @ plain.weight.T + plain.bias,
        rtol=1e-2,
        atol=1e-3,
    )


def test_the_text_tower_reads_full_length_again_after_training() -> None:
    trained = _train(_pool(), config=replace(_CONFIG, steps=2))
    with torch.no_grad():
        vectors = trained.text(torch.from_numpy(_sentences()[0, 0]))
    assert vectors.shape == (6, _D)
    assert not trained.text.training


@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_progress_is_told_each_step(dropout: float) -> None:
    told: list[int] = []
    train_towers(
        _tower(),
        [_pool()],
        _sentences(),
        1,
        _D,
        replace(_CONFIG, steps=5, word_dropout=dropout),
        lambda step, _loss: told.append(step),
    )
    assert told == [1, 2, 3, 4, 5]
