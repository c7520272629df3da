"""What every method holds, ours and a third party's that is written in one file."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from learning_samples import FINDINGS, problem
from torch import Tensor

from retune.pipeline.learn import plugins as registry
from retune.pipeline.learn.methods.registry import METHODS, method_named
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.problem.contract import Method, Problem, read_options
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.scenarios import Task, plan_scenario
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.pipeline.learn.runs.saved_model import (
    SavedModel,
    load_model,
    predict,
    save_model,
)
from retune.pipeline.learn.training.model import AdaptedModel
from retune.pipeline.learn.training.trainer import build_model
from retune.store.errors import ConfigurationError, TrainingError


class Prevalence:
    """A third party's method: the bias follows the share of positives."""

    def __init__(self, problem: Problem) -> None:
        n_findings, dim = len(problem.features.findings), problem.prompts.embedding
        self.model = self.build_model(
            problem.config, problem.prompts, n_findings, dim.shape[1]
        )
        self._targets = problem.targets.value
        self._counts = torch.zeros(2, n_findings)

    @staticmethod
    def build_model(
        config: TrainConfig, prompts: Prompts, n_findings: int, dim: int
    ) -> AdaptedModel:
        return build_model(
            replace(config, adaptor="identity"), prompts, n_findings, dim
        )

    def learn(self, task: Task) -> None:
        value = np.where(task.mask, self._targets[task.rows], 0)
        self._counts[0] += torch.from_numpy(value.sum(axis=0))
        self._counts[1] += torch.from_numpy((task.mask & (value == 0)).sum(axis=0))
        with torch.no_grad():
            self.model.bias.copy_(((self._counts[0] + 1) / (self._counts[1] + 1)).log())

    def state(self) -> dict[str, Tensor]:
        return {
            "counts": self._counts.clone(),
            "bias": self.model.bias.detach().clone(),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        try:
            self._counts.copy_(state["counts"])
            with torch.no_grad():
                self.model.bias.copy_(state["bias"])
        except (KeyError, RuntimeError) as error:
            raise TrainingError(f"does not fit: {error}", "Train again.") from error


@pytest.fixture(autouse=True)
def _third_party(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(METHODS, "prevalence", Prevalence)


_NAMES = [*METHODS, "prevalence"]
_QUICK = TrainConfig(epochs=3, patience=2, batch_size=64, learning_rate=3e-3)


def _tasks(features: Features, targets: Targets, scenario: str) -> tuple[Task, ...]:
    return plan_scenario(
        scenario, targets, features.patient_id, features.rows("train"), FINDINGS,
        n_tasks=3,
    ).tasks  # fmt: skip


def _method(
    name: str, config: TrainConfig = _QUICK, targets: Targets | None = None,
    features: Features | None = None,
) -> tuple[Method, Features, Targets]:  # fmt: skip
    known, prompts = problem(uncertain=0.2)
    features = features or known
    targets = targets or make_targets(features.states)
    setting = Problem(features, prompts, targets, config, torch.device("cpu"))
    return method_named(name)(setting), features, targets


def _learned(name: str, scenario: str = "label", **options: object) -> Method:
    method, features, targets = _method(name, **options)  # type: ignore[arg-type]  # by name
    for task in _tasks(features, targets, scenario):
        method.learn(task)
    return method


def _assert_same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def _assert_same_learning(one: Method, other: Method) -> None:
    _assert_same(one.model.state_dict(), other.model.state_dict())
    _assert_same(one.state(), other.state())


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("scenario", ["joint", "class", "label", "data"])
def test_the_same_seed_gives_the_same_weights_and_state(
    name: str, scenario: str
) -> None:
    _assert_same_learning(_learned(name, scenario), _learned(name, scenario))


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("scenario", ["joint", "class", "label", "data"])
def test_unobserved_cells_have_no_influence_bit_for_bit(
    name: str, scenario: str
) -> None:
    _, features, targets = _method(name)
    tasks = _tasks(features, targets, scenario)
    seen = np.zeros(targets.observed.shape, dtype=bool)
    for task in tasks:
        seen[task.rows] |= task.mask
    seen[features.rows("validation")] = True
    seen &= targets.observed
    assert not seen.all()
    changed = Targets(
        np.where(seen, targets.value, np.float32("nan")), targets.observed
    )
    one, _, _ = _method(name, targets=targets)
    other, _, _ = _method(name, targets=changed)
    for task in tasks:
        one.learn(task)
        other.learn(task)
    _assert_same_learning(one, other)


@pytest.mark.parametrize("name", _NAMES)
def test_test_rows_have_no_influence_bit_for_bit(name: str) -> None:
    _, features, _ = _method(name)
    embedding, states = features.embedding.copy(), features.states.copy()
    rows = features.rows("test")
    embedding[rows], states[rows] = 7, 1 - states[rows]
    changed = replace(features, embedding=embedding, states=states)
    _assert_same_learning(
        _learned(name, features=features), _learned(name, features=changed)
    )


@pytest.mark.parametrize("name", _NAMES)
@pytest.mark.parametrize("stop", [1, 2])
def test_a_restored_method_goes_on_bit_for_bit(name: str, stop: int) -> None:
    method, features, targets = _method(name)
    tasks = _tasks(features, targets, "label")
    for task in tasks[:stop]:
        method.learn(task)
    other, _, _ = _method(name)
    other.restore(method.state())
    _assert_same(method.model.state_dict(), other.model.state_dict())
    for task in tasks[stop:]:
        method.learn(task)
        other.learn(task)
    _assert_same_learning(method, other)


@pytest.mark.parametrize("name", _NAMES)
def test_a_state_is_a_copy(name: str) -> None:
    method, features, targets = _method(name)
    tasks = _tasks(features, targets, "label")
    method.learn(tasks[0])
    state = method.state()
    before = {key: tensor.clone() for key, tensor in state.items()}
    method.learn(tasks[1])
    _assert_same(state, before)


@pytest.mark.parametrize("name", _NAMES)
def test_a_state_that_does_not_fit_is_a_named_error(name: str) -> None:
    method, _, _ = _method(name)
    with pytest.raises(TrainingError) as caught:
        method.restore({})
    assert caught.value.hint


@pytest.mark.parametrize("name", _NAMES)
def test_save_and_load_predict_the_same(name: str, tmp_path: Path) -> None:
    method = _learned(name)
    features, prompts = problem()
    saved = SavedModel(
        method.model, _QUICK, FINDINGS, np.full(3, 0.5), "01", 12, prompts, name
    )
    save_model(tmp_path, saved)
    loaded = load_model(tmp_path)
    assert loaded.method == name
    one, other = (predict(s.model, features.embedding) for s in (saved, loaded))
    np.testing.assert_array_equal(one.difference, other.difference)
    np.testing.assert_array_equal(one.probability, other.probability)
    assert ((one.probability >= 0) & (one.probability <= 1)).all()


@pytest.mark.parametrize("name", _NAMES)
def test_an_unknown_option_is_named(name: str) -> None:
    if name == "prevalence":
        pytest.skip("takes no notice of options")
    config = replace(_QUICK, options={"magic": 1.0})
    with pytest.raises(ConfigurationError, match=f"{name} has no option 'magic'"):
        _method(name, config)


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        ("mask", "theta", "x"), ("mask", "theta", 2.0), ("mask", "per", "year"),
        ("replay", "budget", 0), ("replay", "budget", 1.5),
        ("replay", "weight", float("inf")), ("lwf", "temperature", 0.0),
        ("lwf", "weight", float("nan")), ("ewc", "rows", 0), ("ewc", "strength", -1.0),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_named(
    name: str, option: str, value: float | str
) -> None:
    with pytest.raises(ConfigurationError, match=option):
        _method(name, replace(_QUICK, options={option: value}))


def test_an_unknown_method_is_named() -> None:
    with pytest.raises(ConfigurationError, match="`method` none"):
        method_named("none")


def test_a_method_of_an_installed_package_is_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    points = EntryPoints(
        [
            EntryPoint("theirs", f"{__name__}:Prevalence", "retune.methods"),
            EntryPoint("broken", "no_such_module:Thing", "retune.methods"),
        ]
    )
    monkeypatch.setattr(
        registry, "entry_points", lambda group: points.select(group=group)
    )
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Prevalence=Prevalence))
    assert method_named("theirs") is Prevalence
    with pytest.raises(ConfigurationError, match="no_such_module"):
        method_named("broken")


def test_options_keep_their_kind() -> None:
    from retune.pipeline.learn.methods.replay import ReplayOptions

    config = TrainConfig(options={"budget": "20", "weight": 1})
    options = read_options(ReplayOptions, config, "replay")
    assert (options.budget, options.weight) == (20, 1.0)
    assert isinstance(options.budget, int)
