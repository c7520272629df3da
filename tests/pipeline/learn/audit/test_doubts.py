"""Doubts against cleanlab's, where it is installed."""

import numpy as np
import pytest

from retune.pipeline.learn.audit.doubts import doubt_labels


def test_doubts_are_those_of_cleanlab() -> None:
    filters = pytest.importorskip("cleanlab.filter")
    counts = pytest.importorskip("cleanlab.count")
    ranks = pytest.importorskip("cleanlab.rank")
    del filters
    random = np.random.default_rng(0)
    positive = random.random(500) < 0.2
    probability = np.clip(
        0.15 + 0.4 * positive + 0.15 * random.standard_normal(500), 0.01, 0.99
    )
    both = np.stack([1 - probability, probability], axis=1)
    doubts = doubt_labels(probability, positive)
    quality = ranks.get_label_quality_scores(
        positive.astype(int), both, adjust_pred_probs=True
    )
    np.testing.assert_allclose(doubts.disagreement, 1 - quality, atol=1e-12)
    joint = counts.compute_confident_joint(positive.astype(int), both, calibrate=False)
    assert (doubts.suspected & ~positive).sum() == joint[0, 1]
    assert (doubts.suspected & positive).sum() == joint[1, 0]


def test_a_flipped_label_is_the_most_doubtful() -> None:
    probability = np.r_[np.linspace(0.05, 0.3, 40), np.linspace(0.6, 0.95, 20)]
    positive = np.arange(60) >= 40
    positive[0] = True
    doubts = doubt_labels(probability, positive)
    assert doubts.disagreement.argmax() == 0
    assert doubts.suspected[0]
