"""The same images under several sets of prompts."""

from dataclasses import replace

import numpy as np
import pytest
from learning_samples import problem

from retune.pipeline.learn.curves.ablation import ablate_prompts
from retune.pipeline.learn.problem.config import preset
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.progress import Progress

_CONFIG = ExperimentConfig("joint", preset("default", epochs=3), with_bounds=False)


def test_rows_are_those_of_single_runs_and_the_baseline_comes_without_difference() -> (
    None
):
    features, prompts = problem()
    random = np.random.default_rng(1).normal(size=prompts.embedding.shape)
    nonsense = replace(prompts, embedding=random.astype(np.float32))
    told: list[Progress] = []
    rows = ablate_prompts(
        features,
        {"words": nonsense, "meaning": prompts},
        "meaning",
        _CONFIG,
        told.append,
    )
    assert [(row.condition, row.scenario) for row in rows] == [
        ("words", "zero-shot"), ("words", "joint"),
        ("meaning", "zero-shot"), ("meaning", "joint"),
    ]  # fmt: skip
    assert [progress.done for progress in told] == [1, 2, 3, 4]
    for row, used in zip(rows, (nonsense, nonsense, prompts, prompts), strict=True):
        alone = run_experiment(
            features, used, replace(_CONFIG, scenario=row.scenario)
        ).final
        assert (row.auroc, row.low, row.high) == alone.macro
        assert [value for value, _, _ in row.findings.values()] == list(alone.auroc)
    assert rows[2].against is None
    assert rows[3].against is None
    ahead = rows[0].against
    assert ahead is not None
    assert ahead.first == pytest.approx(rows[2].auroc)
    assert ahead.second == pytest.approx(rows[0].auroc)
    assert ahead.low > 0  # meaning beats random directions, surely


def test_prompts_against_themselves_differ_by_nothing() -> None:
    features, prompts = problem()
    rows = ablate_prompts(features, {"a": prompts, "b": prompts}, "a", _CONFIG)
    for row in rows[2:]:
        assert row.against is not None
        assert row.against.low == row.against.high == 0
        assert row.against.p == 1


def test_findings_without_both_classes_are_left_out_everywhere() -> None:
    features, prompts = problem()
    states = features.states.copy()
    states[:, 1] = 0
    rows = ablate_prompts(
        replace(features, states=states), {"a": prompts, "b": prompts}, "a", _CONFIG
    )
    assert all(set(row.findings) == {"Edema", "Hernia"} for row in rows)
    assert all(row.auroc == row.auroc for row in rows)
