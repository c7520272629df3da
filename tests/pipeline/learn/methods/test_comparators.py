"""`linear`, `ranpac` and `l3a` against calculations by other means."""

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize

from retune.pipeline.learn.methods.l3a import L3a, image_weights
from retune.pipeline.learn.methods.linear import Linear
from retune.pipeline.learn.methods.ranpac import PENALTIES, RanPac
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.problem.contract import Problem
from retune.pipeline.learn.problem.scenarios import plan_scenario
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.learn.runs.saved_model import predict
from retune.store.errors import ConfigurationError, TrainingError


def _problem(**options: float | str) -> Problem:
    features, prompts = problem(uncertain=0.2)
    config = TrainConfig(options=options)
    targets = make_targets(features.states)
    return Problem(features, prompts, targets, config, torch.device("cpu"))


def _tasks(setting: Problem, scenario: str) -> tuple:  # type: ignore[type-arg]  # of tasks
    features = setting.features
    return plan_scenario(
        scenario, setting.targets, features.patient, features.rows("train"), FINDINGS,
        n_tasks=3,
    ).tasks  # fmt: skip


def test_a_linear_head_is_a_logistic_regression_of_its_task() -> None:
    setting = _problem()
    method = Linear(setting)
    tasks = _tasks(setting, "label")
    for task in tasks:
        method.learn(task)
    phi = normalize(setting.features.embedding.astype(np.float64))
    scores = predict(method.model, setting.features.embedding).difference
    for k, task in enumerate(tasks):
        rows = task.rows[task.mask[:, k]]
        x = StandardScaler().fit(phi[task.rows]).transform(phi)
        label = setting.targets.value[rows, k]
        fits = []
        for strength in (1e-4, 1e-3, 1e-2, 1e-1, 1.0):
            peer = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
            wanted = peer.fit(x[rows], label).decision_function(x)
            fits.append(np.abs(scores[:, k] - wanted).max() / wanted.std())
        assert min(fits) < 0.02


@pytest.mark.parametrize("learner", [Linear, RanPac, L3a])
def test_findings_that_learn_nothing_are_calibrated_too(
    learner: type[Linear | RanPac | L3a],
) -> None:
    setting = _problem()
    method = learner(setting)
    for task in _tasks(setting, "class"):  # labels of one class
        method.learn(task)
    held = setting.features.rows("validation")
    chance = predict(method.model, setting.features.embedding[held]).probability
    seen, value = setting.targets.observed[held], setting.targets.value[held]
    share = np.where(seen, value, 0).sum(axis=0) / seen.sum(axis=0)
    assert np.abs(chance.mean(axis=0) - share).max() < 0.05


def test_ranpac_after_all_tasks_is_one_ridge_on_random_features() -> None:
    setting = _problem(projection=40)
    method = RanPac(setting)
    for task in _tasks(setting, "data"):
        method.learn(task)
    features, targets = setting.features, setting.targets
    x = torch.from_numpy(features.embedding).float()
    phi = method.model.features(x).double().numpy()[:, features.embedding.shape[1] :]
    scores = predict(method.model, features.embedding).difference
    train = features.rows("train")
    for k in range(len(FINDINGS)):
        rows = train[targets.observed[train, k]]
        about = phi[rows] - phi[rows].mean(axis=0)
        scale = (about**2).sum() / about.shape[1]
        fits = [
            np.abs(
                Ridge(alpha=penalty * scale)
                .fit(phi[rows], targets.value[rows, k])
                .predict(phi)
                - scores[:, k]
            ).max()
            for penalty in PENALTIES
        ]
        assert min(fits) < 1e-3


def _pseudo_labels(
    method: L3a, setting: Problem, rows: np.ndarray, k: int
) -> np.ndarray:
    if not method.model.weight[k].any():
        return np.zeros(len(rows), dtype=bool)
    chance = predict(method.model, setting.features.embedding[rows]).probability
    return np.asarray(chance[:, k] > 0.4)


def test_l3a_is_a_weighted_ridge_on_labels_and_pseudo_labels() -> None:
    setting = _problem(projection=40, pseudo=0.4)
    method = L3a(setting)
    dim = setting.features.embedding.shape[1]
    x = torch.from_numpy(setting.features.embedding).float()
    phi = method.model.features(x).double().numpy()[:, dim:]
    rows, labels, weights, frequency = [], [], [], np.zeros(len(FINDINGS) + 1)
    for number, task in enumerate(_tasks(setting, "label")):
        value = np.where(task.mask, setting.targets.value[task.rows], 0)
        for k in range(number):
            value[_pseudo_labels(method, setting, task.rows, k), k] = 1
        present = value > 0.5
        frequency += np.append(present.sum(axis=0), (~present.any(axis=1)).sum())
        method.learn(task)
        rows.append(task.rows)
        labels.append(value)
        often = 1 / np.sqrt(np.maximum(frequency, 1e-300)) * (frequency > 0)
        often /= often[frequency > 0].mean()
        weights += [
            np.mean(often[:-1][one]) if one.any() else often[-1] for one in present
        ]
    every, value = np.concatenate(rows), np.concatenate(labels)
    assert value.sum() > sum(  # there were pseudo-labels
        np.where(t.mask, setting.targets.value[t.rows], 0).sum()
        for t in _tasks(setting, "label")
    )
    scores = predict(method.model, setting.features.embedding).difference
    about = phi[every] - np.average(phi[every], axis=0, weights=weights)
    scale = (np.array(weights)[:, None] * about**2).sum() / about.shape[1]
    for k in range(len(FINDINGS)):
        fits = [
            np.abs(
                Ridge(alpha=penalty * scale)
                .fit(phi[every], value[:, k], np.array(weights))
                .predict(phi)
                - scores[:, k]
            ).max()
            for penalty in PENALTIES
        ]
        assert min(fits) < 1e-3


def test_images_without_any_finding_have_a_weight() -> None:
    present = np.zeros((3, 2), dtype=bool)
    weights = image_weights(present, np.array([0.0, 0.0, 3.0]))
    assert weights.tolist() == [1, 1, 1]


def test_l3a_goes_on_as_if_it_had_not_stopped() -> None:
    setting = _problem(projection=40)
    tasks = _tasks(setting, "label")
    whole, first, second = L3a(setting), L3a(setting), L3a(setting)
    for task in tasks:
        whole.learn(task)
    first.learn(tasks[0])
    second.restore(first.state())
    for task in tasks[1:]:
        second.learn(task)
    assert torch.equal(whole.model.weight, second.model.weight)
    state = first.state()
    del state["frequency"]
    with pytest.raises(TrainingError, match="frequency"):
        L3a(setting).restore(state)


@pytest.mark.parametrize("method_type", [Linear, RanPac])
def test_heads_are_calibrated_as_other_methods_are(method_type: type) -> None:
    """Probabilities of few labels are about the share of positives, not one half."""
    setting = _problem()
    method = method_type(setting)
    for task in _tasks(setting, "data"):
        method.learn(task)
    held = setting.features.rows("validation")
    p = predict(method.model, setting.features.embedding[held]).probability
    share = setting.targets.value[setting.features.rows("train")].mean(axis=0)
    np.testing.assert_allclose(p.mean(axis=0), share, atol=0.15)


@pytest.mark.parametrize("method_type", [Linear, RanPac, L3a])
def test_one_class_alone_leaves_zero_shot(method_type: type) -> None:
    setting = _problem()
    method = method_type(setting)
    before = method.model.weight.clone()
    for task in _tasks(setting, "class"):
        method.learn(task)
    assert torch.equal(method.model.weight, before)


def test_what_cannot_be_is_said() -> None:
    with pytest.raises(ConfigurationError, match="projection"):
        RanPac(_problem(projection=-1))
    with pytest.raises(ConfigurationError, match="pseudo"):
        L3a(_problem(pseudo=0.0))
    state = RanPac(_problem(projection=8)).state()
    with pytest.raises(TrainingError, match="weight"):
        RanPac(_problem(projection=9)).restore(state)
