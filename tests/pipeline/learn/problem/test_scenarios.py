"""Scenarios: which cells are seen when, and that no patient is in two parts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.problem.scenarios import (
    SCENARIOS,
    Scenario,
    merge_tasks,
    patient_parts,
    plan_scenario,
)
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.store.errors import ConfigurationError, TrainingError
from retune.store.label_states import STATE_NAMES, UNLABELLED

_N, _K = 120, 4
_FINDINGS = ("a", "b", "c", "d")


def _targets(seed: int = 0, observed: float = 0.9) -> Targets:
    random = np.random.default_rng(seed)
    value = random.integers(0, 2, (_N, _K)).astype(np.float32)
    seen = random.random((_N, _K)) < observed
    return Targets(value * seen, seen)


_PATIENTS = np.array([str(i // 3) for i in range(_N)], dtype=object)
_ROWS = np.arange(90)


def _plan(name: str, seed: int = 0, **options: Any) -> Scenario:
    targets = options.pop("targets", _targets(seed))
    return plan_scenario(
        name, targets, _PATIENTS, _ROWS, _FINDINGS, seed=seed, **options
    )


@pytest.mark.parametrize("name", SCENARIOS)
@given(seed=st.integers(0, 1000))
def test_a_task_shows_only_training_rows_and_observed_cells(
    name: str, seed: int
) -> None:
    targets = _targets(seed)
    for task in _plan(name, seed).tasks:
        assert set(task.rows) <= set(_ROWS)
        assert (np.diff(task.rows) > 0).all()
        assert task.mask.shape == (len(task.rows), _K)
        assert not (task.mask & ~targets.observed[task.rows]).any()


def test_zero_shot_has_no_task_and_joint_has_one_with_everything() -> None:
    assert _plan("zero-shot").tasks == ()
    (task,) = _plan("joint").tasks
    np.testing.assert_array_equal(task.rows, _ROWS)
    np.testing.assert_array_equal(task.mask, _targets().observed[_ROWS])


@pytest.mark.parametrize(("name", "n_parts"), [("label", _K), ("data", 5)])
@given(seed=st.integers(0, 1000))
def test_parts_share_no_patient_and_lose_no_row(
    name: str, n_parts: int, seed: int
) -> None:
    tasks = _plan(name, seed).tasks
    assert len(tasks) == n_parts
    patients = [set(_PATIENTS[task.rows]) for task in tasks]
    assert sum(map(len, patients)) == len(set().union(*patients))
    assert max(map(len, patients)) - min(map(len, patients)) <= 1
    np.testing.assert_array_equal(
        np.sort(np.concatenate([task.rows for task in tasks])), _ROWS
    )


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [2, 0, 3, 1]])
def test_label_shows_one_finding_at_a_time_in_the_given_order(order: list[int]) -> None:
    scenario = _plan("label", order=order)
    for number, (task, finding) in enumerate(
        zip(scenario.tasks, order, strict=True), 1
    ):
        assert task.name == _FINDINGS[finding]
        assert np.flatnonzero(task.mask.any(axis=0)).tolist() == [finding]
        assert scenario.introduced[finding] == number


def test_cumulative_also_shows_the_findings_before() -> None:
    order = [2, 0, 3, 1]
    scenario = _plan("label", order=order, visible="cumulative")
    for number, task in enumerate(scenario.tasks, start=1):
        shown = np.flatnonzero(task.mask.any(axis=0)).tolist()
        assert shown == sorted(order[:number])


def test_class_has_the_positive_rows_of_its_finding_and_a_constant_target() -> None:
    targets = _targets()
    for finding, task in enumerate(_plan("class").tasks):
        cells = targets.value[task.rows, finding]
        assert (cells == 1).all()
        assert task.mask[:, finding].all()
        assert len(task.rows) == int(targets.value[_ROWS, finding].sum())


def test_data_shows_all_findings_from_the_first_part() -> None:
    scenario = _plan("data", n_tasks=3)
    assert scenario.introduced.tolist() == [1] * _K
    assert all(task.mask.any(axis=0).all() for task in scenario.tasks)


def test_the_same_seed_gives_the_same_parts_and_another_other_ones() -> None:
    rows = [
        [task.rows.tolist() for task in _plan("data", seed, targets=_targets()).tasks]
        for seed in (1, 1, 2)
    ]
    assert rows[0] == rows[1] != rows[2]


@pytest.mark.parametrize("name", ["class", "label", "data"])
@pytest.mark.parametrize("visible", ["current", "cumulative"])
def test_merging_tasks_keeps_exactly_the_cells_that_were_seen(
    name: str, visible: str
) -> None:
    tasks = _plan(name, visible=visible).tasks
    merged = merge_tasks(tasks, _N)
    expected = np.zeros((_N, _K), dtype=bool)
    for task in tasks:
        for row, cells in zip(task.rows, task.mask, strict=True):
            expected[row] |= cells
    merged_mask = np.zeros((_N, _K), dtype=bool)
    merged_mask[merged.rows] = merged.mask
    np.testing.assert_array_equal(merged_mask, expected)
    if name == "data":
        np.testing.assert_array_equal(merged_mask[_ROWS], _targets().observed[_ROWS])


def test_more_parts_than_patients_is_an_error_that_says_so() -> None:
    with pytest.raises(TrainingError, match=r"30 training patients .* 31 tasks") as e:
        _plan("data", n_tasks=31)
    assert "`tasks`" in e.value.hint
    assert len(patient_parts(_PATIENTS, _ROWS, 30, 0)) == 30


def test_a_task_without_a_label_names_its_finding() -> None:
    targets = _targets()
    targets.observed[:, 2] = False
    with pytest.raises(TrainingError, match="task 'c' has no observed label"):
        _plan("label", targets=targets)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"name": "magic"}, "unknown scenario 'magic'"),
        ({"name": "label", "order": [0, 1, 2]}, "no order of 4"),
        ({"name": "label", "order": [0, 1, 2, 2]}, "no order of 4"),
        ({"name": "label", "visible": "all"}, "`visible` all"),
    ],
)
def test_names_that_do_not_exist(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        _plan(**options)


@pytest.mark.parametrize(
    ("uncertain", "blank", "value", "observed"),
    [
        ("ignore", "negative", [1, 0, 0, 0, 0], [1, 1, 0, 1, 0]),
        ("zeros", "negative", [1, 0, 0, 0, 0], [1, 1, 1, 1, 0]),
        ("ones", "negative", [1, 0, 1, 0, 0], [1, 1, 1, 1, 0]),
        ("ignore", "ignore", [1, 0, 0, 0, 0], [1, 1, 0, 0, 0]),
        ("ones", "ignore", [1, 0, 1, 0, 0], [1, 1, 1, 0, 0]),
    ],
)
def test_label_policies(
    uncertain: Any, blank: Any, value: list[int], observed: list[int]
) -> None:
    states = np.array([[1, 0, -1, -2, UNLABELLED]], dtype=np.int8)
    assert set(STATE_NAMES) | {UNLABELLED} == set(states[0].tolist())
    targets = make_targets(states, uncertain, blank)
    assert targets.value[0].tolist() == value
    assert targets.observed[0].astype(int).tolist() == observed


def test_unknown_policies() -> None:
    states = np.zeros((1, 1), dtype=np.int8)
    with pytest.raises(ConfigurationError, match="`uncertain` maybe"):
        make_targets(states, "maybe")  # type: ignore[arg-type]  # on purpose
    with pytest.raises(ConfigurationError, match="`blank` maybe"):
        make_targets(states, "ignore", "maybe")  # type: ignore[arg-type]  # on purpose
