"""How adaptors are trained: the options and their presets."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from retune.store.errors import ConfigurationError

from ...platform.processor import has_bfloat16
from .step_size import is_large

__all__ = [
    "PRECISIONS",
    "PRESETS",
    "Shuffle",
    "TrainConfig",
    "preset",
    "training_precision",
    "untrained",
]

#: The order in which a pass visits rows; see `training.shuffling`.
Shuffle = Literal["rows", "blocks"]
#: Of the arithmetic of a training step; weights are float32 in every case.
PRECISIONS = ("float32", "bfloat16")


@dataclass(frozen=True)
class TrainConfig:
    """How adaptors are trained.

    Attributes:
        adaptor: Kind, a name in `ADAPTORS`.
        placement: ``image``, ``text``, ``both`` or ``shared``.
        pooling: ``mean`` or ``max``.
        scale: Initial factor on the logit.
        learn_scale: Whether that factor is learned.
        learn_bias: Whether each finding has a learned offset.
        learning_rate: Learning rate of Adam.
        weight_decay: Weight decay of Adam (decoupled).
        batch_size: Images in a step.
        epochs: Passes over a task's rows, at most.
        epoch_steps: Steps in a pass, at most; a larger task's pass is a sample of it.
        patience: Stop a task after so many passes without a better validation loss and
            go back to the best; 0: train all epochs and keep the last.
        caution: Labels at which a task moves the weights half of the way that it
            trained them, n of them n/(n + caution) of it; 0: all the way. They are
            counted by `training.trainer.telling_labels`. The first task of adaptors
            that start at random weights always goes all the way.
        seed: Seed of weights and batches.
        precision: A name in `PRECISIONS`.
        shuffle: ``rows``, or ``blocks`` for vectors that stay in a file.
        options: What the method itself takes, by name.
    """

    adaptor: str = "residual"
    placement: str = "both"
    pooling: str = "mean"
    scale: float = 30.0
    learn_scale: bool = True
    learn_bias: bool = True
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2
    batch_size: int = 256
    epochs: int = 200
    epoch_steps: int = 100
    patience: int = 20
    caution: float = 200.0
    seed: int = 0
    precision: str = "float32"
    shuffle: Shuffle = "rows"
    options: Mapping[str, float | str] = field(default_factory=dict)


#: `default` was chosen on 697 real radiographs, test patients of five splits set aside
#: first and folds made of the rest, among learning rates 3e-4 to 3e-3, weight decays
#: 0.01 to 3, scales 3 to 60, batches of 64 to 1024, patience 10 to 40, the placements,
#: and embeddings as they are, centred, or centred inside the residual adaptor. Scale 30
#: gained 0.009 +- 0.003 AUROC over 10 jointly; centring gained about as much again. An
#: mlp on centred embeddings was a little better jointly, but does not start from
#: zero-shot. Batches of 64 were better jointly and worse in `label`.
#: Caution was chosen among 0, a fixed half, and 50 to 400 labels (docs/method.md).
#: `reference` is what the authors' research code does.
PRESETS: Mapping[str, TrainConfig] = {
    "default": TrainConfig(),
    "reference": TrainConfig(
        adaptor="mlp",
        scale=1.0,
        learn_scale=False,
        learn_bias=False,
        learning_rate=1e-4,
        weight_decay=0.0,
        batch_size=6144,
        epochs=10,
        epoch_steps=1_000_000,
        patience=0,
        caution=0.0,
        seed=27,
    ),
}


def preset(name: str, **changes: object) -> TrainConfig:
    """A preset with some fields changed; changes that are None are left out.

    Raises:
        ConfigurationError: There is no preset of this name, or a value cannot be used.

    >>> preset("reference", epochs=3, seed=None).epochs
    3
    """
    if name not in PRESETS:
        raise ConfigurationError(
            f"unknown `preset` {name}", f"Use one of {', '.join(PRESETS)}."
        )
    given = {key: value for key, value in changes.items() if value is not None}
    config = replace(PRESETS[name], **given)  # type: ignore[arg-type]  # keys are fields
    if config.precision not in PRECISIONS:
        raise ConfigurationError(
            f"unknown `precision` {config.precision}",
            f"Use one of {', '.join(PRECISIONS)}.",
        )
    if not (np.isfinite(config.learning_rate) and config.learning_rate > 0):
        raise ConfigurationError(
            f"`learning_rate` {config.learning_rate:g} must be a finite number above 0",
            "Use a number such as 1e-3.",
        )
    if not 0 <= config.caution < float("inf"):
        raise ConfigurationError(
            f"`caution` {config.caution:g} must be a finite number of at least 0",
            "Use a number of labels such as 100, or 0 for none.",
        )
    return config


def training_precision(
    config: TrainConfig, shape: tuple[int, ...], device: str = "cpu"
) -> str:
    """The arithmetic that ``auto`` means for some embeddings on this machine.

    bfloat16 where steps are large and the processor or accelerator multiplies it by
    itself, else float32: small steps gain nothing, and keep their figures on every
    machine. Validation AUROC stays within 0.002 of that of float32 (ARCHITECTURE.md
    has the figures). float16 is never taken: its range is too small for gradients
    without scaling.

    Args:
        config: With the size of a batch.
        shape: Shape of the embeddings, (N, D).
        device: ``cpu`` or ``cuda``.

    >>> training_precision(TrainConfig(batch_size=256), (500, 128))
    'float32'
    """
    if not is_large(config.batch_size, shape):
        return "float32"
    if device == "cuda":
        import torch  # takes seconds, and this module must not

        return "bfloat16" if torch.cuda.is_bf16_supported() else "float32"
    return "bfloat16" if has_bfloat16() else "float32"


def untrained(config: TrainConfig) -> TrainConfig:
    """The configuration of the same model without adaptors: zero-shot."""
    return replace(config, adaptor="identity")
