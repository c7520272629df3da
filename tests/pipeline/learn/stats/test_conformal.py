"""Answer sets hold the right answer as often as was asked for, whatever the model."""

import numpy as np
import pytest

from retune.pipeline.learn.stats.conformal import ConformalRule, conformal_rule
from retune.store.errors import ConfigurationError


def _patients(
    random: np.random.Generator, n_patients: int, prevalence: float, gain: float
) -> tuple[np.ndarray, np.ndarray]:
    """Two images per patient, alike; probabilities that are badly calibrated."""
    ill = random.random(n_patients) < prevalence
    of_patient = random.normal(size=n_patients) + gain * ill
    score = np.repeat(of_patient, 2) + 0.5 * random.normal(size=2 * n_patients)
    return (1 / (1 + np.exp(-3 * score)))[:, None], np.repeat(ill, 2)[:, None]


@pytest.mark.parametrize("coverage", [0.8, 0.9])
@pytest.mark.parametrize(("prevalence", "gain"), [(0.3, 1.0), (0.1, 0.0), (0.5, 3.0)])
def test_coverage_on_other_patients_is_within_two_points(
    coverage: float, prevalence: float, gain: float
) -> None:
    random = np.random.default_rng(0)
    coverages = []
    for _ in range(150):
        p, y = _patients(random, 60, prevalence, gain)
        rule = conformal_rule(p, y, np.ones_like(y), coverage)
        held_p, held_y = _patients(random, 200, prevalence, gain)
        coverages.append(rule.covered(held_p, held_y, np.ones_like(held_y))[0])
    assert np.mean(coverages) == pytest.approx(coverage, abs=0.02)


def test_each_class_is_covered_by_itself() -> None:
    """A rare finding must not be covered by answering negative for all."""
    random = np.random.default_rng(1)
    shares = []
    for _ in range(100):
        p, y = _patients(random, 150, 0.15, 0.8)
        rule = conformal_rule(p, y, np.ones_like(y), 0.9)
        held_p, held_y = _patients(random, 300, 0.15, 0.8)
        shares.append(rule.covered(held_p, held_y, held_y)[0])
    assert np.mean(shares) >= 0.88


def test_too_few_labels_leave_both_answers_in() -> None:
    p = np.linspace(0.1, 0.9, 12)[:, None]
    y = p > 0.85  # one positive
    rule = conformal_rule(p, y, np.ones_like(y), 0.9)
    assert rule.least_positive.tolist() == [0.0]
    assert "positive" not in rule.words(np.array([[0.0]]))[0]
    nothing = np.zeros((0, 1))
    empty = conformal_rule(nothing, nothing, nothing > 0, 0.9)
    assert empty.words(np.array([[0.2]])).tolist() == [["either"]]
    assert np.isnan(empty.covered(nothing, nothing, nothing > 0)).all()


def test_one_in_ten_may_be_missed_from_nine_labels_on() -> None:
    p = np.linspace(0.1, 0.9, 9)[:, None]
    y = np.ones_like(p, dtype=bool)
    rule = conformal_rule(p, y, y, 0.9)
    assert rule.least_positive.tolist() == [pytest.approx(0.1)]
    assert conformal_rule(p[:8], y[:8], y[:8], 0.9).least_positive.tolist() == [0.0]


def test_a_set_may_be_empty_and_says_so() -> None:
    rule = ConformalRule(0.9, np.array([0.6]), np.array([0.3]))
    words = rule.words(np.array([[0.2], [0.5], [0.7]]))[:, 0]
    assert words.tolist() == ["negative", "neither", "positive"]
    assert rule.single(np.array([[0.5]]), np.ones((1, 1), dtype=bool)).tolist() == [0.0]


@pytest.mark.parametrize("coverage", [0.0, 1.0, -1, 2, float("nan")])
def test_a_coverage_that_cannot_be_is_refused(coverage: float) -> None:
    nothing = np.zeros((0, 1))
    with pytest.raises(ConfigurationError, match="`coverage`"):
        conformal_rule(nothing, nothing, nothing > 0, coverage)
