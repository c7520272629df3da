"""Learning on a GPU gives the figures of the processor."""

import numpy as np
import pytest
import torch
from learning_samples import problem

from retune.pipeline.learn.methods.registry import METHODS
from retune.pipeline.learn.problem.config import TrainConfig
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment

pytestmark = pytest.mark.gpu


def experiment(method: str, scenario: str, device: str):
    features, prompts = problem(n_images=1200, dim=64)
    config = ExperimentConfig(
        scenario=scenario,
        train=TrainConfig(seed=0, epochs=5),
        preset="default",
        method=method,
        device=device,
        with_bounds=False,
    )
    return run_experiment(features, prompts, config)


@pytest.mark.parametrize("method", ["finetune", "analytic", "linear"])
@pytest.mark.parametrize("scenario", ["joint", "label"])
def test_figures_are_those_of_the_processor(
    method: str, scenario: str, device: str
) -> None:
    assert method in METHODS
    there = experiment(method, scenario, device).final.macro[0]
    here = experiment(method, scenario, "cpu").final.macro[0]
    assert there == pytest.approx(here, abs=1e-3)


def test_sums_are_those_of_the_processor(device: str) -> None:
    from retune.pipeline.learn.methods.analytic.sums import sum_rows

    features, _ = problem(n_images=600, dim=64)
    rows = np.arange(len(features.image_id))
    values = np.random.default_rng(0).integers(0, 2, (len(rows), 3)).astype(np.float32)
    seen = np.ones_like(values, dtype=bool)

    def phi(target: str):
        def of(chosen: np.ndarray) -> np.ndarray:
            x = torch.from_numpy(features.embedding[chosen]).to(target).float()
            return torch.nn.functional.normalize(x, dim=1).cpu().numpy()

        return of

    there = sum_rows(phi(device), 64, rows, values, seen)
    here = sum_rows(phi("cpu"), 64, rows, values, seen)
    np.testing.assert_allclose(there.grams, here.grams, rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(there.moments, here.moments, rtol=1e-6, atol=1e-6)
