"""Figures agree with their definitions and with independent implementations."""

import numpy as np
import pytest
import reference_metrics
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics
from torchmetrics.functional import classification as torch_metrics
from torchmetrics.functional import mean_squared_error

from retune.pipeline.learn.stats import metrics
from retune.pipeline.learn.stats.bootstrap import bootstrap_macro_auroc
from retune.pipeline.learn.stats.intervals import delong


@st.composite
def _cases(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Scores with many ties, labels and a mask, shape (N, 2)."""
    n = draw(st.integers(2, 40))
    random = np.random.default_rng(draw(st.integers(0, 2**31)))
    scores = random.integers(0, draw(st.integers(1, 30)), (n, 2)) / 10
    targets = random.integers(0, 2, (n, 2)).astype(float)
    observed = random.random((n, 2)) < draw(st.sampled_from([0.5, 0.9, 1.0]))
    return scores, targets, observed


@given(_cases())
def test_auroc_is_the_share_of_pairs_in_order(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, targets, observed = case
    values = metrics.auroc(scores, targets, observed)
    for k in range(2):
        seen = observed[:, k]
        expected = reference_metrics.pairwise_auroc(
            scores[seen, k], targets[seen, k] > 0
        )
        np.testing.assert_allclose(values[k], expected, equal_nan=True)


@given(_cases())
def test_auroc_sees_only_the_order(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, targets, observed = case
    values = metrics.auroc(scores, targets, observed)
    np.testing.assert_allclose(
        metrics.auroc(np.exp(3 * scores) - 7, targets, observed), values
    )
    np.testing.assert_allclose(metrics.auroc(-scores, targets, observed), 1 - values)
    np.testing.assert_allclose(metrics.auroc(scores, 1 - targets, observed), 1 - values)


_FIGURES = {
    "auroc": lambda s, t, o: metrics.auroc(s, t, o),
    "average_precision": lambda s, t, o: metrics.average_precision(s, t, o),
    "sensitivity": lambda s, t, o: metrics.sensitivity_at_specificity(s, t, o),
    "f1": lambda s, t, o: metrics.f1_score(s, t, o, np.array([0.5, 0.5])),
    "brier": lambda s, t, o: metrics.brier_score(s, t, o),
    "calibration": lambda s, t, o: metrics.calibration_error(s / 3, t, o),
    "thresholds": lambda s, t, o: metrics.tune_thresholds(s, t, o),
    "delong": lambda s, t, o: delong(s, t, o).low,
}


@pytest.mark.parametrize("name", _FIGURES)
@given(case=_cases())
@settings(max_examples=30)
def test_unobserved_cells_have_no_influence(
    name: str, case: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> None:
    scores, targets, observed = case
    figure = _FIGURES[name]
    changed_scores = np.where(observed, scores, scores[::-1] + 1)
    changed_targets = np.where(observed, targets, 1 - targets)
    np.testing.assert_array_equal(
        figure(scores, targets, observed),
        figure(changed_scores, changed_targets, observed),
    )


@given(_cases())
def test_figures_agree_with_scikit_learn(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, targets, _ = case
    everything = np.ones(scores.shape, dtype=bool)
    for k in range(2):
        positive = targets[:, k] > 0
        if positive.all() or not positive.any():
            continue
        one = (scores[:, [k]], targets[:, [k]], everything[:, [k]])
        assert metrics.auroc(*one)[0] == pytest.approx(
            sklearn_metrics.roc_auc_score(positive, scores[:, k])
        )
        assert metrics.average_precision(*one)[0] == pytest.approx(
            sklearn_metrics.average_precision_score(positive, scores[:, k])
        )
        assert metrics.f1_score(*one, np.array([0.5]))[0] == pytest.approx(
            sklearn_metrics.f1_score(positive, scores[:, k] >= 0.5)
        )
        clipped = np.clip(scores[:, [k]], 0, 1)
        assert metrics.brier_score(clipped, *one[1:])[0] == pytest.approx(
            sklearn_metrics.brier_score_loss(positive, clipped[:, 0])
        )
        false, true, _thresholds = sklearn_metrics.roc_curve(
            positive, scores[:, k], drop_intermediate=False
        )
        assert metrics.sensitivity_at_specificity(*one)[0] == pytest.approx(
            true[1 - false >= 0.9].max()
        )


@given(
    n=st.integers(2, 200),
    seed=st.integers(0, 2**31),
    share=st.sampled_from([0.05, 0.5]),
)
@settings(max_examples=40)
def test_figures_agree_with_torchmetrics(n: int, seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    positive = random.random(n) < share
    positive[:2] = [False, True]
    probability = random.random((n, 1)).astype(np.float32)
    case = (probability, positive[:, None].astype(float), np.ones((n, 1), dtype=bool))
    scores, labels = torch.from_numpy(probability[:, 0]), torch.from_numpy(positive)
    for values, peer in (
        (metrics.auroc(*case), torch_metrics.binary_auroc),
        (metrics.average_precision(*case), torch_metrics.binary_average_precision),
        (metrics.f1_score(*case, np.array([0.5])), torch_metrics.binary_f1_score),
    ):
        assert values[0] == pytest.approx(float(peer(scores, labels.long())), abs=1e-5)
    error = torch_metrics.binary_calibration_error(scores, labels.long(), n_bins=15)
    assert metrics.calibration_error(*case)[0] == pytest.approx(float(error), abs=1e-4)
    brier = float(mean_squared_error(scores, labels.float()))
    assert metrics.brier_score(*case)[0] == pytest.approx(brier, abs=1e-5)
    best, _ = torch_metrics.binary_sensitivity_at_specificity(
        scores, labels.long(), min_specificity=0.9
    )
    values = metrics.sensitivity_at_specificity(*case)[0]
    assert values == pytest.approx(float(best), abs=1e-5)


@given(_cases())
def test_the_tuned_threshold_has_the_best_f1(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, targets, _ = case
    everything = np.ones(scores.shape, dtype=bool)
    tuned = metrics.tune_thresholds(scores, targets, everything)
    f1 = metrics.f1_score(scores, targets, everything, tuned)
    for k in range(2):
        positive = targets[:, k] > 0
        if positive.any():
            assert f1[k] == pytest.approx(
                reference_metrics.best_f1(scores[:, k], positive)
            )
        else:
            assert tuned[k] == 0.5


def test_a_finding_with_one_class_has_no_figure_rather_than_a_bad_one() -> None:
    scores, targets = np.array([[0.1], [0.2]]), np.zeros((2, 1))
    everything = np.ones((2, 1), dtype=bool)
    assert np.isnan(metrics.auroc(scores, targets, everything)[0])
    assert np.isnan(metrics.average_precision(scores, targets, everything)[0])
    assert np.isnan(delong(scores, targets, everything).low[0])
    nothing = np.zeros((2, 1), dtype=bool)
    assert np.isnan(metrics.brier_score(scores, targets, nothing)[0])
    assert np.isnan(metrics.calibration_error(scores, targets, nothing)[0])


def test_calibration_error_by_hand() -> None:
    probability = np.array([[0.95], [0.95], [0.05], [0.05]])
    targets = np.array([[1.0], [0.0], [0.0], [0.0]])
    everything = np.ones((4, 1), dtype=bool)
    errors = metrics.calibration_error(probability, targets, everything)[0]
    assert errors == pytest.approx((2 * 0.45 + 2 * 0.05) / 4)


@given(_cases())
def test_delong_agrees_with_its_structural_components(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    scores, targets, _ = case
    test = delong(scores, targets, np.ones(scores.shape, dtype=bool))
    for k in range(2):
        positive = targets[:, k] > 0
        if min(positive.sum(), (~positive).sum()) < 2:
            continue
        assert test.auroc[k] == pytest.approx(
            reference_metrics.pairwise_auroc(scores[:, k], positive)
        )
        assert test.variance[k] == pytest.approx(
            reference_metrics.delong_variance(scores[:, k], positive), abs=1e-12
        )


@given(_cases())
def test_intervals_hold_their_estimate_and_stay_within_bounds(
    case: tuple[np.ndarray, np.ndarray, np.ndarray],
) -> None:
    test = delong(*case)
    known = ~np.isnan(test.auroc)
    low, high, area = test.low[known], test.high[known], test.auroc[known]
    assert ((low >= 0) & (low <= area + 1e-12)).all()
    assert ((high <= 1) & (high >= area - 1e-12)).all()


def test_one_positive_says_next_to_nothing() -> None:
    scores = np.arange(100.0)[:, None]
    targets = np.zeros((100, 1))
    targets[90] = 1
    test = delong(scores, targets, np.ones((100, 1), dtype=bool))
    assert test.auroc[0] == pytest.approx(90 / 99)
    assert test.low[0] < 0.1
    targets[:], targets[99] = 0, 1
    perfect = delong(scores, targets, np.ones((100, 1), dtype=bool))
    assert perfect.auroc[0] == 1
    assert perfect.low[0] == pytest.approx(0.05)


def test_delong_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    random = np.random.default_rng(0)
    truth = 0.7602  # of two normal distributions one standard deviation apart
    covered = 0
    for _ in range(300):
        targets = np.repeat([0.0, 1.0], [60, 40])[:, None]
        scores = random.normal(size=(100, 1)) + targets
        test = delong(scores, targets, np.ones((100, 1), dtype=bool))
        covered += int(test.low[0] <= truth <= test.high[0])
    assert 0.91 <= covered / 300 <= 0.985


def _bootstrap(
    n_bootstrap: int = 200, seed: int = 0, per_patient: int = 1
) -> tuple[float, float]:
    random = np.random.default_rng(1)
    targets = np.repeat(random.integers(0, 2, (60, 2)), per_patient, axis=0).astype(
        float
    )
    scores = np.repeat(random.normal(size=(60, 2)), per_patient, axis=0) + targets
    patients = np.repeat(np.arange(60).astype(str), per_patient).astype(object)
    return bootstrap_macro_auroc(
        scores,
        targets,
        np.ones(targets.shape, dtype=bool),
        patients,
        findings=np.array([0, 1]),
        n_bootstrap=n_bootstrap,
        seed=seed,
    )


def test_the_bootstrap_is_seeded_and_holds_the_estimate() -> None:
    assert _bootstrap(seed=3) == _bootstrap(seed=3)
    assert _bootstrap(seed=3) != _bootstrap(seed=4)
    low, high = _bootstrap()
    assert 0.5 < low < 0.76 < high < 1


def test_repeating_images_of_the_same_patients_does_not_narrow_the_interval() -> None:
    once, often = _bootstrap(), _bootstrap(per_patient=5)
    assert often == pytest.approx(once)


def test_a_bootstrap_without_any_figure_is_nan() -> None:
    interval = bootstrap_macro_auroc(
        np.zeros((3, 1)),
        np.zeros((3, 1)),
        np.ones((3, 1), dtype=bool),
        np.array(["a", "b", "c"], dtype=object),
        findings=np.array([0]),
    )
    assert np.isnan(interval).all()
