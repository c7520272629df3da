"""Orders of a pass: each row once, and vectors in a file learned from as in memory."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.training.shuffling import SHUFFLES, Shuffle, shuffled


@given(
    n=st.integers(0, 200_000),
    seed=st.integers(0, 99),
    shuffle=st.sampled_from(SHUFFLES),
)
def test_each_row_comes_once(n: int, seed: int, shuffle: Shuffle) -> None:
    order = shuffled(np.random.default_rng(seed), n, shuffle)
    assert np.bincount(order, minlength=n).tolist() == [1] * n


def test_blocks_are_read_near_each_other() -> None:
    """Any 65,536 rows in a row come from 64 blocks, and are well mixed among them."""
    n = 500_000
    order = shuffled(np.random.default_rng(0), n, "blocks")
    window = order[: 64 * 1024]
    assert len(np.unique(window // 1024)) == 64
    assert np.abs(np.diff(window)).min() >= 1
    steps = np.diff(window) == 1
    assert steps.mean() < 0.001
    other = shuffled(np.random.default_rng(1), n, "blocks")
    assert not np.array_equal(order, other)


@pytest.mark.parametrize(
    "method", ["finetune", "analytic", "mask", "replay", "lwf", "ewc"]
)
def test_vectors_in_a_file_give_the_same_weights(method: str, tmp_path: Path) -> None:
    features, prompts = problem()
    stored = np.memmap(
        tmp_path / "x", features.embedding.dtype, "w+", shape=features.embedding.shape
    )
    stored[:] = features.embedding
    config = ExperimentConfig(
        "label",
        train=TrainConfig(epochs=4, batch_size=32, shuffle="blocks"),
        method=method,
        with_bounds=False,
    )
    memory = run_experiment(features, prompts, config)
    streamed = run_experiment(replace(features, embedding=stored), prompts, config)
    assert np.array_equal(memory.auroc, streamed.auroc)
    ours, theirs = memory.model.state_dict(), streamed.model.state_dict()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_bounds_in_a_file_leave_out_what_needs_memory(tmp_path: Path) -> None:
    features, prompts = problem()
    stored = np.memmap(
        tmp_path / "x", features.embedding.dtype, "w+", shape=features.embedding.shape
    )
    stored[:] = features.embedding
    config = ExperimentConfig("label", train=TrainConfig(epochs=2, shuffle="blocks"))
    result = run_experiment(replace(features, embedding=stored), prompts, config)
    assert set(result.bounds) == {"joint", "joint-observed", "analytic"}
    assert len(result.findings) == len(FINDINGS)
