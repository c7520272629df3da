"""Draws of patients, and the points of a curve against methods run by themselves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.curves.curve import CurveConfig, measure_curve
from retune.pipeline.learn.curves.draws import draws, parse_shots
from retune.pipeline.learn.methods.registry import method_named
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.problem.contract import Problem
from retune.pipeline.learn.problem.scenarios import Task
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.stats.metrics import auroc
from retune.store.errors import ConfigurationError, TrainingError
from retune.store.label_states import UNCERTAIN


def test_draws_are_nested_and_of_whole_patients() -> None:
    patient = np.arange(60) // 3
    train = np.flatnonzero(patient % 5 < 4)
    made, beyond = draws(patient, train, (2, 5, 99, None), (0, 1))
    assert beyond == [99]
    assert [(one.n_patients, one.seed) for one in made] == [
        (2, 0), (5, 0), (2, 1), (5, 1), (16, 0)
    ]  # fmt: skip
    assert all(len(one.rows) == 3 * one.n_patients for one in made)
    assert set(made[0].rows) < set(made[1].rows) < set(train)
    assert set(made[0].rows) != set(made[2].rows)
    assert made[-1].is_all
    assert made[-1].rows.tolist() == train.tolist()


@pytest.mark.parametrize("names", [["0"], ["-3"], ["1.5"], ["some"], []])
def test_numbers_of_patients_are_checked(names: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="patients"):
        parse_shots(names)


@pytest.mark.parametrize("dim", [12, 200])
def test_the_fast_analytic_is_the_method(dim: int) -> None:
    features, prompts = problem(dim=dim, uncertain=0.2)
    measured = measure_curve(
        features,
        prompts,
        CurveConfig((4, 20, None), 2, 0, ("zero-shot", "analytic"), min_positives=1),
    )
    targets = make_targets(features.states)
    test = features.rows("test")
    made, _ = draws(features.patient, features.rows("train"), (4, 20, None), (0, 1))
    for draw in made:
        config = TrainConfig(seed=draw.seed)
        parts = (features, prompts, targets, config, torch.device("cpu"))
        method = method_named("analytic")(Problem(*parts))
        method.learn(Task("draw", draw.rows, targets.observed[draw.rows]))
        scores = predict(method.model, features.embedding, rows=test).score[test]
        wanted = auroc(scores, targets.value[test], targets.observed[test])
        got = [
            one.auroc
            for one in measured.scores
            if (one.method, one.n_patients, one.seed)
            == ("analytic", draw.n_patients, draw.seed)
        ]
        np.testing.assert_allclose(got, wanted, atol=1e-3)


def test_points_are_means_with_intervals() -> None:
    features, prompts = problem(600)
    methods = ("logistic-regression", "zero-shot", "finetune", "analytic")
    measured = measure_curve(features, prompts, CurveConfig((8, None), 2, 3, methods))
    assert measured.findings == FINDINGS
    assert [(one.method, one.n_patients, one.n_draws) for one in measured.points] == [
        ("logistic-regression", 8, 2), ("logistic-regression", 180, 1),
        ("zero-shot", 0, 1), ("finetune", 8, 2), ("finetune", 180, 1),
        ("analytic", 8, 2), ("analytic", 180, 1),
    ]  # fmt: skip
    for one in measured.points:
        values = [
            score.auroc
            for score in measured.scores
            if (score.method, score.n_patients) == (one.method, one.n_patients)
        ]
        assert one.auroc == pytest.approx(np.mean(values))
        assert one.low < one.auroc < one.high
        assert (one.spread is None) == (one.n_draws == 1)
    best = {one.method: one.auroc for one in measured.points if one.n_patients == 180}
    assert best["logistic-regression"] > 0.95
    assert best["analytic"] > 0.95
    again = measure_curve(features, prompts, CurveConfig((8, None), 2, 3, methods))
    assert again == measured


def test_what_no_label_is_known_of_changes_nothing() -> None:
    features, prompts = problem(uncertain=0.3)
    config = CurveConfig((10,), 1, 0, ("analytic", "logistic-regression"),
                         min_positives=1)  # fmt: skip
    measured = measure_curve(features, prompts, config)
    moved = features.embedding.copy()
    nothing = (features.states == UNCERTAIN).all(axis=1)
    moved[nothing] += 5
    assert (
        measure_curve(replace(features, embedding=moved), prompts, config) == measured
    )


def test_too_little_is_said(tmp_path: object) -> None:
    features, prompts = problem()
    with pytest.raises(ConfigurationError, match="no 1000 training patients"):
        measure_curve(features, prompts, CurveConfig((1000,)))
    with pytest.raises(TrainingError, match="no finding has 40 positive"):
        measure_curve(features, prompts, CurveConfig((8,), min_positives=40))
    with pytest.raises(ConfigurationError, match="nobody"):
        measure_curve(features, prompts, CurveConfig((8,), methods=("nobody",)))
