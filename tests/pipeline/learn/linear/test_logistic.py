"""Hundreds of logistic regressions at once against scikit-learn, one by one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from retune.pipeline.learn.linear.logistic import fit_columns, standardise
from retune.pipeline.learn.linear.regression import logistic_regression


@pytest.mark.parametrize("n_images", [40, 300])
def test_columns_are_those_of_scikit_learn(n_images: int) -> None:
    random = np.random.default_rng(0)
    x = (0.2 * random.normal(size=(n_images + 20, 64)) + 3).astype(np.float16)
    rows = np.arange(n_images)
    label = x[rows][:, :3] + 0.1 * random.normal(size=(n_images, 3)) > (3, 3.1, 3.2)
    often = random.integers(0, 2, label.shape).astype(np.float64)
    strengths = np.repeat([1e-3, 1e-1], 3)
    weights, intercepts = fit_columns(
        standardise(x, rows), np.tile(label, 2), np.tile(often, 2), 1 / strengths
    )
    plain = x.astype(np.float64)
    scaled = StandardScaler().fit(plain[rows]).transform(plain)
    for j, strength in enumerate(strengths):
        peer = LogisticRegression(C=strength, max_iter=5000, tol=1e-8)
        peer.fit(scaled[rows], label[:, j % 3], sample_weight=often[:, j % 3])
        wanted = peer.decision_function(scaled)
        np.testing.assert_allclose(
            plain @ weights[:, j] + intercepts[j],
            wanted,
            atol=0.01 * wanted.std() + 1e-3,
        )


def test_what_one_class_alone_says_nothing_of_has_no_weights() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(30, 8)).astype(np.float32)
    label = np.stack([x[:, 0] > 0, np.ones(30, dtype=bool)], axis=1)
    weights, _, usable = logistic_regression(
        x, np.arange(30), label, np.ones_like(label), np.arange(30), seed=0
    )
    assert usable.tolist() == [True, False]
    assert weights[0, 0] > np.abs(weights[1:, 0]).max()
    assert not weights[:, 1].any()


def test_unobserved_cells_and_constant_features_have_no_influence() -> None:
    random = np.random.default_rng(2)
    x = random.normal(size=(40, 6)).astype(np.float32)
    x[:, 5] = 7
    label = (x[:, :1] + 0.5 * random.normal(size=(40, 1))) > 0
    observed = random.random(label.shape) < 0.7
    patient = np.arange(40) // 2
    one = logistic_regression(x, np.arange(40), label, observed, patient, 0)
    flipped = np.where(observed, label, ~label)
    other = logistic_regression(x, np.arange(40), flipped, observed, patient, 0)
    np.testing.assert_array_equal(one[0], other[0])
    assert one[0][5, 0] == 0
