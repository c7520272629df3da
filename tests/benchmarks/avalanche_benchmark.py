"""A whole `data` run of ours against Avalanche's Naive, EWC and Replay.

Both see the same features, tasks, adaptors, batches, passes and binary cross-entropy,
and both are scored by our AUROC after each task. Avalanche reads its batches from
tensors in memory.
"""

import warnings
from functools import partial
from typing import Any

import numpy as np
import torch
from learn_benchmark import FINDINGS, _row, _seconds, simulate
from measuring import Row
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from retune.pipeline.learn.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.features import Features, Prompts
from retune.pipeline.learn.metrics import auroc
from retune.pipeline.learn.scenarios import plan_scenario
from retune.pipeline.learn.targets import Targets, make_targets
from retune.pipeline.learn.train_config import TrainConfig, preset
from retune.pipeline.learn.training import build_model

_TASKS, _BATCH, _BUDGET = 5, 256, 500
_WARM_UP_IMAGES = 1_500


class _Logits(nn.Module):
    """Our adapted model as Avalanche calls models."""

    def __init__(self, config: TrainConfig, prompts: Prompts, dim: int) -> None:
        super().__init__()
        self.model = build_model(config, prompts, len(FINDINGS), dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.model.logits(x)


def _strategy(name: str, config: TrainConfig, model: nn.Module) -> Any:
    from avalanche.training import supervised
    from avalanche.training.plugins import EvaluationPlugin

    further = {
        "Naive": {},
        "EWC": {"ewc_lambda": 100.0},
        "Replay": {"mem_size": _BUDGET},
    }[name]
    return getattr(supervised, name)(
        model=model,
        optimizer=torch.optim.Adam(model.parameters(), lr=config.learning_rate),
        criterion=nn.BCEWithLogitsLoss(),
        train_mb_size=config.batch_size,
        train_epochs=config.epochs,
        evaluator=EvaluationPlugin(),
        **further,
    )


def _experiences(features: Features, targets: Targets) -> list[Any]:
    from avalanche.benchmarks import benchmark_from_datasets
    from avalanche.benchmarks.utils import AvalancheDataset, DataAttribute

    plan = plan_scenario(
        "data", targets, features.patient_id, features.rows("train"), FINDINGS,
        n_tasks=_TASKS,
    )  # fmt: skip
    parts = []
    for task in plan.tasks:
        x = torch.from_numpy(features.embedding[task.rows]).float()
        y = torch.from_numpy(targets.value[task.rows])
        zeros = torch.zeros(len(x), dtype=torch.long)
        tasks = DataAttribute(
            zeros.tolist(), "targets_task_labels", use_in_getitem=False
        )
        classes = DataAttribute(zeros.tolist(), "targets", use_in_getitem=False)
        parts.append(
            AvalancheDataset(
                [TensorDataset(x, y, zeros)], data_attributes=[tasks, classes]
            )
        )
    return list(benchmark_from_datasets(train=parts).train_stream)


def _avalanche_run(
    name: str, features: Features, prompts: Prompts, config: TrainConfig
) -> None:
    targets = make_targets(features.states)
    model = _Logits(config, prompts, features.embedding.shape[1])
    strategy = _strategy(name, config, model)
    test = features.rows("test")
    x = torch.from_numpy(features.embedding[test]).float()
    for experience in _experiences(features, targets):
        strategy.train(experience)
        with torch.inference_mode():
            scores = model.model.scores(x)[0].numpy()
        values = auroc(scores, targets.value[test], targets.observed[test])
        assert np.isfinite(values).any()


def avalanche_rows(n_images: int = 20_000, epochs: int = 5) -> list[Row]:
    """Three strategies beside the methods of ours that they are."""
    features, prompts = simulate(128, n_images)
    config = preset(
        "reference", batch_size=_BATCH, epochs=epochs, learning_rate=1e-3, seed=0
    )
    rows = []
    for name, method in (("Naive", "finetune"), ("EWC", "ewc"), ("Replay", "replay")):
        ours = ExperimentConfig(
            "data", train=config, method=method, n_tasks=_TASKS, with_bounds=False
        )
        whole = partial(run_experiment, features, prompts, ours)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Avalanche's own, about solvers and names
            theirs = partial(_avalanche_run, name, features, prompts, config)
            few = simulate(128, _WARM_UP_IMAGES)
            _avalanche_run(name, *few, config)  # what it loads when it is first used
            run_experiment(*few, ours)
            pair = (_seconds(whole), _seconds(theirs))
        rows.append(
            _row(
                f"whole data run of {n_images:,}, {method}: Avalanche's {name}",
                [pair],
                5,
            )
        )
    return rows
