"""`linear` and `ranpac` against calculations by other means."""

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize

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


@pytest.mark.parametrize("method_type", [Linear, RanPac])
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
    state = RanPac(_problem(projection=8)).state()
    with pytest.raises(TrainingError, match="weight"):
        RanPac(_problem(projection=9)).restore(state)
