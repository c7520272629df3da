"""The paired test agrees with DeLong's formulas and with a public implementation."""

import numpy as np
import pytest
import reference_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy import stats

from retune.pipeline.learn.stats.paired import (
    holm,
    macro_difference,
    paired_delong,
    weigh_draws,
)


def _scores(
    n: int, seed: int, levels: int = 10
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two runs' scores with ties, related to each other, and labels; shape (n, 1)."""
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, (n, 1)).astype(float)
    targets[:4, 0] = [0, 0, 1, 1]
    shared = random.normal(size=(n, 1)) + targets
    runs = [
        np.round((shared + random.normal(size=(n, 1))) * levels / 3) for _ in range(2)
    ]
    return runs[0], runs[1], targets


@given(n=st.integers(6, 40), seed=st.integers(0, 2**31), levels=st.integers(1, 30))
def test_it_agrees_with_delongs_covariance(n: int, seed: int, levels: int) -> None:
    first, second, targets = _scores(n, seed, levels)
    test = paired_delong(first, second, targets, np.ones((n, 1), dtype=bool))
    positive = targets[:, 0] > 0
    covariance = reference_metrics.delong_covariance(
        first[:, 0], second[:, 0], positive
    )
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    if variance < 1e-15:
        assert np.isnan(test.p[0]) or test.p[0] == 1
        return
    z = test.difference[0] / np.sqrt(variance)
    assert test.p[0] == pytest.approx(2 * stats.norm.sf(abs(z)), abs=1e-9)
    half = stats.norm.ppf(0.975) * np.sqrt(variance)
    ends = np.clip(test.difference[0] + np.array([-half, half]), -1, 1)
    np.testing.assert_allclose([test.low[0], test.high[0]], ends, atol=1e-9)


@given(n=st.integers(10, 60), seed=st.integers(0, 2**31))
@settings(max_examples=40)
def test_it_agrees_with_a_public_implementation(n: int, seed: int) -> None:
    first, second, targets = _scores(n, seed)
    test = paired_delong(first, second, targets, np.ones((n, 1), dtype=bool))
    _z, p, _, _, one, two, how = Delong_test(
        targets[:, 0], first[:, 0], second[:, 0], n_boot=2, random_state=0
    )
    assert test.first[0] == pytest.approx(one)
    assert test.second[0] == pytest.approx(two)
    if how["method"] == "delong":
        assert test.p[0] == pytest.approx(p, abs=1e-9)


def test_swapping_the_runs_turns_the_difference_round() -> None:
    first, second, targets = _scores(50, 3)
    everything = np.ones((50, 1), dtype=bool)
    one = paired_delong(first, second, targets, everything)
    other = paired_delong(second, first, targets, everything)
    np.testing.assert_allclose(one.difference, -other.difference)
    np.testing.assert_allclose(one.low, -other.high)
    np.testing.assert_allclose(one.p, other.p)


def test_runs_that_order_images_alike_do_not_differ() -> None:
    first, _, targets = _scores(30, 0)
    everything = np.ones((30, 1), dtype=bool)
    test = paired_delong(first, np.exp(first / 9), targets, everything)
    assert test.difference[0] == 0
    assert test.p[0] == test.p_holm[0] == 1
    patients = np.arange(30).astype(str).astype(object)
    macro = macro_difference(first, first, targets, everything, patients)
    assert (macro.difference, macro.low, macro.high, macro.p) == (0, 0, 0, 1)


def test_what_cannot_be_tested_is_nan_and_does_not_count() -> None:
    first, second, targets = (np.repeat(one, 3, axis=1) for one in _scores(40, 1))
    targets[:, 1] = 0
    targets[:, 2] = 0
    targets[7, 2] = 1  # one positive
    test = paired_delong(first, second, targets, np.ones((40, 3), dtype=bool))
    assert np.isnan(test.p).tolist() == [False, True, True]
    assert np.isnan(test.difference).tolist() == [False, True, False]
    assert test.p_holm[0] == test.p[0]
    opposite = np.array([[0.0], [0.0], [1.0], [1.0]])
    perfect = paired_delong(opposite, -opposite, opposite, np.ones((4, 1), dtype=bool))
    assert perfect.difference[0] == 1
    assert np.isnan(perfect.p[0])


def test_no_difference_is_beyond_one() -> None:
    """The normal interval of a few images would say -1.1 to +1.6."""
    targets = np.array([[0.0], [0.0], [0.0], [1.0], [1.0]])
    first = np.array([[0.1], [0.2], [0.3], [0.4], [0.15]])
    second = np.array([[0.1], [0.2], [0.3], [0.0], [0.4]])
    test = paired_delong(first, second, targets, np.ones((5, 1), dtype=bool))
    assert test.difference[0] == pytest.approx(4 / 6 - 3 / 6)
    assert (test.low[0], test.high[0]) == (-1, 1)
    assert test.p[0] > 0.5


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_rule(values: list[float]) -> None:
    p = np.array([*values, np.nan])
    corrected = holm(p)
    assert np.isnan(corrected[-1])
    ordered = sorted(values)
    for value, adjusted in zip(values, corrected[:-1], strict=True):
        steps = [
            (len(values) - rank) * one
            for rank, one in enumerate(ordered)
            if one <= value
        ]
        assert adjusted == pytest.approx(min(1, max(steps)))


def test_unobserved_cells_have_no_influence() -> None:
    first, second, targets = _scores(60, 5)
    observed = np.random.default_rng(0).random((60, 1)) < 0.7
    one = paired_delong(first, second, targets, observed)
    other = paired_delong(
        np.where(observed, first, 99),
        np.where(observed, second, -99),
        np.where(observed, targets, 1),
        observed,
    )
    np.testing.assert_array_equal(one.p, other.p)


def _two_findings(gain: float) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(4)
    targets = random.integers(0, 2, (300, 2)).astype(float)
    noise = random.normal(size=(300, 2))
    patients = (np.arange(300) // 3).astype(str).astype(object)
    return gain * targets + noise, 0.3 * targets + noise, targets, patients


def test_the_mean_difference_is_found_where_there_is_one() -> None:
    first, second, targets, patients = _two_findings(1.5)
    observed = np.ones(targets.shape, dtype=bool)
    difference = macro_difference(first, second, targets, observed, patients, seed=2)
    assert 0 < difference.low < difference.difference < difference.high
    assert difference.p < 0.01
    assert difference.n_findings == 2
    assert difference == macro_difference(
        first, second, targets, observed, patients, seed=2
    )
    turned = macro_difference(second, first, targets, observed, patients, seed=2)
    assert turned.difference == pytest.approx(-difference.difference)
    assert turned.low == pytest.approx(-difference.high)
    assert turned.p == difference.p


def test_without_a_finding_there_is_no_difference_to_speak_of() -> None:
    first, second, _, patients = _two_findings(1.0)
    nothing = np.zeros(first.shape)
    difference = macro_difference(
        first, second, nothing, np.ones(first.shape, dtype=bool), patients
    )
    assert difference.n_findings == 0
    assert np.isnan(difference.p)


@given(
    n_draws=st.integers(40, 300),
    below=st.integers(0, 12),
    equal=st.integers(0, 12),
    mirrored=st.booleans(),
    seed=st.integers(0, 2**31),
)
def test_interval_and_p_never_disagree(
    n_draws: int, below: int, equal: int, mirrored: bool, seed: int
) -> None:
    """Few draws at or beyond 0 are the cases in which they could."""
    random = np.random.default_rng(seed)
    moved = random.uniform(0.001, 1, n_draws)
    moved[:below] *= -1
    moved[below : below + equal] = random.choice([0.0, 1e-17, -1e-17], equal)
    random.shuffle(moved)
    difference = weigh_draws(-moved if mirrored else moved)
    outside = difference.low > 0 or difference.high < 0
    assert (difference.p < 0.05) == outside
    assert difference.low <= difference.high
    assert difference.equal == equal / n_draws


def test_the_interval_is_that_of_the_percentiles() -> None:
    moved = np.random.default_rng(3).normal(0.1, 1, 1000)
    difference = weigh_draws(moved)
    np.testing.assert_allclose(
        (difference.low, difference.high), np.percentile(moved, [2.5, 97.5]), atol=0.03
    )


def test_a_difference_of_one_patient_is_told_as_such() -> None:
    """Its draws are 0 without this patient: an end of the interval is 0, p is large."""
    random = np.random.default_rng(5)
    targets = (np.arange(40) % 2).astype(float)[:, np.newaxis]
    first = targets + 0.1 * random.random((40, 1))
    second = first.copy()
    second[1] = 0.5 * (first[2] + first[4])  # one positive falls among the negatives
    patients = np.arange(40).astype(str).astype(object)
    observed = np.ones(targets.shape, dtype=bool)
    difference = macro_difference(first, second, targets, observed, patients)
    assert difference.difference > 0
    assert difference.low == 0
    # (1 - 1/40)^40 = 0.363 of the draws miss one patient of 40.
    assert difference.equal == pytest.approx(0.363, abs=0.05)
    assert difference.p == pytest.approx(2 * difference.equal, abs=0.01)


def test_no_draw_says_nothing() -> None:
    assert np.isnan(weigh_draws(np.full(5, np.nan))).all()
