"""Scores without a patient against sums from which the patient is really missing."""

import numpy as np
import pytest

from retune.pipeline.learn.audit.held_out import held_out_scores
from retune.pipeline.learn.methods.analytic.ridge import centre, posterior
from retune.pipeline.learn.methods.analytic.sums import sum_rows


def _problem(seed: int = 0) -> tuple[np.ndarray, ...]:
    random = np.random.default_rng(seed)
    phi = random.normal(size=(90, 6)) * (1, 1, 1, 2, 0.5, 1) + 2
    noisy = phi[:, :2] + random.normal(size=(90, 2))
    value = (noisy > 2.3).astype(np.float32)
    observed = random.random((90, 2)) < (0.8, 1.0)
    patient = random.integers(0, 40, 90)
    return phi, value, observed, patient, random.normal(size=(2, 6))


def test_leaving_out_is_refitting() -> None:
    phi, value, observed, patient, prior = _problem()
    scores = held_out_scores(lambda rows: phi[rows], value, observed, patient, prior)
    assert np.isnan(scores[~observed]).all()
    for k in range(2):
        seen = observed[:, k]
        train = sum_rows(
            lambda rows: phi[rows], 6, np.arange(90), value[:, [k]], observed[:, [k]]
        )
        base = centre(train.grams[0])
        assert base is not None
        moment = train.moments[0]
        spread = float(train.squares[0] - moment[-1] ** 2 / base.count)
        one = posterior(base, moment, spread, prior[k])
        ratio = float((one.chance.sum(axis=1) @ one.ratio)[0])
        start = float(one.chance.sum(axis=0) @ one.shares) * prior[k]
        penalty = np.diag(base.scale**2) / ratio
        for who in np.unique(patient[seen])[:12]:
            kept = seen & (patient != who)
            mean, middle = phi[kept].mean(axis=0), value[kept, k].mean()
            about = phi[kept] - mean
            weights = np.linalg.solve(
                about.T @ about + penalty,
                about.T @ (value[kept, k] - middle) + penalty @ start,
            )
            out = seen & (patient == who)
            wanted = middle + (phi[out] - mean) @ weights
            np.testing.assert_allclose(scores[out, k], wanted, atol=1e-5)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    phi, value, observed, patient, prior = _problem()
    whole = held_out_scores(lambda rows: phi[rows], value, observed, patient, prior)
    monkeypatch.setattr("retune.pipeline.learn.audit.held_out._BLOCK_VALUES", 30)
    parts = held_out_scores(lambda rows: phi[rows], value, observed, patient, prior)
    np.testing.assert_allclose(parts, whole, atol=1e-5)


def test_what_cannot_be_told_is_nan() -> None:
    phi, value, observed, patient, prior = _problem()
    value[:, 0] = 1
    scores = held_out_scores(lambda rows: phi[rows], value, observed, patient, prior)
    assert np.isnan(scores[:, 0]).all()
    alone = held_out_scores(
        lambda rows: phi[rows], value, observed, np.zeros(90, dtype=int), prior
    )
    assert np.isnan(alone).all()
