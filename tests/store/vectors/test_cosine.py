"""Cosines of stored vectors against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays
from number_samples import finite_floats

from retune.store.vectors import cosine
from retune.store.vectors.cosine import cosines


def _plain(vectors: np.ndarray, direction: np.ndarray) -> np.ndarray:
    wide = vectors.astype(np.float64)
    return wide @ direction / np.linalg.norm(wide, axis=1)


@given(arrays(np.float16, (5, 3), elements=finite_floats("float16")))
def test_every_finite_half_is_the_number_it_is(vectors: np.ndarray) -> None:
    wide = np.empty(vectors.shape, dtype=np.float32)
    cosine._widen(vectors, wide)
    np.testing.assert_array_equal(wide, vectors.astype(np.float32))


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("n_rows", [0, 1, 7, 1000])
def test_cosines_are_those_of_numpy(
    dtype: type, n_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cosine, "_PIECE_VALUES", 128)  # many pieces, the last short
    random = np.random.default_rng(0)
    vectors = random.normal(size=(n_rows, 16)).astype(dtype)
    direction = random.normal(size=16).astype(np.float32)
    values = cosines(vectors, direction)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, _plain(vectors, direction), rtol=1e-5, atol=1e-6)
