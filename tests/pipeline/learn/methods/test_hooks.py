"""What the comparators add, against their formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem
from torch import nn

from retune.pipeline.learn.methods.ewc import ElasticWeights, ElasticWeightsOptions
from retune.pipeline.learn.methods.mask import UpdateMask, UpdateMaskOptions
from retune.pipeline.learn.methods.replay import Replay, ReplayOptions
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.training.optimiser import FlatAdam
from retune.pipeline.learn.training.trainer import build_model

_QUICK = TrainConfig(epochs=3, patience=0, batch_size=64, learning_rate=3e-3)


def _optimiser(seed: int = 0) -> FlatAdam:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return FlatAdam(nn.Linear(7, 5), learning_rate=0.1, weight_decay=0.0)


def _move(optimiser: FlatAdam, seed: int) -> None:
    """Two tensors move by amounts of different size, as weights and biases do."""
    moved = np.random.default_rng(seed).normal(size=len(optimiser.weights))
    moved[-5:] *= 100
    optimiser.weights += torch.from_numpy(moved.astype(np.float32))


def _by_the_rule(before: np.ndarray, after: np.ndarray, theta: float) -> np.ndarray:
    """The rule of docs/method.md, one entry at a time, for each tensor alone."""
    expected = after.copy()
    for part in (slice(0, 35), slice(35, 40)):
        change = np.abs(after[part] - before[part])
        limit = change.min() + np.float32(theta) * (change.max() - change.min())
        for index in range(len(change)):
            if change[index] < limit:
                expected[part.start + index] = before[part][index]
    return expected


@pytest.mark.parametrize("theta", [0.0, 0.01, 0.3, 1.0])
def test_the_mask_of_a_batch_undoes_its_small_changes(theta: float) -> None:
    optimiser, hook = _optimiser(), UpdateMask(UpdateMaskOptions(theta, "batch"))
    model = build_model(_QUICK, problem()[1], len(FINDINGS), 12)
    hook.before_task(model, optimiser, 1)
    for batch in range(3):
        before = optimiser.weights.numpy().copy()
        hook.before_step(optimiser)
        _move(optimiser, batch)
        after = optimiser.weights.numpy().copy()
        hook.after_step(optimiser)
        expected = _by_the_rule(before, after, theta)
        np.testing.assert_array_equal(optimiser.weights.numpy(), expected)
        undone = int((expected != after).sum())
        assert undone == {0.0: 0, 1.0: 38}.get(theta, undone)  # the largest two stay
        assert theta < 0.1 or undone > 0
    kept = optimiser.weights.clone()
    hook.after_pass(optimiser)
    assert torch.equal(optimiser.weights, kept)


def test_the_mask_of_an_epoch_undoes_what_was_small_over_all_its_batches() -> None:
    optimiser, hook = _optimiser(), UpdateMask(UpdateMaskOptions(0.2, "epoch"))
    model = build_model(_QUICK, problem()[1], len(FINDINGS), 12)
    hook.before_task(model, optimiser, 1)
    for epoch in range(2):
        before = optimiser.weights.numpy().copy()
        for batch in range(3):
            hook.before_step(optimiser)
            _move(optimiser, 10 * epoch + batch)
            moved = optimiser.weights.clone()
            hook.after_step(optimiser)
            assert torch.equal(optimiser.weights, moved)
        hook.after_pass(optimiser)
        expected = _by_the_rule(before, moved.numpy(), 0.2)
        np.testing.assert_array_equal(optimiser.weights.numpy(), expected)
        assert (expected != moved.numpy()).any()


@pytest.mark.parametrize("per", ["batch", "epoch"])
def test_the_first_task_is_not_masked(per: str) -> None:
    config = ExperimentConfig("label", train=_QUICK, with_bounds=False)
    options = {"theta": 0.5, "per": per}
    masked = replace(config, method="mask", train=replace(_QUICK, options=options))
    plain, with_mask = (run_experiment(*problem(), one) for one in (config, masked))
    np.testing.assert_array_equal(with_mask.auroc[:2], plain.auroc[:2])
    assert not np.array_equal(
        with_mask.prediction.difference, plain.prediction.difference
    )


def test_the_elastic_pull_is_that_of_the_penalty() -> None:
    """λ/2 Σ_t F_t (w − w_t)² over two tasks, differentiated by autograd."""
    optimiser = _optimiser()
    hook = ElasticWeights(ElasticWeightsOptions(strength=3.0), seed=0)
    random = np.random.default_rng(1)
    size = len(optimiser.weights)
    fishers, anchors = (
        [torch.from_numpy(random.random(size).astype(np.float32)) for _ in range(2)]
        for _ in range(2)
    )
    sums = {
        "fisher": fishers[0] + fishers[1],
        "anchored": sum(f * a for f, a in zip(fishers, anchors, strict=True)),
    }
    hook.restore({**sums, "random": torch.Generator().get_state()})
    hook.before_step(optimiser)
    weights = optimiser.weights.clone().requires_grad_()
    penalty = sum(
        1.5 * (f * (weights - a) ** 2).sum()
        for f, a in zip(fishers, anchors, strict=True)
    )
    penalty.backward()  # type: ignore[union-attr]
    torch.testing.assert_close(optimiser.gradient, weights.grad)


def test_each_task_has_its_share_of_what_is_replayed() -> None:
    """And nothing is kept of labels that were not shown."""
    hook = Replay(ReplayOptions(budget=12), seed=0)
    optimiser, random = _optimiser(), np.random.default_rng(0)
    model = build_model(_QUICK, problem()[1], len(FINDINGS), 12)
    x = torch.from_numpy(random.normal(size=(90, 12)).astype(np.float16))
    targets = torch.ones(90, 3)
    for task in range(3):
        rows = torch.arange(30 * task, 30 * task + 30)
        mask = torch.zeros(30, 3, dtype=torch.bool)
        mask[:, task] = True
        hook.after_task(model, optimiser, x, targets, rows, mask)
        kept = hook.state()
        counts = torch.bincount(kept["task"]).tolist()
        assert counts == [12 // (task + 1)] * (task + 1)
        assert torch.equal(kept["targets"] > 0, kept["observed"])
        for row, number in zip(kept["x"], kept["task"].tolist(), strict=True):
            source = x[30 * number : 30 * number + 30]
            assert (source == row).all(dim=1).any()


def test_distillation_holds_only_findings_that_a_task_does_not_show() -> None:
    """In `data` all are shown, and nothing is left to hold."""
    runs = {
        (scenario, method): run_experiment(
            *problem(),
            ExperimentConfig(scenario, method=method, train=_QUICK, with_bounds=False),
        )
        for scenario in ("data", "label")
        for method in ("finetune", "lwf")
    }
    np.testing.assert_array_equal(
        runs["data", "lwf"].prediction.difference,
        runs["data", "finetune"].prediction.difference,
    )
    assert not np.array_equal(
        runs["label", "lwf"].prediction.difference,
        runs["label", "finetune"].prediction.difference,
    )
