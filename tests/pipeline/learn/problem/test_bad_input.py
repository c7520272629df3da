"""Images and labels that nothing can be learned from, for every method."""

from dataclasses import replace

import numpy as np
import pytest
from learning_samples import problem

from retune.pipeline.learn.methods.registry import METHODS
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.store.errors import TrainingError
from retune.store.label_states import UNLABELLED

pytestmark = pytest.mark.parametrize("method", METHODS)


def _config(method: str, scenario: str = "label") -> ExperimentConfig:
    train = TrainConfig(epochs=2, batch_size=64, patience=2)
    return ExperimentConfig(scenario, method=method, train=train, with_bounds=False)


@pytest.mark.parametrize("scenario", ["label", "data"])
def test_one_patient_cannot_be_divided_into_tasks(method: str, scenario: str) -> None:
    features, prompts = problem()
    train = features.split == "train"
    one = replace(
        features,
        patient_id=np.where(train, "only", features.patient_id).astype(object),
    )
    with pytest.raises(TrainingError, match="1 training patient cannot be divided"):
        run_experiment(one, prompts, _config(method, scenario))


def test_one_patient_in_all_is_in_one_split_only(method: str) -> None:
    features, prompts = problem()
    one = replace(
        features,
        patient_id=np.full(240, "only", dtype=object),
        split=np.full(240, "train", dtype=object),
    )
    with pytest.raises(TrainingError, match="no image is in the test split"):
        run_experiment(one, prompts, _config(method))


def test_a_finding_without_any_label_is_named(method: str) -> None:
    features, prompts = problem()
    states = features.states.copy()
    states[:, 1] = UNLABELLED
    changed = replace(features, states=states)
    config = replace(_config(method), findings=("Mass",))
    with pytest.raises(TrainingError, match="'Mass' cannot be trained: it has 0 pos"):
        run_experiment(changed, prompts, config)
    result = run_experiment(changed, prompts, _config(method))
    assert "Mass" in result.dropped


def test_a_task_without_a_label_is_named(method: str) -> None:
    features, prompts = problem()
    config = replace(_config(method), order=("Mass", "Edema", "Hernia"))
    plan = run_experiment(features, prompts, config).scenario
    states = features.states.copy()
    states[plan.tasks[0].rows, 1] = UNLABELLED
    with pytest.raises(TrainingError, match="task 'Mass' has no observed label"):
        run_experiment(replace(features, states=states), prompts, config)


def test_fewer_rows_than_a_batch_are_a_batch(method: str) -> None:
    features, prompts = problem(n_images=40)
    config = _config(method, "joint")
    config = replace(config, train=replace(config.train, batch_size=6144))
    assert np.isfinite(
        run_experiment(features, prompts, config).prediction.difference
    ).all()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_constant_features_give_chance(method: str, value: float) -> None:
    features, prompts = problem()
    same = replace(features, embedding=np.full((240, 12), value, "f2"))
    result = run_experiment(same, prompts, _config(method))
    np.testing.assert_allclose(result.auroc, 0.5)
    assert np.isfinite(result.prediction.probability).all()
