"""Figures of groups are those of their images alone."""

from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from learning_samples import FINDINGS, problem

from retune.pipeline.learn.problem.prediction import Prediction
from retune.pipeline.learn.problem.targets import make_targets
from retune.pipeline.learn.stats import metrics
from retune.pipeline.learn.stats.evaluation import EvaluatedRows
from retune.pipeline.learn.stats.subgroups import image_groups, subgroup_values
from retune.store import MetricValue

_N = 240


def _images(**columns: Any) -> pa.Table:
    random = np.random.default_rng(1)
    plain = {
        "sex": [["F", "M", None][i % 3] for i in range(_N)],
        "view": ["PA"] * _N,
        "age": [float(i % 100) for i in random.permutation(_N)],
    }
    return pa.table(plain | columns)


def _values() -> tuple[dict[tuple[str, str | None, str], MetricValue], Any]:
    features, _ = problem(_N)
    targets = make_targets(features.states)
    scores = np.random.default_rng(2).normal(size=(_N, 3)).astype(np.float32)
    prediction = Prediction(scores, scores, scores)
    images = EvaluatedRows.of(features, targets, features.rows("test"))
    groups = image_groups(_images())
    values = list(subgroup_values(images, groups, FINDINGS, prediction, 3, "test"))
    assert all(one.task == 3 for one in values)
    rows = {(one.split, one.finding, one.metric): one for one in values}
    assert len(rows) == len(values)
    return rows, (features, targets, scores, groups)


def test_a_groups_auroc_is_that_of_its_images() -> None:
    rows, (features, targets, scores, groups) = _values()
    test = features.rows("test")
    women = test[groups["sex"][test] == "F"]
    expected = metrics.auroc(
        scores[women], targets.value[women], targets.observed[women]
    )
    for column, name in enumerate(FINDINGS):
        figure = rows["test/sex=F", name, "auroc"]
        assert figure.value == pytest.approx(expected[column])
        assert figure.ci_low is not None
        assert figure.ci_low <= figure.value
    macro = rows["test/sex=F", None, "macro_auroc"]
    assert macro.value == pytest.approx(expected.mean())


@pytest.mark.parametrize("attribute", ["sex", "age", "view"])
def test_groups_divide_the_test_images(attribute: str) -> None:
    rows, (features, _, _, _) = _values()
    sizes = [
        row.value
        for (split, finding, metric), row in rows.items()
        if split.startswith(f"test/{attribute}=") and metric == "n_images"
    ]
    assert sum(sizes) == len(features.rows("test"))


def test_what_a_table_does_not_say_is_a_group_of_its_own() -> None:
    rows, _ = _values()
    assert ("test/sex=unknown", None, "n_images") in rows
    groups = image_groups(_images(sex=[None] * _N, age=[None] * _N))
    assert set(groups["sex"]) == set(groups["age"]) == {"unknown"}
    assert set(groups["view"]) == {"PA"}


def test_a_finding_with_one_class_in_a_group_has_no_figure_there() -> None:
    features, _ = problem(_N)
    states = features.states.copy()
    groups = image_groups(_images())
    states[groups["sex"] == "F", 0] = 0
    targets = make_targets(states)
    scores = np.random.default_rng(2).normal(size=(_N, 3)).astype(np.float32)
    images = EvaluatedRows.of(features, targets, features.rows("test"))
    values = subgroup_values(
        images, groups, FINDINGS, Prediction(scores, scores, scores), 1, "test"
    )
    rows = {(one.split, one.finding, one.metric): one for one in values}
    assert np.isnan(rows["test/sex=F", FINDINGS[0], "auroc"].value)
    assert rows["test/sex=F", FINDINGS[0], "n_positive"].value == 0
    assert not np.isnan(rows["test/sex=F", None, "macro_auroc"].value)
