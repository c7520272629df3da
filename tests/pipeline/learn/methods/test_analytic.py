"""The exact method against slow obvious oracles, and its promise: order is nothing."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.methods.analytic import ridge
from retune.pipeline.learn.methods.analytic.familiarity import seen_images
from retune.pipeline.learn.methods.analytic.method import Analytic, merge_states
from retune.pipeline.learn.methods.analytic.ridge import (
    CORRELATIONS,
    RATIOS,
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
    sums = sum_rows(lambda rows: phi[rows], n_features, np.arange(n_rows), values, mask)
    grams, moments = _slow_sums(phi, values, mask)
    np.testing.assert_allclose(sums.grams[sums.group], grams, atol=1e-10)
    np.testing.assert_allclose(sums.moments, moments, atol=1e-10)
    assert [sums.count(k) for k in range(n_findings)] == mask.sum(axis=0).tolist()
    again = Sums.from_tensors("x", sums.to_tensors("x"))
    np.testing.assert_array_equal(again.grams, sums.grams)
    cut = n_rows // 2
    parts = [
        sum_rows(lambda rows: phi[rows], n_features, rows, values[rows], mask[rows])
        for rows in (np.arange(cut), np.arange(cut, n_rows))
    ]
    both = add_sums(*parts)
    np.testing.assert_allclose(both.grams[both.group], grams, atol=1e-10)


def _labelled(n_rows: int = 80, seed: int = 0) -> tuple[np.ndarray, np.ndarray, Sums]:
    """Features far from 0, labels that depend on them, and their sums."""
    random = np.random.default_rng(seed)
    phi = random.normal(size=(n_rows, 6)) + 3
    noisy = phi[:, :1] - 3 + random.normal(size=(n_rows, 1))
    value = (noisy > 0.4).astype(np.float32)
    every = np.ones((n_rows, 1), dtype=bool)
    train = sum_rows(lambda rows: phi[rows], 6, np.arange(n_rows), value, every)
    return phi, value[:, 0].astype(np.float64), train


def _squared_spread(about: np.ndarray) -> np.ndarray:
    """S² of features about their mean, drawn towards the mean variance by 20 images."""
    variance = (about**2).sum(axis=0) / len(about)
    middle = variance.mean()
    return (len(about) * variance + 20 * middle) / ((len(about) + 20) * middle)


@pytest.mark.parametrize("ratio", [RATIOS[1], 0.1, RATIOS[-1]])
@pytest.mark.parametrize("correlation", [0.0, 0.3])
def test_weights_solve_the_penalised_least_squares(
    ratio: float, correlation: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one candidate, that is; a second one that cannot be is there for form."""
    monkeypatch.setattr(ridge, "RATIOS", np.array([0.0, ratio]))
    monkeypatch.setattr(ridge, "CORRELATIONS", np.array([correlation]))
    monkeypatch.setattr(ridge, "_ZERO_SHOT", 1e-300)
    phi, value, train = _labelled()
    prior = np.random.default_rng(1).normal(size=(1, 6))
    solved = solve(train, prior, [centre(gram) for gram in train.grams])
    about = phi - phi.mean(axis=0)
    labels = value - value.mean()
    share = correlation * np.sqrt((labels**2).sum() / ((about @ prior[0]) ** 2).sum())
    spread = _squared_spread(about)
    penalty = (about**2 / spread).sum() / len(phi) / ratio * np.diag(spread)
    expected = np.linalg.solve(
        about.T @ about + penalty, about.T @ labels + penalty @ (share * prior[0])
    )
    np.testing.assert_allclose(solved.weights[0], expected, atol=1e-9)
    intercept = value.mean() - expected @ phi.mean(axis=0)
    np.testing.assert_allclose(solved.intercepts[0], intercept, atol=1e-9)


def test_candidates_weigh_by_the_marginal_likelihood_of_all_labels() -> None:
    """Against the n × n covariance of the labels, from which the sums came."""
    phi, value, train = _labelled(40)
    prior = np.random.default_rng(1).normal(size=(1, 6))
    solved = solve(train, prior, [centre(gram) for gram in train.grams])
    about, labels = phi - phi.mean(axis=0), value - value.mean()
    total, along = (labels**2).sum(), ((about @ prior[0]) ** 2).sum()
    spread = _squared_spread(about)
    logs, weights, variances = [], [], []
    share = (value.sum() + 1) / 42
    middle = -0.375 + np.log10(4 * share * (1 - share))
    steps = np.exp(-0.5 * ((np.log10(RATIOS[1:]) - middle) / 0.25) ** 2)
    chances = np.r_[0.1, 0.9 * steps / steps.sum()]
    trust = np.exp(-0.5 * (CORRELATIONS[1:] / 0.2) ** 2)
    trust = np.r_[0.3, 0.7 * trust / trust.sum()]
    for ratio, chance in zip(RATIOS, chances, strict=True):
        tau = ratio * 40 / (about**2 / spread).sum() * np.diag(1 / spread)
        inverse = np.linalg.inv(np.eye(40) + about @ tau @ about.T)
        for correlation, trusted in zip(CORRELATIONS, trust, strict=True):
            if ratio == correlation == 0:
                continue
            start = correlation * np.sqrt(total / along) * prior[0]
            left = labels - about @ start
            square = left @ inverse @ left
            logs.append(
                np.log(chance * trusted)
                # Half of the log evidence counts.
                - 39 / 4 * np.log(square)
                + 0.25 * np.linalg.slogdet(inverse)[1]
            )
            weights.append(start + tau @ about.T @ inverse @ left)
            shrunk = np.linalg.inv(np.eye(6) + tau @ about.T @ about)
            variances.append(square / 37 * shrunk @ tau)
    chance = np.exp(np.array(logs) - max(logs))
    chance /= chance.sum()
    mean = chance @ np.array(weights)
    np.testing.assert_allclose(solved.weights[0], mean, atol=1e-9)
    off = np.array(weights) - mean
    covariance = np.tensordot(chance, variances, 1) + (off * chance[:, None]).T @ off
    scaled = about / np.sqrt(spread)
    vectors = np.linalg.eigh(scaled.T @ scaled).eigenvectors * np.sqrt(spread)[:, None]
    ours = np.diag(solved.variance[0]) + solved.directions[0].T @ solved.directions[0]
    base = centre(train.grams[0])
    assert base is not None
    np.testing.assert_allclose(np.abs(vectors.T @ base.vectors), np.eye(6), atol=1e-8)
    np.testing.assert_allclose(
        base.vectors @ ours @ base.vectors.T, covariance, atol=1e-9
    )


def test_without_an_association_zero_shot_is_what_remains() -> None:
    random = np.random.default_rng(3)
    phi = random.normal(size=(400, 6))
    value = (random.random((400, 1)) < 0.5).astype(np.float32)
    every = np.ones((400, 1), dtype=bool)
    train = sum_rows(lambda rows: phi[rows], 6, np.arange(400), value, every)
    prior = np.eye(6)[:1]
    solved = solve(train, prior, [centre(gram) for gram in train.grams])
    assert solved.zero_shot[0] > 0.1  # more than before the labels were seen
    assert solved.weights[0, 0] > 0


def test_a_weight_is_so_many_copies_of_an_image() -> None:
    random = np.random.default_rng(0)
    phi = random.normal(size=(30, 4))
    value = random.choice([0.0, 0.5, 1.0], size=(30, 2)).astype(np.float32)
    mask = random.random((30, 2)) < 0.8
    often = random.integers(0, 4, 30)
    rows, copies = np.arange(30), np.repeat(np.arange(30), often)
    one = sum_rows(lambda r: phi[r], 4, rows, value, mask, often.astype(np.float64))
    other = sum_rows(lambda r: phi[r], 4, copies, value[copies], mask[copies])
    np.testing.assert_allclose(one.grams[one.group], other.grams[other.group])
    np.testing.assert_allclose(one.moments, other.moments)
    np.testing.assert_allclose(one.squares, other.squares)
    squares = np.where(mask, value, 0) ** 2
    np.testing.assert_allclose(one.squares, (squares * often[:, None]).sum(axis=0))


def test_a_state_of_before_the_squares_were_kept_is_the_same_state() -> None:
    features, prompts = problem()
    method = _analytic(features, prompts)
    method.learn(_joint(features))
    state = method.state()
    old = {name: one for name, one in state.items() if "squares" not in name}
    assert len(old) == len(state) - 2
    other = _analytic(features, prompts)
    other.restore(old)
    for name, tensor in method.model.state_dict().items():
        assert torch.equal(tensor, other.model.state_dict()[name]), name


def test_validation_images_move_no_weight() -> None:
    features, prompts = problem()
    states = features.states.copy()
    held = features.rows("validation")
    states[held] = 1 - states[held]
    one = _analytic(features, prompts)
    other = _analytic(replace(features, states=states), prompts)
    for method in (one, other):
        method.learn(_joint(features))
    assert torch.equal(one.model.weight, other.model.weight)
    assert not torch.equal(one.model.slope, other.model.slope)


def test_the_error_bar_shrinks_with_images_and_grows_with_distance() -> None:
    features, prompts = problem()
    rows = features.rows("train")
    task = _joint(features)
    few = Task("few", task.rows[:20], task.mask[:20])
    one, other = (_analytic(features, prompts) for _ in "ab")
    one.learn(few)
    other.learn(task)
    x = torch.from_numpy(features.embedding[rows]).float()
    with torch.inference_mode():
        wide, narrow = one.model.uncertainty(x), other.model.uncertainty(x)
        away = other.model.uncertainty(-x)
    assert wide.shape == (len(rows), 3)
    assert bool((narrow.mean(dim=0) < wide.mean(dim=0)).all())
    assert bool((narrow.mean(dim=0) < away.mean(dim=0)).all())


def test_distance_is_of_the_direction_and_the_limit_holds_back_validation() -> None:
    features, prompts = problem()
    method = _analytic(features, prompts, alarm_rate=0.1)
    x = torch.from_numpy(features.embedding).float()
    assert bool(method.model.distance(x).isnan().all())
    assert bool(method.model.uncertainty(x).isnan().all())
    method.learn(_joint(features))
    rows, held = features.rows("train"), features.rows("validation")
    phi = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    mean = phi[rows].mean(axis=0)
    seen = np.cov(phi[rows].T, bias=True)
    covariance = seen + 0.1 * np.trace(seen) / 12 * np.eye(12)
    # Any whitening gives these products: they are of the inverse covariance.
    inverse = np.linalg.inv(covariance)
    along = mean @ inverse @ mean
    typical = np.sqrt(along / (along + np.trace(inverse @ seen)))
    length = np.sqrt(np.einsum("ij,jk,ik->i", phi, inverse, phi))
    expected = (1 - phi @ inverse @ mean / np.sqrt(along) / length) / (1 - typical)
    with torch.inference_mode():
        distances = method.model.distance(x)
    np.testing.assert_allclose(distances, expected, rtol=1e-3, atol=1e-5)
    limit = float(method.model.distance_limit)
    beyond = method.model.unlike_seen(distances)[held]
    assert int(beyond.sum()) == int(0.1 * (len(held) + 1)) - 1
    assert bool((beyond == (distances[held] > limit)).all())
    assert float(method.model.alarm_rate) == pytest.approx(0.1)


def test_what_is_worked_out_when_needed_is_the_same_whenever_that_is() -> None:
    features, prompts = problem()
    targets = make_targets(features.states)
    rows = features.rows("train")
    plan = plan_scenario("label", targets, features.patient, rows, FINDINGS)
    asked, silent = _analytic(features, prompts), _analytic(features, prompts)
    for task in plan.tasks:
        asked.learn(task)
        asked.state(), asked.model.state_dict()
        silent.learn(task)
    x = torch.from_numpy(features.embedding).float()
    with torch.inference_mode():
        assert torch.equal(silent.model.distance(x), asked.model.distance(x))
    kept = asked.model.state_dict()
    for name, tensor in silent.model.state_dict().items():
        assert torch.equal(tensor, kept[name]), name
    known = Sums.from_tensors("validation", asked.state())
    later = Sums.from_tensors("validation", silent.state())
    np.testing.assert_allclose(
        later.grams[later.group], known.grams[known.group], rtol=1e-12, atol=1e-12
    )
    np.testing.assert_allclose(later.moments, known.moments, rtol=1e-12, atol=1e-12)


def test_models_of_before_measure_distance_as_they_did() -> None:
    features, prompts = problem()
    method = _analytic(features, prompts)
    method.learn(_joint(features))
    before = {k: v for k, v in method.model.state_dict().items() if k != "typical"}
    model = Analytic.build_model(TrainConfig(), prompts, 3, 12)
    model.load_state_dict(before)
    x = torch.from_numpy(features.embedding).float()
    phi = (x / x.norm(dim=1, keepdim=True)).double().numpy()
    seen = phi[features.rows("train")]
    covariance = np.cov(seen.T, bias=True)
    covariance += 0.1 * np.trace(covariance) / 12 * np.eye(12)
    about = phi - seen.mean(axis=0)
    expected = np.einsum("ij,jk,ik->i", about, np.linalg.inv(covariance), about) / 12
    with torch.inference_mode():
        distances = model.distance(x)
    np.testing.assert_allclose(distances, np.sqrt(expected), rtol=1e-4)


def test_where_embeddings_lie_about_zero_their_mean_gives_no_direction() -> None:
    random = np.random.default_rng(0)
    phi = random.normal(size=(500, 6))
    every = np.ones((500, 1), dtype=bool)
    sums = sum_rows(lambda rows: phi[rows], 6, np.arange(500), np.ones((500, 1)), every)
    seen = seen_images(sums)
    assert seen is not None
    assert seen.typical == 0
    assert seen_images(Sums.none(1, 6)) is None


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
    _assert_same_weights(sequence, twin)
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
    result = run_experiment(features, prompts, config)
    np.testing.assert_allclose(
        result.auroc[-1], result.bounds["joint-observed"], atol=1e-4
    )
    assert abs(result.summary["sequence_gap"]) <= 1e-4
    if scenario == "data":
        np.testing.assert_allclose(result.auroc[-1], result.bounds["joint"], atol=1e-4)


def test_labels_of_other_findings_never_move_a_finding() -> None:
    result = run_experiment(
        *problem(), ExperimentConfig("label", method="analytic", with_bounds=False)
    )
    for k, task in enumerate(result.scenario.introduced):
        assert len(set(result.auroc[task:, k].tolist())) == 1
        assert len(set(result.auroc[:task, k].tolist())) == 1
    assert result.summary["forgetting"] == 0


def test_a_finding_without_data_scores_as_zero_shot() -> None:
    features, prompts = problem()
    targets = make_targets(features.states)
    method = _analytic(features, prompts)
    zero = build_model(untrained(TrainConfig()), prompts, len(FINDINGS), 12)
    expected = predict(zero, features.embedding)
    start = predict(method.model, features.embedding)
    np.testing.assert_allclose(start.difference, expected.difference, atol=1e-6)
    np.testing.assert_allclose(start.probability, expected.probability, atol=1e-5)
    tasks = plan_scenario(
        "label", targets, features.patient_id, features.rows("train"), FINDINGS
    ).tasks
    method.learn(tasks[0])
    prediction = predict(method.model, features.embedding)
    np.testing.assert_allclose(
        prediction.difference[:, 1:], expected.difference[:, 1:], atol=1e-6
    )
    assert not np.allclose(
        prediction.difference[:, 0], expected.difference[:, 0], atol=0.1
    )


def test_states_of_three_hospitals_are_joint_training_on_all() -> None:
    one, other, both, prompts = _hospitals()
    third = replace(
        problem(seed=3)[0],
        image_id="c" + one.image_id,
        patient_id="c" + one.patient_id,
    )
    every = _joined(both, third)
    parts = []
    for features in (one, other, third):
        part = _analytic(features, prompts)
        part.learn(_joint(features))
        parts.append(part.state())
    together, merged = _analytic(every, prompts), _analytic(third, prompts)
    together.learn(_joint(every))
    merged.restore(merge_states(parts))
    _assert_same_weights(merged, together)


def _joined(one: Features, other: Features) -> Features:
    return Features(
        *(
            np.concatenate([getattr(one, name), getattr(other, name)])
            for name in ("image_id", "patient_id", "split", "embedding")
        ),
        FINDINGS,
        np.concatenate([one.states, other.states]),
    )


def _hospitals() -> tuple[Features, Features, Features, Prompts]:
    """Two hospitals and both as one; no patient in two."""
    one, prompts = problem(seed=1, uncertain=0.2)
    other, _ = problem(seed=2, uncertain=0.2)
    other = replace(
        other, image_id="b" + other.image_id, patient_id="b" + other.patient_id
    )
    both = _joined(one, other)
    return one, other, both, prompts


def _joint(features: Features) -> Task:
    targets = make_targets(features.states)
    return plan_scenario(
        "joint", targets, features.patient_id, features.rows("train"), FINDINGS
    ).tasks[0]


def _assert_same_weights(one: Analytic, other: Analytic) -> None:
    for name in ("weight", "intercept"):
        np.testing.assert_allclose(
            getattr(one.model, name), getattr(other.model, name), rtol=0, atol=1e-10
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


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        (part, damage)
        for part in ("grams", "group", "moments", "squares")
        for damage in ("gone", "nan", "shape", "kind")
        if (part, damage) != ("squares", "gone")  # states of before have none
    ],
)
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
    result = run_experiment(
        same, prompts, ExperimentConfig("label", method="analytic", with_bounds=False)
    )
    np.testing.assert_allclose(result.auroc, 0.5)


def test_without_validation_images_it_still_learns() -> None:
    features, prompts = problem()
    moved = np.where(features.split == "validation", "train", features.split)
    result = run_experiment(
        replace(features, split=moved.astype(object)),
        prompts,
        ExperimentConfig("joint", method="analytic", with_bounds=False),
    )
    assert result.summary["final_auroc"] > 0.85


def test_what_it_cannot_do_is_said() -> None:
    features, prompts = problem()
    with pytest.raises(ConfigurationError, match="`pooling` mean"):
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
