"""Intervals over patients hold the truth about as often as they say."""

from collections.abc import Callable

import numpy as np
import pytest

from retune.pipeline.learn.stats.bootstrap import (
    bootstrap_auroc,
    draw_patients,
    draw_with_classes,
)
from retune.pipeline.learn.stats.catalog_names import Metric
from retune.pipeline.learn.stats.drawn_figures import draw_figures, interval_of_draws
from retune.pipeline.learn.stats.intervals import (
    mean_auroc_interval,
    patient_influence,
)
from retune.pipeline.learn.stats.metrics import (
    average_precision,
    brier_score,
    calibration_error,
    f1_score,
)

_PREVALENCE = np.array([0.07, 0.15, 0.3, 0.5])


def _images(
    random: np.random.Generator, n_patients: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Probabilities, labels and patients: one to three alike images of each."""
    number = np.repeat(np.arange(n_patients), random.integers(1, 4, n_patients))
    ill = random.random((n_patients, len(_PREVALENCE))) < _PREVALENCE
    of_patient = random.normal(size=ill.shape) + ill
    noise = 0.5 * random.normal(size=(len(number), len(_PREVALENCE)))
    logit = np.log(_PREVALENCE / (1 - _PREVALENCE)) - 0.4
    chance = 1 / (1 + np.exp(-0.8 * (of_patient[number] + noise) - logit))
    return chance, ill[number].astype(float), number


_FIGURES: dict[Metric, Callable[..., np.ndarray]] = {
    Metric.AVERAGE_PRECISION: average_precision,
    Metric.BRIER: brier_score,
    Metric.CALIBRATION_ERROR: calibration_error,
    Metric.F1: lambda p, y, o: f1_score(p, y, o, np.full(4, 0.3)),
}


@pytest.fixture(scope="module")
def truth() -> dict[Metric, np.ndarray]:
    chance, value, _ = _images(np.random.default_rng(0), 60_000)
    seen = np.ones(value.shape, dtype=bool)
    return {name: figure(chance, value, seen) for name, figure in _FIGURES.items()}


def test_figures_are_covered_by_their_intervals(
    truth: dict[Metric, np.ndarray],
) -> None:
    random = np.random.default_rng(1)
    hits = {name: np.zeros(4) for name in _FIGURES}
    n_runs = 120
    for run in range(n_runs):
        chance, value, patient = _images(random, 120)
        seen = np.ones(value.shape, dtype=bool)
        draws = draw_patients(patient, seed=run, n_bootstrap=100)
        drawn = draw_figures(
            chance, chance, value, seen, np.full(4, 0.3), _PREVALENCE, draws
        )
        for name, figure in _FIGURES.items():
            values = figure(chance, value, seen)
            for k in range(4):
                column = drawn.tables[name][:, k]
                excess = float(drawn.excess.get(name, np.zeros(4))[k])
                low, high = interval_of_draws(name, float(values[k]), column, excess)
                hits[name][k] += low <= truth[name][k] <= high
    for name, covered in hits.items():
        # The rarest finding has some eight positive patients.
        assert (covered[1:] / n_runs > 0.86).all(), (name, covered / n_runs)
        assert covered.mean() / n_runs > 0.88, (name, covered / n_runs)


def test_figures_in_a_draw_are_those_of_the_repeated_images() -> None:
    random = np.random.default_rng(2)
    chance, value, patient = _images(random, 40)
    chance = np.round(chance, 1)  # with ties
    seen = random.random(value.shape) < 0.9
    draws = draw_patients(patient, seed=0, n_bootstrap=6)
    drawn = draw_figures(
        chance, chance, value, seen, np.full(4, 0.3), _PREVALENCE, draws
    )
    for index in range(6):
        rows = np.repeat(
            np.arange(len(patient)), draws.times[patient, index].astype(int)
        )
        for name, figure in _FIGURES.items():
            expected = figure(chance[rows], value[rows], seen[rows])
            np.testing.assert_allclose(drawn.tables[name][index], expected, atol=1e-9)
        constant = np.broadcast_to(_PREVALENCE, value[rows].shape)
        np.testing.assert_allclose(
            drawn.tables[Metric.BRIER_CONSTANT][index],
            brier_score(constant, value[rows], seen[rows]),
        )


def test_the_mean_auroc_is_covered_though_draws_may_lack_a_class() -> None:
    """Findings with few positive patients, of which some plain draws have none."""
    prevalence = np.array([0.08, 0.1, 0.3])
    truth = 0.760249938906523  # Φ(1/√2)
    random = np.random.default_rng(3)
    n_runs, hits, n_used = 400, 0, 0
    for _ in range(n_runs):
        number = np.repeat(np.arange(100), random.integers(1, 4, 100))
        ill = random.random((100, 3)) < prevalence
        score = (random.normal(size=ill.shape) + ill)[number]
        value = ill[number].astype(float)
        if (ill.sum(axis=0) < 2).any():
            continue
        seen = np.ones(value.shape, dtype=bool)
        influence = patient_influence(score, value, seen, number)
        _, low, high = mean_auroc_interval(influence, np.ones(3, dtype=bool))
        hits += low <= truth <= high
        n_used += 1
    # Eight and ten positive patients on average; with fewer it is about 0.9.
    assert 0.92 < hits / n_used < 0.99


def test_no_draw_of_a_mean_lacks_a_class() -> None:
    random = np.random.default_rng(4)
    patient = np.arange(30)
    value = np.zeros((30, 2))
    value[:2, 0], value[:12, 1] = 1, 1
    score, seen = random.random((30, 2)), np.ones((30, 2), dtype=bool)
    plain = draw_patients(patient, seed=0, n_bootstrap=300)
    kept = draw_with_classes(patient, value, seen, seed=0, n_bootstrap=300)
    assert np.isnan(bootstrap_auroc(score, value, seen, plain)[:, 0]).mean() > 0.05
    assert not np.isnan(bootstrap_auroc(score, value, seen, kept)).any()
    assert (kept.times.sum(axis=0) == 30).all()
    # Where no draw lacks a class they are the same draws.
    same = draw_with_classes(
        patient, value[:, 1:], seen[:, 1:], seed=0, n_bootstrap=300
    )
    np.testing.assert_array_equal(same.times, plain.times)


def test_without_figures_there_is_no_interval() -> None:
    assert np.isnan(interval_of_draws(Metric.BRIER, float("nan"), np.ones(3))).all()
    nothing = np.full(3, np.nan)
    assert np.isnan(interval_of_draws(Metric.F1, 0.5, nothing)).all()
    interval = interval_of_draws(Metric.CALIBRATION_ERROR, 0.05, np.full(9, 0.05), 0.02)
    assert interval == pytest.approx((0.03, 0.05))


def test_exact_probabilities_have_the_calibration_error_of_chance() -> None:
    random = np.random.default_rng(3)
    patient = np.repeat(np.arange(150), 2)
    seen = np.ones((300, 1), dtype=bool)
    reached, by_chance = [], []
    for _ in range(20):
        chance = np.repeat(random.beta(1, 4, 150), 2)[:, np.newaxis]
        value = (random.random((150, 1)) < chance[::2]).astype(float).repeat(2, axis=0)
        drawn = draw_figures(
            chance, chance, value, seen, np.full(1, 0.5), np.full(1, 0.2),
            draw_patients(patient, seed=0, n_bootstrap=200),
        )  # fmt: skip
        reached.append(calibration_error(chance, value, seen)[0])
        by_chance.append(drawn.excess[Metric.CALIBRATION_ERROR][0])
    # Two alike images count as one: of independent ones it would be less by a third.
    assert np.mean(by_chance) == pytest.approx(np.mean(reached), rel=0.12)


def test_without_probabilities_chance_gives_no_figure() -> None:
    seen, value = np.ones((4, 1), dtype=bool), np.array([[0.0], [1], [0], [1]])
    nothing = np.full((4, 1), np.nan)
    drawn = draw_figures(
        nothing, value, value, seen, np.full(1, 0.5), np.full(1, 0.5),
        draw_patients(np.arange(4), seed=0, n_bootstrap=20),
    )  # fmt: skip
    assert np.isnan(drawn.excess[Metric.CALIBRATION_ERROR]).all()
