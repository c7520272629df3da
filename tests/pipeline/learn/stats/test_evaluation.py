"""Figures that are taken over from the prediction before are those computed anew."""

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.pipeline.learn.problem.prediction import Prediction
from retune.pipeline.learn.stats import evaluation
from retune.pipeline.learn.stats.evaluation import (
    EvaluatedRows,
    Evaluation,
    evaluate_predictions,
    evaluate_scores,
)
from retune.pipeline.learn.stats.metrics import tune_thresholds

_N, _K = 60, 4


def _images(random: np.random.Generator, rows: npt.NDArray[np.int64]) -> EvaluatedRows:
    shape = (len(rows), _K)
    return EvaluatedRows(
        rows,
        (random.random(shape) < 0.4).astype(np.float32),
        random.random(shape) < 0.8,
        random.integers(0, 20, len(rows)),
    )


_PARTS = ("difference", "positive", "probability")


def _prediction(random: np.random.Generator) -> Prediction:
    scores = random.standard_normal((3, _N, _K)).astype(np.float32)
    return Prediction(scores[0], scores[1], 1 / (1 + np.exp(-scores[2])))


def _with_columns(
    before: Prediction, after: Prediction, changed: npt.NDArray[np.bool_]
) -> Prediction:
    return Prediction(
        *(
            np.where(changed, getattr(after, part), getattr(before, part))
            for part in _PARTS
        )
    )


def _assert_equal(one: Evaluation, other: Evaluation) -> None:
    np.testing.assert_equal(dict(one.others), dict(other.others))
    for name in ("auroc", "variance", "low", "high"):
        values = (getattr(each.influence.delong, name) for each in (one, other))
        np.testing.assert_equal(*values)
    np.testing.assert_equal(one.influence.moved, other.influence.moved)
    np.testing.assert_equal(one.influence.alone, other.influence.alone)
    np.testing.assert_equal(one.macro, other.macro)
    np.testing.assert_equal(one.bootstrap, other.bootstrap)
    np.testing.assert_equal(one.n_positive, other.n_positive)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 1000),
    changes=st.lists(st.lists(st.booleans(), min_size=_K, max_size=_K), max_size=4),
)
def test_a_sequence_is_evaluated_as_each_prediction_alone(
    seed: int, changes: list[list[bool]]
) -> None:
    random = np.random.default_rng(seed)
    test = _images(random, np.arange(35))
    validation = _images(random, np.arange(35, _N))
    predictions = [_prediction(random)]
    for changed in changes:
        new = _with_columns(predictions[-1], _prediction(random), np.array(changed))
        predictions.append(new)
    on_test, on_validation, last = evaluate_predictions(
        test, validation, predictions, seed=3
    )
    for index, prediction in enumerate(predictions):
        thresholds = tune_thresholds(
            prediction.probability[validation.rows],
            validation.value,
            validation.observed,
        )
        drawn = 3 if index == len(predictions) - 1 else None
        alone = evaluate_scores(test, prediction, thresholds, seed=drawn)
        _assert_equal(on_test[index], alone)
        _assert_equal(
            on_validation[index], evaluate_scores(validation, prediction, thresholds)
        )
        if drawn:
            np.testing.assert_equal(thresholds, last)


@pytest.mark.parametrize("part", _PARTS)
def test_only_findings_whose_scores_changed_are_ranked(
    part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = np.random.default_rng(0)
    test, validation = (
        _images(random, np.arange(35)),
        _images(random, np.arange(35, 60)),
    )
    first = _prediction(random)
    values = {each: getattr(first, each).copy() for each in _PARTS}
    values[part][:, 2] = values[part][::-1, 2]
    sorted_columns: list[int] = []
    rank_findings = evaluation.rank_findings

    def counting(scores, targets, observed):  # type: ignore[no-untyped-def]
        sorted_columns.append(targets.shape[1])
        return rank_findings(scores, targets, observed)

    monkeypatch.setattr(evaluation, "rank_findings", counting)
    predictions = [first, first, Prediction(**values)]
    evaluations, _, _ = evaluate_predictions(test, validation, predictions, seed=0)
    # Both splits: all findings of the first, none of the second, one of the third.
    assert sorted_columns == [_K, _K, 1, 1]
    monkeypatch.undo()
    thresholds = evaluate_predictions(test, validation, predictions[2:], seed=0)[2]
    _assert_equal(
        evaluations[2], evaluate_scores(test, predictions[2], thresholds, seed=0)
    )


def test_missing_scores_count_as_unchanged() -> None:
    """Methods without s⁺ give NaN for it, before and after."""
    random = np.random.default_rng(1)
    first = _prediction(random)
    nothing = np.full_like(first.positive, np.nan)
    prediction = Prediction(first.difference, nothing, first.probability)
    scores = np.stack([prediction.difference, nothing])
    assert not evaluation._differs(scores, scores.copy()).any()
    changed = scores.copy()
    changed[0, 3, 1] += 1
    differs = evaluation._differs(scores, changed)
    assert differs.tolist() == [False, True, False, False]
