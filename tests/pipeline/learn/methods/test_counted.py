"""Images never count twice in a state of sums."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from learning_samples import problem

from retune.pipeline.learn.methods.analytic.counted import (
    check_new_images,
    images_digest,
)
from retune.pipeline.learn.problem.features import Features
from retune.pipeline.learn.runs.experiment import (
    Experiment,
    ExperimentConfig,
    run_experiment,
)
from retune.pipeline.learn.runs.state import RunState, merge_runs
from retune.store.errors import TrainingError

_CONFIG = ExperimentConfig("label", method="analytic", with_bounds=False)


def _state(experiment: Experiment) -> RunState:
    carried = {k: v for k, v in experiment.state.items() if not k.startswith("local.")}
    return RunState(
        "analytic",
        experiment.config.train,
        experiment.findings,
        "01",
        experiment.prompts,
        carried,
    )


def _without_validation(features: Features) -> Features:
    split = np.where(features.split == "validation", "train", features.split)
    return replace(features, split=split.astype(object))


def test_the_number_is_the_one_that_a_state_holds() -> None:
    features, prompts = problem()
    counted = run_experiment(features, prompts, _CONFIG).state["counted"]
    rows = features.rows("validation")
    assert set(counted.tolist()) == {images_digest(features.image_id[rows])}


def test_a_run_does_not_go_on_with_the_images_that_it_has_seen() -> None:
    features, prompts = problem()
    start = _state(run_experiment(features, prompts, _CONFIG))
    with pytest.raises(TrainingError, match="count twice") as caught:
        run_experiment(features, prompts, _CONFIG, start=start)
    assert "`where`" in caught.value.hint


def test_a_trained_run_may_see_its_images_again() -> None:
    features, prompts = problem()
    config = replace(_CONFIG, method="finetune", train=replace(_CONFIG.train, epochs=2))
    first = run_experiment(features, prompts, config)
    start = replace(_state(first), method="finetune", tensors=first.state)
    again = run_experiment(features, prompts, config, start=start)
    assert np.isfinite(again.auroc).all()


def test_states_of_the_same_images_are_not_added() -> None:
    features, prompts = problem()
    one = _state(run_experiment(features, prompts, _CONFIG))
    joint = replace(_CONFIG, scenario="joint")
    other = _state(run_experiment(features, prompts, joint))
    for twin in (one, other):
        with pytest.raises(TrainingError, match="count twice"):
            merge_runs([one, twin])


def test_stores_without_validation_images_are_not_taken_for_the_same() -> None:
    """No images are the same as no images elsewhere, and mean nothing."""
    states = []
    for seed in (0, 1):
        features, prompts = problem(seed=0)
        other, _ = problem(seed=seed)
        apart = replace(features, embedding=other.embedding)
        states.append(
            _state(run_experiment(_without_validation(apart), prompts, _CONFIG))
        )
    merged = merge_runs(states)
    counts = merged.tensors["train.moments"][:, -1]
    each = [state.tensors["train.moments"][:, -1] for state in states]
    assert torch.equal(counts, each[0] + each[1])
    check_new_images(states[0].tensors, np.array([], dtype=object))
