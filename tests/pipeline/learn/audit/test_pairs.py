"""Pairs by blocks against all products at once."""

import numpy as np
import pytest

from retune.pipeline.learn.audit import pairs
from retune.pipeline.learn.audit.pairs import expected_limit, near_pairs, whitened


def test_blocks_find_every_pair_and_the_closest_come_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pairs, "_BLOCK", 7)
    random = np.random.default_rng(0)
    x = random.normal(size=(40, 5)).astype(np.float16)
    white = whitened(x)
    np.testing.assert_allclose(np.linalg.norm(white, axis=1), 1, atol=1e-6)
    near = near_pairs(white, np.arange(40), 0.3, most=99)
    every = np.triu(white @ white.T, 1)
    assert len(near.first) == (every >= 0.3).sum()
    assert (near.first < near.second).all()
    assert (np.diff(near.cosine) <= 0).all()
    np.testing.assert_allclose(every[near.first, near.second], near.cosine)


def test_a_copy_is_found_among_strangers_and_no_stranger() -> None:
    random = np.random.default_rng(1)
    x = random.normal(size=(300, 64)) + 5
    x[7] = x[200] + 0.1 * random.normal(size=64)
    white = whitened(x.astype(np.float32))
    pairs = near_pairs(white, np.arange(300), None)
    assert list(zip(pairs.first, pairs.second, strict=True)) == [(7, 200)]
    assert pairs.limit == expected_limit(white, np.arange(300), 0)


def test_equal_images_and_one_patient_are_no_error() -> None:
    same = whitened(np.ones((4, 3), dtype=np.float32))
    assert not len(near_pairs(same, np.arange(4), 0.9).first)
    x = np.random.default_rng(2).normal(size=(5, 3)).astype(np.float32)
    assert expected_limit(whitened(x), np.zeros(5, dtype=int), 0) == 1.0
