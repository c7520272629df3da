"""Intervals over patients agree with the bootstrap and with a public DeLong."""

import numpy as np
import pytest
import reference_metrics
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test

from retune.pipeline.learn.stats.bootstrap import bootstrap_auroc, draw_patients
from retune.pipeline.learn.stats.incremental import summarise, summary_intervals
from retune.pipeline.learn.stats.intervals import (
    PatientInfluence,
    delong,
    influence,
    mean_auroc_interval,
    patient_influence,
    patient_variance,
)


def _images(
    n_patients: int = 150, per_patient: int = 2, tasks: int = 1, seed: int = 0
) -> tuple[list[np.ndarray], np.ndarray, np.ndarray]:
    """Scores of each task, labels and patients; images of a patient are alike."""
    random = np.random.default_rng(seed)
    patient = np.repeat(np.arange(n_patients), per_patient)
    base = random.normal(size=(n_patients, 3))[patient]
    targets = (base + 0.7 * random.normal(size=base.shape) > 0.6).astype(float)
    scores = [
        base + (0.5 + 0.5 * task) * random.normal(size=base.shape)
        for task in range(tasks)
    ]
    return scores, targets, patient


@given(seed=st.integers(0, 2**31), n=st.integers(8, 50))
@settings(max_examples=40)
def test_delongs_variance_is_that_of_a_public_implementation(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, n).astype(float)
    targets[:4] = [0, 0, 1, 1]
    score = np.round(random.normal(size=n) * 3 + targets)
    test = delong(score[:, None], targets[:, None], np.ones((n, 1), dtype=bool))
    _, _, ends, _, area, _, _ = Delong_test(
        targets, score, random.normal(size=n), n_boot=2, random_state=0
    )
    assert test.auroc[0] == pytest.approx(area)
    half = 1.959963984540054 * np.sqrt(test.variance[0])
    assert ends[0] == pytest.approx(max(0, area - half), abs=1e-9)
    assert ends[1] == pytest.approx(min(1, area + half), abs=1e-9)


@given(seed=st.integers(0, 2**31), n=st.integers(3, 30))
def test_influence_says_what_leaving_an_image_out_would_do(seed: int, n: int) -> None:
    """First order: leaving out one of m images of a class moves A by −φ·m/(m − 1)."""
    random = np.random.default_rng(seed)
    positive = random.random(n) < 0.5
    positive[:4] = [True, True, False, False][: min(4, n)]
    if positive.sum() < 2:
        return
    score = random.integers(0, 6, n).astype(float)
    area, moved = influence(
        score[:, None], positive[:, None].astype(float), np.ones((n, 1), dtype=bool)
    )
    row = int(np.flatnonzero(positive)[0])
    kept = np.arange(n) != row
    without = reference_metrics.pairwise_auroc(score[kept], positive[kept])
    m = positive.sum()
    assert without - area[0] == pytest.approx(-moved[row, 0] * m / (m - 1))
    assert moved.sum() == pytest.approx(0)


@given(seed=st.integers(0, 2**31), n=st.integers(5, 40))
@settings(max_examples=40)
def test_with_one_image_each_patients_say_what_delong_says(seed: int, n: int) -> None:
    random = np.random.default_rng(seed)
    targets = random.integers(0, 2, (n, 1)).astype(float)
    score = np.round(random.normal(size=(n, 1)) * 3 + targets)
    everything = np.ones((n, 1), dtype=bool)
    influence = patient_influence(score, targets, everything, np.arange(n))
    area = influence.auroc[0]
    if np.isnan(area) or not 0 < area < 1:
        return
    variance = patient_variance([influence], np.ones((1, 1)))
    few = min(targets.sum(), n - targets.sum())
    if few > 1:
        assert variance == pytest.approx(influence.delong.variance[0], abs=1e-12)
        np.testing.assert_allclose(
            mean_auroc_interval(influence, np.ones(1, dtype=bool)),
            (area, influence.delong.low[0], influence.delong.high[0]),
        )
    else:
        assert variance >= influence.delong.variance[0] - 1e-12


def test_the_interval_of_the_mean_is_that_of_the_bootstrap() -> None:
    (score,), targets, patient = _images()
    everything = np.ones(targets.shape, dtype=bool)
    influence = patient_influence(score, targets, everything, patient)
    mean, low, high = mean_auroc_interval(influence, np.ones(3, dtype=bool))
    draws = draw_patients(patient.astype(object), seed=0, n_bootstrap=2000)
    means = bootstrap_auroc(score, targets, everything, draws).mean(axis=1)
    assert mean == pytest.approx(influence.auroc.mean())
    assert low == pytest.approx(np.percentile(means, 2.5), abs=0.01)
    assert high == pytest.approx(np.percentile(means, 97.5), abs=0.01)
    of_images = mean_auroc_interval(
        patient_influence(score, targets, everything, np.arange(len(score))),
        np.ones(3, dtype=bool),
    )
    assert high - low > 1.1 * (of_images[2] - of_images[1])


def test_every_figure_of_a_sequence_has_the_bootstraps_interval() -> None:
    scores, targets, patient = _images(tasks=4)
    everything = np.ones(targets.shape, dtype=bool)
    tasks = [patient_influence(one, targets, everything, patient) for one in scores]
    introduced = np.array([1, 2, 3])
    joint = patient_influence(scores[0] + scores[1], targets, everything, patient)
    intervals = summary_intervals(tasks, introduced, joint, tasks[0])
    draws = draw_patients(patient.astype(object), seed=0, n_bootstrap=1000)
    tables = [bootstrap_auroc(one, targets, everything, draws) for one in scores]
    held = bootstrap_auroc(scores[0] + scores[1], targets, everything, draws)
    drawn = [
        summarise(np.stack([t[i] for t in tables]), introduced, held[i], tables[0][i])
        for i in range(1000)
    ]
    for name, (low, high) in intervals.items():
        values = np.array([one[name] for one in drawn])
        width = 2 * 1.96 * values.std()
        assert high - low == pytest.approx(width, rel=0.12), name


def test_what_has_no_spread_to_estimate_has_no_narrow_interval() -> None:
    targets = np.array([[0.0], [1.0]])
    everything = np.ones((2, 1), dtype=bool)
    chosen = np.ones(1, dtype=bool)
    perfect = patient_influence(targets, targets, everything, np.array([0, 1]))
    assert mean_auroc_interval(perfect, chosen) == (1.0, 0.0, 1.0)
    assert np.isnan(mean_auroc_interval(perfect, ~chosen)).all()


def test_positives_of_one_patient_say_little_however_many_they_are() -> None:
    scores = np.linspace(0, 1, 60)[:, None]
    targets = np.zeros((60, 1))
    targets[[30, 35, 50]] = 1
    patient = np.arange(60)
    patient[[30, 35, 50]] = 30
    everything = np.ones((60, 1), dtype=bool)
    influence = patient_influence(scores, targets, everything, patient)
    _, low, high = mean_auroc_interval(influence, np.ones(1, dtype=bool))
    assert low < 0.2
    assert high > 0.9
    # Two models that score alike differ by nothing, whatever the patients.
    both = patient_variance([influence, influence], np.array([[1.0], [-1.0]]))
    assert both == 0


def test_nothing_to_look_at_gives_nothing() -> None:
    empty = np.zeros((0, 2))
    influence = patient_influence(empty, empty, empty > 0, np.zeros(0, dtype=int))
    assert isinstance(influence, PatientInfluence)
    assert np.isnan(influence.auroc).all()
    assert influence.moved.shape == (0, 2)
