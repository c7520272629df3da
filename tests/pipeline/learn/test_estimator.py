"""`AnalyticClassifier` keeps scikit-learn's contract and its own promises."""

from collections.abc import Callable

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import estimator_checks_generator

from retune import AnalyticClassifier, TrainingError

#: Arrays of other libraries than NumPy are not promised.
_CHECKS = [
    check
    for _, check in estimator_checks_generator(AnalyticClassifier())
    if check.func.__name__ != "check_array_api_input"
]


@pytest.mark.parametrize("check", _CHECKS, ids=lambda check: check.func.__name__)
def test_it_keeps_the_contract_of_scikit_learn(
    check: Callable[[AnalyticClassifier], None],
) -> None:
    check(AnalyticClassifier())


def _problem(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    x = random.normal(size=(n, 6)).astype(np.float32)
    y = (x[:, :3] + 0.2 * random.normal(size=(n, 3)) > 0.2).astype(np.float32)
    y[random.random(y.shape) < 0.3] = np.nan
    return x, y


def test_findings_with_unknown_labels_are_learned_each_by_itself() -> None:
    x, y = _problem()
    together = AnalyticClassifier().fit(x, y)
    for k in range(3):
        known = ~np.isnan(y[:, k])
        alone = AnalyticClassifier().fit(x[known], y[known, k])
        np.testing.assert_allclose(together.coef_[k], alone.coef_[0], atol=1e-9)
    chances = together.predict_proba(x)
    assert chances.shape == y.shape
    assert ((chances > 0) & (chances < 1)).all()
    assert set(np.unique(together.predict(x))) == {0, 1}


def test_batches_in_any_order_and_merged_sums_are_all_images_at_once() -> None:
    x, y = _problem()
    whole = AnalyticClassifier().fit(x, y)
    batches = np.array_split(np.random.default_rng(1).permutation(len(x)), 5)
    stepwise = AnalyticClassifier()
    for rows in batches:
        stepwise.partial_fit(x[rows], y[rows])
    sites = [AnalyticClassifier().fit(x[rows], y[rows]) for rows in batches]
    for one in (stepwise, sites[0].merge(*sites[1:]), sites[0] + sites[1]):
        if one.sums_.count(0) == whole.sums_.count(0):
            np.testing.assert_allclose(one.coef_, whole.coef_, atol=1e-8)
    before = sites[0].coef_.copy()
    assert (sites[0] + sites[1]) is not sites[0]
    np.testing.assert_array_equal(sites[0].coef_, before)


def test_classes_that_come_later_are_announced_first() -> None:
    x, _ = _problem()
    y = np.array(["a", "b", "c"] * 67)[: len(x)]
    first = y != "c"
    model = AnalyticClassifier().partial_fit(
        x[first], y[first], classes=["a", "b", "c"]
    )
    assert model.predict_proba(x).shape == (len(x), 3)
    model.partial_fit(x[~first], y[~first])
    np.testing.assert_allclose(model.coef_, AnalyticClassifier().fit(x, y).coef_)
    with pytest.raises(ValueError, match="not announced"):
        model.partial_fit(x[:1], ["d"])


def test_classifiers_that_do_not_fit_are_not_merged() -> None:
    x, y = _problem()
    with pytest.raises(TrainingError, match="other classes"):
        AnalyticClassifier().fit(x, y) + AnalyticClassifier().fit(x, y[:, :2])


@pytest.mark.parametrize("bad", [[[0, 2]], [[0, 1], [1, 0]], [[0.5, 1]]])
def test_labels_that_are_none_are_refused(bad: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="0, 1 or NaN"):
        AnalyticClassifier().fit([[1.0, 2.0]], bad)


def test_a_prior_is_what_nothing_learned_scores_by() -> None:
    x, y = _problem()
    y[:, 1] = np.nan
    prior = np.eye(3, 6)
    model = AnalyticClassifier(prior=prior).fit(x, y)
    np.testing.assert_array_equal(model.coef_[1], prior[1])


def test_a_finding_that_all_images_have_is_expected_again() -> None:
    x, y = _problem()
    y[:, 0], y[:, 1], y[:, 2] = 1, 0, np.nan
    chances = AnalyticClassifier().fit(x, y).predict_proba(x)
    assert (chances[:, 0] > 0.9).all()
    assert (chances[:, 1] < 0.1).all()
    np.testing.assert_allclose(chances[:, 2], 0.5)


def test_it_is_cloned_and_piped() -> None:
    x, y = _problem()
    labels = np.nan_to_num(y[:, 0])
    piped = make_pipeline(StandardScaler(), clone(AnalyticClassifier()))
    assert piped.fit(x, labels).score(x, labels) > 0.6
