"""Draws of patients: each is what it would be with the images written out."""

import numpy as np
import pytest
import reference_metrics
from hypothesis import given, settings
from hypothesis import strategies as st

from retune.pipeline.learn.stats.bootstrap import (
    bootstrap_auroc,
    draw_patients,
    mean_of_draws,
    percentile_interval,
)


@given(
    n=st.integers(1, 30),
    levels=st.integers(1, 20),
    seed=st.integers(0, 2**31),
    observed_share=st.sampled_from([0.5, 1.0]),
)
@settings(max_examples=60)
def test_every_draw_is_the_auroc_of_the_images_it_holds(
    n: int, levels: int, seed: int, observed_share: float
) -> None:
    random = np.random.default_rng(seed)
    scores = random.integers(0, levels, (n, 2)).astype(np.float32)
    targets = random.integers(0, 2, (n, 2)).astype(float)
    observed = random.random((n, 2)) < observed_share
    patient_id = random.integers(0, max(1, n // 2), n).astype(str).astype(object)
    draws = draw_patients(patient_id, seed=seed, n_bootstrap=5)
    table = bootstrap_auroc(scores, targets, observed, draws)
    assert table.shape == (5, 2)
    for draw in range(5):
        times = draws.times[draws.patient, draw].astype(int)
        for k in range(2):
            seen = observed[:, k]
            expected = reference_metrics.weighted_auroc(
                scores[seen, k], targets[seen, k] > 0, times[seen]
            )
            np.testing.assert_allclose(table[draw, k], expected, equal_nan=True)


def test_unobserved_cells_have_no_influence() -> None:
    random = np.random.default_rng(0)
    scores, targets = random.normal(size=(40, 2)), random.integers(0, 2, (40, 2))
    observed = random.random((40, 2)) < 0.6
    draws = draw_patients(np.arange(40).astype(object), seed=1, n_bootstrap=20)
    one = bootstrap_auroc(scores, targets, observed, draws)
    other = bootstrap_auroc(
        np.where(observed, scores, -scores),
        np.where(observed, targets, 1 - targets),
        observed,
        draws,
    )
    np.testing.assert_array_equal(one, other)


def test_a_patient_is_drawn_with_all_images() -> None:
    draws = draw_patients(np.array(["a", "b", "a"], dtype=object), seed=0)
    assert draws.patient.tolist() == [0, 1, 0]
    assert (draws.times.sum(axis=0) == 2).all()


@pytest.mark.parametrize(("n", "n_draws"), [(100, 1000), (10_000, 500), (60_000, 200)])
def test_more_images_need_fewer_draws(n: int, n_draws: int) -> None:
    patients = np.zeros(n, dtype=int).astype(object)
    assert draw_patients(patients, seed=0).times.shape == (1, n_draws)


def test_a_draw_without_a_finding_leaves_it_out_of_its_mean() -> None:
    table = np.array([[0.5, 0.7], [np.nan, 0.9], [np.nan, np.nan]])
    np.testing.assert_allclose(mean_of_draws(table), [0.6, 0.9, np.nan])
    low, high = percentile_interval(mean_of_draws(table))
    assert 0.6 < low < high < 0.9
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()
