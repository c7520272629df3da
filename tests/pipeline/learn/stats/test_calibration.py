"""Probabilities follow validation labels as far as there are any."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from retune.pipeline.learn.stats.calibration import Line, calibrate, platt


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    n_images=st.integers(1, 120),
    scale=st.sampled_from([1.0, 30.0, 100.0]),
    height=st.sampled_from([-8.0, 0.0, 8.0]),
    prevalence=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
def test_the_line_is_the_most_probable_one(
    seed: int, n_images: int, scale: float, height: float, prevalence: float
) -> None:
    """Against a general optimiser; scores may be useless and far from the mark."""
    random = np.random.default_rng(seed)
    scores = random.normal(0, 0.15, n_images)
    positive = random.random(n_images) < prevalence
    expected = Line(scale, height)
    middle = scores.mean()

    def loss(factor: float, at_middle: float) -> float:
        logit = factor * scale * (scores - middle) + at_middle
        fit = (np.logaddexp(0, logit) - positive * logit).sum()
        away = at_middle - scale * middle - height
        return float(fit + 0.5 * ((factor - 1) / 0.5) ** 2 + 0.5 * (away / 2) ** 2)

    best = minimize(lambda v: loss(*v), [1.0, scale * middle + height]).fun
    line = platt(scores, positive, expected)
    factor = line.slope / scale
    assert factor >= 0.05 - 1e-12
    if factor > 0.05 + 1e-9:
        assert loss(factor, line.offset + line.slope * middle) <= best + 1e-4


def test_few_labels_move_it_little_and_many_decide() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(0, 1, 4000)
    positive = random.random(4000) < 1 / (1 + np.exp(-(0.5 * scores - 2)))
    few = platt(scores[:3], positive[:3], Line(1.0, 0.0))
    many = platt(scores, positive, Line(1.0, 0.0))
    assert few.slope == pytest.approx(1, abs=0.2)
    assert many == pytest.approx((0.5, -2), abs=0.15)
    assert platt(scores[:0], positive[:0], Line(1.0, 0.0)) == (1.0, 0.0)


def _drawn(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of which the logit is 2s - 3 (a prevalence of about one in five)."""
    random = np.random.default_rng(seed)
    scores = random.normal(0.5, 1, n)
    return scores, random.random(n) < 1 / (1 + np.exp(3 - 2 * scores))


def test_many_labels_decide_whatever_was_believed() -> None:
    # The last belief is twenty times off, and a trusted one gives way to many labels.
    scores, positive = _drawn(500_000)
    for prevalence, expected in ((0.2, Line(2, -3)), (0.9, Line(0.1, 5))):
        for trusted in (False, True):
            line = calibrate(scores, positive, prevalence, expected, trusted=trusted)
            assert line.slope == pytest.approx(2, abs=0.1)
            assert line.offset == pytest.approx(-3, abs=0.1)


@pytest.mark.parametrize("trusted", [False, True])
def test_few_labels_leave_the_height_at_the_share_of_positives(trusted: bool) -> None:
    scores, positive = _drawn(12)
    for labels in (positive, np.zeros(12, dtype=bool)):
        line = calibrate(scores, labels, 0.1, Line(2, -3), trusted=trusted)
        middle = line.slope * scores.mean() + line.offset
        assert 1 / (1 + np.exp(-middle)) == pytest.approx(0.1, abs=0.05)
        assert line.slope > 0


def test_scores_that_mislead_give_an_almost_flat_line_that_still_rises() -> None:
    scores, positive = _drawn(2000)
    line = calibrate(-scores, positive, 0.2, Line(1, 0))
    assert 0 < line.slope < 0.1


def test_without_scores_or_their_spread_the_line_is_the_expected_one() -> None:
    expected = Line(30.0, 0.0)
    nothing = np.array([])
    assert calibrate(nothing, nothing > 0, 0.2, expected) == expected
    assert calibrate(np.ones(3), np.ones(3) > 0, 0.2, expected) == expected
