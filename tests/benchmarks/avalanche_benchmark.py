"""A whole `data` run of ours against Avalanche's Naive, EWC and Replay.

Both see the same features, tasks, adaptors, batches, passes and binary cross-entropy,
and both are scored by our AUROC after each task. Avalanche reads its batches from
tensors in memory, in float32; ours computes as `train` does by itself, in bfloat16
where steps are large and the processor has it.
"""

import warnings
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from learn_benchmark import FINDINGS, _row, _seconds, simulate
from measuring import Row
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from retune.pipeline.learn.problem.config import TrainConfig, preset, training_precision
from retune.pipeline.learn.problem.features import Features, Prompts
from retune.pipeline.learn.problem.scenarios import plan_scenario
from retune.pipeline.learn.problem.targets import Targets, make_targets
from retune.pipeline.learn.runs.experiment import ExperimentConfig, run_experiment
from retune.pipeline.learn.stats.metrics import auroc
from retune.pipeline.learn.training.trainer import build_model

_TASKS, _BUDGET = 5, 500
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


def avalanche_rows(n_images: int | None = None, n_small: int = 20_000) -> list[Row]:
    """Three strategies beside the methods of ours that they are.

    Once as the reference trains, its batches of 6,144 and ten passes over all images
    that the benchmarks have, and once in small batches, where both sides do little
    else than multiply small matrices.
    """
    reference = preset("reference")
    small = preset("reference", batch_size=256, epochs=5, learning_rate=1e-3)
    return [
        row
        for size, config in ((n_images, reference), (n_small, small))
        for row in _pairs(size, config)
    ]


def _pairs(n_images: int | None, config: TrainConfig) -> list[Row]:
    features, prompts = simulate(128, n_images)
    few = simulate(128, _WARM_UP_IMAGES)
    precision = training_precision(config, features.embedding.shape)
    config = replace(config, precision=precision)
    rows = []
    for name, method in (("Naive", "finetune"), ("EWC", "ewc"), ("Replay", "replay")):
        ours = ExperimentConfig(
            "data", train=config, method=method, n_tasks=_TASKS, with_bounds=False
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Avalanche's own, about solvers and names
            _avalanche_run(name, *few, config)  # what it loads when it is first used
            run_experiment(*few, ours)
            pair = (
                _seconds(partial(run_experiment, features, prompts, ours)),
                _seconds(partial(_avalanche_run, name, features, prompts, config)),
            )
        size = f"{len(features.image_id):,} in batches of {config.batch_size:,}"
        rows.append(_row(f"run of {size}, {method}: Avalanche's {name}", [pair], 5))
    return rows
