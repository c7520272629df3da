"""The exact method against slow obvious oracles, and its promise: order is nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.methods.analytic.method import Analytic, merge_states
from retune.pipeline.learn.methods.analytic.ridge import (
    PRIORS,
    STRENGTHS,
    centre,
    solve,
)
from retune.pipeline.learn.methods.analytic.sums import Sums, add_sums, sum_rows
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.problem.contract import Problem
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.scenarios import Task, merge_tasks, plan_scenario
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.stats.calibration import platt
from retune.pipeline.learn.stats.metrics import auroc
from retune.pipeline.learn.training.trainer import build_model, untrained
from retune.store.errors import ConfigurationError, TrainingError


def _analytic(
    features: Features, prompts: Prompts, targets: Targets | None = None, **options: Any
) -> Analytic:
    return Analytic(
        Problem(
            features,
            prompts,
            targets or make_targets(features.states),
            TrainConfig(options=options),
            torch.device("cpu"),
        )
    )


def _slow_sums(
    phi: np.ndarray, values: np.ndarray, mask: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """One finding and one image at a time."""
    grams = np.zeros((mask.shape[1], phi.shape[1] + 1, phi.shape[1] + 1))
    moments = np.zeros((mask.shape[1], phi.shape[1] + 1))
    for row, one in enumerate(np.column_stack([phi, np.ones(len(phi))])):
        for k in np.flatnonzero(mask[row]):
            grams[k] += np.outer(one, one)
            moments[k] += values[row, k] * one
    return grams, moments


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_rows=st.integers(1, 60),
    n_features=st.integers(1, 5),
    n_findings=st.integers(1, 11),
    density=st.sampled_from([0.0, 0.3, 0.9, 1.0]),
)
def test_sums_are_those_of_one_image_at_a_time(
    seed: int, n_rows: int, n_features: int, n_findings: int, density: float
) -> None:
    random = np.random.default_rng(seed)
    phi = random.normal(size=(n_rows, n_features))
    values = random.integers(0, 2, size=(n_rows, n_findings)).astype(np.float32)
    mask = random.random(values.shape) < density
    values[~mask] = np.nan
    found = sum_rows(
        lambda rows: phi[rows], n_features, np.arange(n_rows), values, mask
    )
    grams, moments = _slow_sums(phi, values, mask)
    np.testing.assert_allclose(found.grams[found.group], grams, atol=1e-10)
    np.testing.assert_allclose(found.moments, moments, atol=1e-10)
    assert [found.count(k) for k in range(n_findings)] == mask.sum(axis=0).tolist()
    again = Sums.from_tensors("x", found.to_tensors("x"))
    np.testing.assert_array_equal(again.grams, found.grams)
    cut = n_rows // 2
    parts = [
        sum_rows(lambda rows: phi[rows], n_features, rows, values[rows], mask[rows])
        for rows in (np.arange(cut), np.arange(cut, n_rows))
    ]
    both = add_sums(*parts)
    np.testing.assert_allclose(both.grams[both.group], grams, atol=1e-10)


@pytest.mark.parametrize("strength", [STRENGTHS[0], 0.1, STRENGTHS[-1]])
@pytest.mark.parametrize("share", PRIORS)
def test_weights_solve_the_penalised_least_squares(
    strength: float, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    from retune.pipeline.learn.methods.analytic import ridge

    monkeypatch.setattr(ridge, "STRENGTHS", (strength,))
    monkeypatch.setattr(ridge, "PRIORS", (share,))
    random = np.random.default_rng(0)
    phi = random.normal(size=(80, 6)) + 3
    value = (random.random((80, 1)) < 0.4).astype(np.float32)
    prior = random.normal(size=(1, 6))
    every = np.ones((80, 1), dtype=bool)
    train = sum_rows(lambda rows: phi[rows], 6, np.arange(80), value, every)
    found = solve(train, Sums.none(1, 6), prior, [centre(gram) for gram in train.grams])
    about = phi - phi.mean(axis=0)
    penalty = strength * (about**2).sum() / 6
    expected = np.linalg.solve(
        about.T @ about + penalty * np.eye(6),
        about.T @ (value[:, 0] - value.mean()) + penalty * share * prior[0],
    )
    np.testing.assert_allclose(found.weights[0], expected, atol=1e-9)
    intercept = value.mean() - expected @ phi.mean(axis=0)
    np.testing.assert_allclose(found.intercepts[0], intercept, atol=1e-9)


def test_the_chosen_strength_has_the_best_validation_correlation() -> None:
    random = np.random.default_rng(1)
    phi = random.normal(size=(120, 30)) + 2
    direction = random.normal(size=(30, 3))
    noise = 3 * random.normal(size=(120, 3))
    value = ((phi - 2) @ direction + noise > 0).astype(np.float32)
    every = np.ones((60, 3), dtype=bool)
    rows = np.arange(60)
    train = sum_rows(lambda r: phi[r], 30, rows, value[:60], every)
    held = sum_rows(lambda r: phi[60 + r], 30, rows, value[60:], every)
    centred = [centre(gram) for gram in train.grams]
    found = solve(train, held, np.zeros((3, 30)), centred)

    about = phi[:60] - phi[:60].mean(axis=0)
    quality = []
    for strength in STRENGTHS:
        penalty = strength * (about**2).sum() / 30 * np.eye(30)
        weights = np.linalg.solve(
            about.T @ about + penalty, about.T @ (value[:60] - value[:60].mean(axis=0))
        )
        scores = phi[60:] @ weights
        quality.append(
            [np.corrcoef(scores[:, k], value[60:, k])[0, 1] for k in range(3)]
        )
    far = np.abs(np.log10(STRENGTHS)) / np.sqrt(60)
    best = np.argmax(np.array(quality) - far[:, None], axis=0)
    assert found.strength.tolist() == [STRENGTHS[place] for place in best]


_SCENARIOS = [
    ("class", {}), ("class", {"visible": "cumulative"}), ("label", {}),
    ("label", {"visible": "cumulative"}), ("data", {}),
]  # fmt: skip


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 1000),
    which=st.sampled_from(range(len(_SCENARIOS))),
    uncertain=st.sampled_from([0.0, 0.3]),
    projection=st.sampled_from([0, 20]),
    order=st.permutations(range(len(FINDINGS))),
)
def test_after_the_last_task_it_is_its_joint_observed_twin(
    seed: int, which: int, uncertain: float, projection: int, order: list[int]
) -> None:
    features, prompts = problem(seed=seed, uncertain=uncertain)
    targets = make_targets(features.states)
    scenario, options = _SCENARIOS[which]
    tasks = plan_scenario(
        scenario, targets, features.patient_id, features.rows("train"), FINDINGS,
        order=order, n_tasks=4, seed=seed, **options,
    ).tasks  # fmt: skip
    sequence, twin = (_analytic(features, prompts, projection=projection) for _ in "ab")
    for task in tasks:
        sequence.learn(task)
    twin.learn(merge_tasks(tasks, len(features.image_id)))
    rows = features.rows("test")
    one, other = (predict(m.model, features.embedding[rows]) for m in (sequence, twin))
    np.testing.assert_allclose(one.difference, other.difference, atol=1e-5)
    figures = [
        auroc(p.difference, targets.value[rows], targets.observed[rows])
        for p in (one, other)
    ]
    np.testing.assert_allclose(figures[0], figures[1], atol=1e-4)


@pytest.mark.parametrize("scenario", ["class", "label", "data"])
def test_a_run_forgets_nothing_and_has_no_sequence_gap(scenario: str) -> None:
    features, prompts = problem()
    config = ExperimentConfig(scenario, method="analytic")
    found = run_experiment(features, prompts, config)
    np.testing.assert_allclose(
        found.auroc[-1], found.bounds["joint-observed"], atol=1e-4
    )
    assert abs(found.summary["sequence_gap"]) <= 1e-4
    if scenario == "data":
        np.testing.assert_allclose(found.auroc[-1], found.bounds["joint"], atol=1e-4)


def test_labels_of_other_findings_never_move_a_finding() -> None:
    found = run_experiment(
        *problem(), ExperimentConfig("label", method="analytic", with_bounds=False)
    )
    for k, task in enumerate(found.scenario.introduced):
        assert len(set(found.auroc[task:, k].tolist())) == 1
        assert len(set(found.auroc[:task, k].tolist())) == 1
    assert found.summary["forgetting"] == 0


def test_a_finding_without_data_scores_as_zero_shot() -> None:
    features, prompts = problem()
    targets = make_targets(features.states)
    method = _analytic(features, prompts)
    zero = build_model(untrained(TrainConfig()), prompts, len(FINDINGS), 12)
    expected = predict(zero, features.embedding)
    start = predict(method.model, features.embedding)
    np.testing.assert_allclose(start.auroc, expected.auroc, atol=1e-6)
    np.testing.assert_allclose(start.probability, expected.probability, atol=1e-5)
    tasks = plan_scenario(
        "label", targets, features.patient_id, features.rows("train"), FINDINGS
    ).tasks
    method.learn(tasks[0])
    found = predict(method.model, features.embedding)
    np.testing.assert_allclose(found.auroc[:, 1:], expected.auroc[:, 1:], atol=1e-6)
    assert not np.allclose(found.auroc[:, 0], expected.auroc[:, 0], atol=0.1)


def _hospitals() -> tuple[Features, Features, Features, Prompts]:
    """Two hospitals and both as one; no patient in two."""
    one, prompts = problem(seed=1, uncertain=0.2)
    other, _ = problem(seed=2, uncertain=0.2)
    other = replace(
        other, image_id="b" + other.image_id, patient_id="b" + other.patient_id
    )
    both = Features(
        *(
            np.concatenate([getattr(one, name), getattr(other, name)])
            for name in ("image_id", "patient_id", "split", "embedding")
        ),
        FINDINGS,
        np.concatenate([one.states, other.states]),
    )
    return one, other, both, prompts


def _joint(features: Features) -> Task:
    targets = make_targets(features.states)
    return plan_scenario(
        "joint", targets, features.patient_id, features.rows("train"), FINDINGS
    ).tasks[0]


def _assert_same_weights(one: Analytic, other: Analytic) -> None:
    for name in ("weight", "intercept"):
        np.testing.assert_allclose(
            getattr(one.model, name), getattr(other.model, name), atol=1e-6
        )


def test_continued_at_another_hospital_it_is_joint_training_on_both() -> None:
    one, other, both, prompts = _hospitals()
    first = _analytic(one, prompts)
    first.learn(_joint(one))
    second = _analytic(other, prompts)
    second.restore(first.state())
    _assert_same_weights(first, second)
    second.learn(_joint(other))
    together = _analytic(both, prompts)
    together.learn(_joint(both))
    _assert_same_weights(second, together)


def test_merged_states_are_joint_training_on_both() -> None:
    one, other, both, prompts = _hospitals()
    parts = []
    for features in (one, other):
        part = _analytic(features, prompts)
        part.learn(_joint(features))
        parts.append(part.state())
    together = _analytic(both, prompts)
    together.learn(_joint(both))
    for order in (parts, parts[::-1]):
        merged = _analytic(one, prompts)
        merged.restore(merge_states(order))
        _assert_same_weights(merged, together)


def test_states_of_other_descriptions_are_not_merged() -> None:
    one, other, _, prompts = _hospitals()
    changed = Prompts(-prompts.embedding, prompts.finding, prompts.positive)
    states = [
        _analytic(one, prompts).state(), _analytic(other, changed).state()
    ]  # fmt: skip
    with pytest.raises(TrainingError, match="other findings, descriptions"):
        merge_states(states)
    with pytest.raises(TrainingError, match="other findings, descriptions"):
        _analytic(one, prompts).restore(states[1])


@pytest.mark.parametrize("part", ["grams", "group", "moments"])
@pytest.mark.parametrize("damage", ["gone", "nan", "shape", "kind"])
def test_a_damaged_state_is_a_named_error(part: str, damage: str) -> None:
    features, prompts = problem()
    method = _analytic(features, prompts)
    method.learn(_joint(features))
    state = method.state()
    name = f"train.{part}"
    if damage == "gone":
        del state[name]
    elif damage == "nan" and part == "group":
        state[name] = state[name] + 99
    elif damage == "nan":
        state[name] = state[name] * torch.nan
    elif damage == "shape":
        state[name] = state[name][:-1]
    else:
        state[name] = state[name].to(torch.float16)
    if (part, damage) == ("grams", "shape"):
        state["train.group"] = state["train.group"] + len(state[name])
    with pytest.raises(TrainingError, match="state") as caught:
        _analytic(features, prompts).restore(state)
    assert caught.value.hint


@pytest.mark.parametrize("odd", ["constant", "zero"])
def test_constant_features_leave_zero_shot(odd: str) -> None:
    features, prompts = problem()
    value = 1 if odd == "constant" else 0
    same = replace(features, embedding=np.full((240, 12), value, "f2"))
    found = run_experiment(
        same, prompts, ExperimentConfig("label", method="analytic", with_bounds=False)
    )
    np.testing.assert_allclose(found.auroc, 0.5)


def test_without_validation_images_it_still_learns() -> None:
    features, prompts = problem()
    moved = np.where(features.split == "validation", "train", features.split)
    found = run_experiment(
        replace(features, split=moved.astype(object)),
        prompts,
        ExperimentConfig("joint", method="analytic", with_bounds=False),
    )
    assert found.summary["final_auroc"] > 0.85


def test_what_it_cannot_do_is_said() -> None:
    features, prompts = problem()
    with pytest.raises(ConfigurationError, match="--pooling mean"):
        run_experiment(
            features,
            prompts,
            ExperimentConfig(
                "joint", method="analytic", train=TrainConfig(pooling="max")
            ),
        )
    with pytest.raises(ConfigurationError, match="projection=-1"):
        _analytic(features, prompts, projection=-1)


def test_platt_is_the_logistic_regression_of_the_smoothed_labels() -> None:
    from scipy.optimize import minimize

    random = np.random.default_rng(0)
    scores = random.normal(0.3, 0.1, size=200)
    positive = random.random(200) < 1 / (1 + np.exp(-(scores - 0.3) * 20))
    n_positive = positive.sum()
    target = np.where(
        positive, (n_positive + 1) / (n_positive + 2), 1 / (200 - n_positive + 2)
    )

    def loss(line: np.ndarray) -> float:
        logit = scores * line[0] + line[1]
        return float((np.logaddexp(0, logit) - target * logit).sum())

    expected = minimize(loss, [1.0, 0.0]).x
    np.testing.assert_allclose(platt(scores, positive), expected, rtol=1e-3)


@pytest.mark.parametrize(
    ("scores", "positive"),
    [([], []), ([1.0, 2.0], [1, 1]), ([1.0, 1.0], [0, 1]), ([2.0, 1.0], [0, 1])],
)
def test_without_a_usable_line_the_score_is_the_probability(
    scores: list[float], positive: list[int]
) -> None:
    assert platt(np.array(scores), np.array(positive) > 0) == (4.0, -2.0)
