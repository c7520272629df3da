"""Thresholds: chosen by the rule that was asked for, and never without an origin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retune.pipeline.learn.stats.metrics import tune_thresholds
from retune.pipeline.learn.stats.operating_point import (
    OperatingPoint,
    ThresholdOrigin,
    choose_thresholds,
)
from retune.store.errors import ConfigurationError


def _sample(seed: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    positive = random.random(n) < 0.4
    score = np.round(random.random(n) + 0.5 * positive, 1)
    return score, positive


def _rates(score: np.ndarray, positive: np.ndarray, at: float) -> tuple[float, float]:
    called = score >= at
    parts = called[positive], ~called[~positive]
    sensitivity, specificity = (
        float(one.mean()) if len(one) else float("nan") for one in parts
    )
    return sensitivity, specificity


@given(seed=st.integers(0, 500), n=st.integers(2, 40), target=st.floats(0.05, 1.0))
def test_a_target_is_met_and_no_threshold_meets_it_better(
    seed: int, n: int, target: float
) -> None:
    score, positive = _sample(seed, n)
    if positive.any():
        threshold = OperatingPoint("sensitivity", target).threshold(score, positive)
        assert threshold is not None
        assert _rates(score, positive, threshold)[0] >= target - 1e-9
        higher = score[score > threshold]
        if len(higher):  # the highest threshold that does
            assert _rates(score, positive, higher.min())[0] < target
    if not positive.all():
        threshold = OperatingPoint("specificity", target).threshold(score, positive)
        assert threshold is not None
        assert _rates(score, positive, threshold)[1] >= target - 1e-9
        lower = score[score < threshold]
        if len(lower):  # the lowest threshold that does
            assert _rates(score, positive, lower.max())[1] < target


@given(seed=st.integers(0, 500), n=st.integers(4, 40))
def test_youden_is_the_best_of_all_thresholds(seed: int, n: int) -> None:
    score, positive = _sample(seed, n)
    if positive.all() or not positive.any():
        return
    threshold = OperatingPoint("youden").threshold(score, positive)
    assert threshold is not None
    best = max(sum(_rates(score, positive, at)) for at in score)
    assert sum(_rates(score, positive, threshold)) == pytest.approx(best)


@given(seed=st.integers(0, 200))
def test_f1_is_the_rule_of_before(seed: int) -> None:
    random = np.random.default_rng(seed)
    probability, targets = random.random((30, 3)), random.random((30, 3)) < 0.2
    observed = random.random((30, 3)) < 0.8
    thresholds, origins = choose_thresholds(
        OperatingPoint(), probability, targets, observed, ("ward",)
    )
    np.testing.assert_array_equal(
        thresholds, tune_thresholds(probability, targets, observed)
    )
    for k, origin in enumerate(origins):
        assert origin.n_images == observed[:, k].sum()
        assert origin.n_positive == (targets & observed)[:, k].sum()
        assert (origin.source == "default") == (origin.n_positive == 0)


@pytest.mark.parametrize("rule", ["f1", "youden", "sensitivity=0.9", "specificity=0.9"])
def test_without_labels_the_threshold_is_the_default_and_says_so(rule: str) -> None:
    nothing = np.zeros((0, 1))
    thresholds, (origin,) = choose_thresholds(
        OperatingPoint.parse(rule), nothing, nothing, nothing > 0
    )
    assert thresholds.tolist() == [0.5]
    assert origin.source == "default"
    assert str(origin) == "default: no validation labels to choose by"


def test_a_threshold_of_one_half_that_was_chosen_is_no_default() -> None:
    probability = np.array([[0.1], [0.5], [0.9]])
    thresholds, (origin,) = choose_thresholds(
        OperatingPoint(), probability, probability >= 0.5, probability > 0
    )
    assert thresholds.tolist() == [0.5]
    assert origin.source == "validation"


def test_origins_are_told_in_words() -> None:
    origin = ThresholdOrigin("sensitivity=0.9", 7, 64, ("nih-320",))
    words = "sensitivity=0.9 on validation of nih-320, 7 positive of 71"
    assert str(origin) == words
    moved = ThresholdOrigin("f1", 7, 64, ("nih-320",), transferred=True)
    assert moved.source == "transferred"
    assert str(moved).startswith("transferred: f1 on validation of nih-320")


@pytest.mark.parametrize(
    "text", ["f2", "sensitivity", "sensitivity=", "sensitivity=0", "specificity=1.1",
             "sensitivity=nan", "f1=0.5", "", "youden=1"],
)  # fmt: skip
def test_unknown_rules_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="`operating_point`"):
        OperatingPoint.parse(text)
