"""The trainer learns, repeats itself, and sees only what it may."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.problem import config as train_config
from retune.pipeline.learn.problem.config import PRECISIONS, training_precision
from retune.pipeline.learn.problem.contract import Problem
from retune.pipeline.learn.problem.features import Features
from retune.pipeline.learn.problem.scenarios import plan_scenario
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.pipeline.learn.runs.saved_model import predict
from retune.pipeline.learn.stats.metrics import auroc
from retune.pipeline.learn.training.hook import Hook
from retune.pipeline.learn.training.model import AdaptedModel
from retune.pipeline.learn.training.optimiser import FlatAdam
from retune.pipeline.learn.training.trainer import (
    PRESETS,
    TrainConfig,
    Trainer,
    build_model,
    preset,
    telling_labels,
    untrained,
)
from retune.store.errors import ConfigurationError, TrainingError

_QUICK = TrainConfig(epochs=20, patience=5, batch_size=64)


def _trained(
    config: TrainConfig = _QUICK,
    scenario: str = "joint",
    features: Features | None = None,
    targets: Targets | None = None,
    **options: Any,
) -> AdaptedModel:
    known, prompts = problem()
    features = features or known
    targets = targets or make_targets(features.states)
    plan = plan_scenario(
        scenario, targets, features.patient_id, features.rows("train"), FINDINGS,
        n_tasks=3,
    )  # fmt: skip
    model = build_model(config, prompts, len(FINDINGS), features.embedding.shape[1])
    problem_ = Problem(features, prompts, targets, config, torch.device("cpu"))
    trainer = Trainer(model, problem_, **options)
    for task in plan.tasks:
        trainer.learn(task)
    return model


def _same(one: AdaptedModel, other: AdaptedModel) -> bool:
    pairs = zip(one.state_dict().values(), other.state_dict().values(), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def _test_auroc(model: AdaptedModel) -> np.ndarray:
    features, _ = problem()
    rows = features.rows("test")
    with torch.no_grad():
        scores = model.logits(torch.from_numpy(features.embedding[rows]).float())
    value = (features.states[rows] > 0).astype(float)
    return auroc(scores.numpy(), value, np.ones(value.shape, dtype=bool))


@pytest.mark.parametrize("adaptor", ["linear", "mlp", "residual"])
@pytest.mark.parametrize("placement", ["image", "both", "shared"])
def test_training_learns(adaptor: str, placement: str) -> None:
    # The scale is fixed here: whether each kind learns does not hang on the preset's.
    config = replace(
        _QUICK,
        adaptor=adaptor,
        placement=placement,
        epochs=60,
        learning_rate=3e-3,
        scale=10.0,
    )
    assert _test_auroc(_trained(config)).mean() > 0.85


@pytest.mark.parametrize("scenario", ["joint", "label", "data"])
def test_the_same_seed_gives_the_same_weights(scenario: str) -> None:
    assert _same(_trained(scenario=scenario), _trained(scenario=scenario))
    other = replace(_QUICK, seed=1)
    assert not _same(_trained(other, scenario), _trained(scenario=scenario))


@pytest.mark.parametrize("scenario", ["joint", "label", "data", "class"])
@pytest.mark.parametrize("preset_name", ["default", "reference"])
def test_unobserved_cells_have_no_influence_bit_for_bit(
    scenario: str, preset_name: str
) -> None:
    config = preset(preset_name, epochs=4, batch_size=64)
    features, _ = problem(uncertain=0.3)
    targets = make_targets(features.states)
    assert not targets.observed.all()
    changed = Targets(
        np.where(targets.observed, targets.value, 1 - targets.value), targets.observed
    )
    one = _trained(config, scenario, features, targets)
    other = _trained(config, scenario, features, changed)
    assert _same(one, other)


def test_test_rows_have_no_influence_bit_for_bit() -> None:
    features, _ = problem()
    embedding, states = features.embedding.copy(), features.states.copy()
    rows = features.rows("test")
    embedding[rows] = -embedding[rows]
    states[rows] = 1 - states[rows]
    changed = replace(features, embedding=embedding, states=states)
    assert _same(_trained(features=features), _trained(features=changed))


def test_early_stopping_keeps_the_best_validation_weights() -> None:
    features, _ = problem(n_images=60)
    config = replace(_QUICK, epochs=300, patience=300, learning_rate=0.05, caution=0.0)
    stopped = _trained(config, features=features)
    last = _trained(replace(config, patience=0), features=features)
    targets = make_targets(features.states)
    rows = features.rows("validation")

    def loss(model: AdaptedModel) -> float:
        with torch.no_grad():
            logits = model.logits(torch.from_numpy(features.embedding[rows]).float())
        return float(
            torch.nn.functional.binary_cross_entropy_with_logits(
                logits, torch.from_numpy(targets.value[rows])
            )
        )

    assert loss(stopped) < loss(last)


@pytest.mark.parametrize("preset_name", ["default", "reference"])
@pytest.mark.parametrize("patience", [0, 5])
@pytest.mark.parametrize("learning_rate", [1e30, 1e38])
def test_divergence_is_an_error_even_where_early_stopping_would_hide_it(
    preset_name: str, patience: int, learning_rate: float
) -> None:
    config = preset(
        preset_name,
        learning_rate=learning_rate,
        batch_size=64,
        epochs=9,
        patience=patience,
    )
    with pytest.raises(TrainingError, match="training diverged") as caught:
        _trained(config)
    assert "`learning_rate`" in caught.value.hint


def test_a_method_can_act_after_each_step() -> None:
    class Counting(Hook):
        steps = 0

        def after_step(self, optimiser: FlatAdam) -> None:
            assert not optimiser.gradient.any()
            self.steps += 1

    hook = Counting()
    _trained(hook=hook)
    assert hook.steps >= 3


def test_the_reference_preset_is_the_papers() -> None:
    reference = PRESETS["reference"]
    assert (reference.adaptor, reference.placement) == ("mlp", "both")
    assert (reference.learning_rate, reference.weight_decay) == (1e-4, 0.0)
    assert (reference.batch_size, reference.epochs, reference.seed) == (6144, 10, 27)
    assert not reference.learn_scale
    assert not reference.learn_bias
    assert not reference.patience
    assert reference.scale == 1


def test_the_default_starts_from_zero_shot() -> None:
    features, prompts = problem()
    x = torch.from_numpy(features.embedding).float()
    default, plain = (
        build_model(config, prompts, len(FINDINGS), 12)
        for config in (TrainConfig(), untrained(TrainConfig()))
    )
    with torch.no_grad():
        assert torch.equal(default.logits(x), plain.logits(x))


@pytest.mark.parametrize("there", [True, False])
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_auto_takes_bfloat16_for_large_steps_where_the_machine_has_it(
    device: str, there: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train_config, "has_bfloat16", lambda: there)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: there)
    reference, fast = PRESETS["reference"], "bfloat16" if there else "float32"
    assert training_precision(reference, (223_414, 128), device) == fast
    assert training_precision(PRESETS["default"], (223_414, 512), device) == fast
    # A batch has no more images than there are.
    assert training_precision(reference, (500, 128), device) == "float32"
    assert training_precision(PRESETS["default"], (223_414, 128), device) == "float32"


def test_bfloat16_learns_what_float32_learns() -> None:
    """AUROC of each finding on test images, within 0.02."""
    features, _ = problem()
    targets = make_targets(features.states)
    test = features.rows("test")
    aurocs = []
    for precision in PRECISIONS:
        model = _trained(replace(_QUICK, precision=precision))
        with torch.no_grad():
            scores = model.scores(torch.from_numpy(features.embedding[test]).float())
        aurocs.append(
            auroc(scores[0].numpy(), targets.value[test], targets.observed[test])
        )
    assert np.abs(aurocs[0] - aurocs[1]).max() < 0.02


def test_presets_by_name() -> None:
    assert preset("default", epochs=3).epochs == 3
    assert preset("default", epochs=None) == PRESETS["default"]
    with pytest.raises(ConfigurationError, match="`preset` best"):
        preset("best")


def test_a_task_moves_the_weights_by_a_share_that_follows_its_labels() -> None:
    """Against the same training without caution: n/(n + caution) of the way."""
    features, prompts = problem()
    targets = make_targets(features.states)
    rows = features.rows("train")
    task = plan_scenario("joint", targets, features.patient, rows, FINDINGS).tasks[0]
    weights = {}
    for caution in (0.0, 60.0):
        config = replace(_QUICK, caution=caution)
        model = build_model(config, prompts, len(FINDINGS), 12)
        trainer = Trainer(
            model, Problem(features, prompts, targets, config, torch.device("cpu"))
        )
        if not weights:
            weights["start"] = torch.cat(
                [p.detach().reshape(-1).clone() for p in model.parameters()]
            )
        trainer.learn(task)
        weights[str(caution)] = torch.cat(
            [p.detach().reshape(-1) for p in model.parameters()]
        )
    positives = targets.value[rows].sum(axis=0)
    n_labels = 2 * np.minimum(positives, len(rows) - positives).sum()
    share = n_labels / (n_labels + 60)
    expected = weights["start"] + share * (weights["0.0"] - weights["start"])
    torch.testing.assert_close(weights["60.0"], expected)


@pytest.mark.parametrize("resumed", [False, True])
def test_labels_of_earlier_tasks_hold_a_task_back(resumed: bool) -> None:
    """The second of two tasks of n labels moves n/(2n + caution) of the way."""
    features, prompts = problem()
    targets = make_targets(features.states)
    rows = features.rows("train")
    task = plan_scenario("joint", targets, features.patient, rows, FINDINGS).tasks[0]
    n = telling_labels(task, targets)

    def make(caution: float) -> Trainer:
        config = replace(_QUICK, caution=caution)
        given = Problem(features, prompts, targets, config, torch.device("cpu"))
        return Trainer(build_model(config, prompts, len(FINDINGS), 12), given)

    def weights(trainer: Trainer) -> torch.Tensor:
        parts = [p.detach().reshape(-1) for p in trainer.model.parameters()]
        return torch.cat(parts).clone()

    first = make(60.0)
    first.learn(task)
    start, state = weights(first), first.state()
    if resumed:
        first = make(60.0)
        first.restore(state)
    first.learn(task)
    whole = make(0.0)
    whole.restore(state)
    whole.learn(task)
    expected = start + n / (2 * n + 60) * (weights(whole) - start)
    torch.testing.assert_close(weights(first), expected)


def test_labels_of_one_class_leave_the_default_where_it_was() -> None:
    """`class` shows positives only: nothing that could order images."""
    features, _ = problem()
    zero_shot, learned = (
        predict(_trained(replace(_QUICK, caution=c), "class"), features.embedding)
        for c in (1e30, 100.0)
    )
    np.testing.assert_array_equal(zero_shot.difference, learned.difference)


def test_a_caution_that_is_no_number_of_labels_is_named() -> None:
    with pytest.raises(ConfigurationError, match="`caution` -1"):
        preset("default", caution=-1.0)
    assert preset("reference").caution == 0
