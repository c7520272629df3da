"""Trained adaptors on disk: safetensors and JSON, never pickles."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from retune.store.errors import TrainingError
from retune.store.shards import write_atomically

from .features import Prompts
from .model import AdaptedModel
from .training import TrainConfig, build_model

__all__ = ["Prediction", "SavedModel", "load_model", "predict", "save_model"]

_FORMAT_VERSION = 1
_WEIGHTS, _CONFIG = "adaptors.safetensors", "adaptors.json"


@dataclass(frozen=True)
class SavedModel:
    """A trained model with all that prediction needs; no store is needed.

    Attributes:
        model: The adapted model, with its descriptions' embeddings.
        config: How it was trained.
        findings: K names, in the order of the model's outputs.
        thresholds: Probability from which each finding is called positive, shape (K,),
            tuned on validation.
        fingerprint: Of the encoder whose embeddings it takes.
        dim: D of these embeddings.
    """

    model: AdaptedModel
    config: TrainConfig
    findings: tuple[str, ...]
    thresholds: npt.NDArray[np.float64]
    fingerprint: str
    dim: int


@dataclass(frozen=True)
class Prediction:
    """Scores of N images for K findings.

    Attributes:
        difference: s⁺ − s⁻, shape (N, K), within [−2, 2].
        positive: s⁺, shape (N, K), within [−1, 1].
        probability: Sigmoid of the logit, shape (N, K). It is calibrated no better than
            training made it.
    """

    difference: npt.NDArray[np.float32]
    positive: npt.NDArray[np.float32]
    probability: npt.NDArray[np.float32]


def predict(
    model: AdaptedModel, embedding: npt.NDArray[np.floating], batch_size: int = 16_384
) -> Prediction:
    """Score images.

    Args:
        model: On any device.
        embedding: Shape (N, D), as the backbone returned it.
        batch_size: Images at a time.
    """
    device = model.bias.device
    parts: list[tuple[torch.Tensor, ...]] = []
    model.eval()
    with torch.inference_mode():
        for start in range(0, len(embedding), batch_size):
            x = torch.from_numpy(embedding[start : start + batch_size]).to(device)
            positive, negative = model.similarities(x.float())
            logits = (positive - negative) * model.log_scale.exp() + model.bias
            parts.append((positive - negative, positive, logits.sigmoid()))
    return Prediction(
        *(torch.cat(column).cpu().numpy() for column in zip(*parts, strict=True))
    )


def save_model(folder: Path, saved: SavedModel) -> None:
    """Write a model into a folder of its own.

    Raises:
        StoreWriteError: The disk refused.
    """
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in saved.model.state_dict().items()
    }
    if saved.config.placement == "shared":  # one module under two names
        weights = {k: v for k, v in weights.items() if "adaptors.text." not in k}
    described = {
        "format_version": _FORMAT_VERSION,
        "findings": list(saved.findings),
        "thresholds": saved.thresholds.tolist(),
        "fingerprint": saved.fingerprint,
        "dim": saved.dim,
        "config": asdict(saved.config),
        "prompt_finding": saved.model.membership.argmax(dim=0).tolist(),
    }
    write_atomically(folder / _WEIGHTS, save(weights))
    write_atomically(folder / _CONFIG, json.dumps(described, indent=2).encode())


def _check_version(folder: Path, version: int) -> None:
    if version < 1:
        raise ValueError(f"format_version is {version}")
    if version > _FORMAT_VERSION:
        raise TrainingError(f"{folder} was written by a newer retune", "Update retune.")


def _check_parts(described: dict[str, Any], prompts: torch.Tensor) -> None:
    """Refuse a description whose parts do not fit each other or the weights.

    Raises:
        ValueError: Says which part.
    """
    findings, dim = described["findings"], described["dim"]
    if not findings or not all(isinstance(name, str) for name in findings):
        raise ValueError("findings is no list of names")
    if prompts.ndim != 2 or prompts.shape[1] != dim or not isinstance(dim, int):
        raise ValueError(f"dim is {dim}, but prompts has shape {tuple(prompts.shape)}")
    thresholds = np.array(described["thresholds"], dtype=np.float64)
    if thresholds.shape != (len(findings),) or not np.isfinite(thresholds).all():
        raise ValueError(f"thresholds are not {len(findings)} numbers")
    rows = np.array(described["prompt_finding"])
    if rows.shape != prompts.shape[:1] or rows.dtype.kind != "i":
        raise ValueError(f"prompt_finding is not {len(prompts)} whole numbers")
    # Every finding has descriptions of both polarities: rows 0..K-1 and K..2K-1.
    if set(rows.tolist()) != set(range(2 * len(findings))):
        raise ValueError("prompt_finding does not cover every finding twice")


def load_model(folder: Path) -> SavedModel:
    """Read what `save_model` wrote.

    Raises:
        TrainingError: A file is missing, damaged, or of a newer format.
    """
    hint = "Train again: the run's folder is damaged or was moved."
    try:
        described = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        weights = load((folder / _WEIGHTS).read_bytes())
        _check_version(folder, described["format_version"])
        _check_parts(described, weights["prompts"])
        findings = tuple(described["findings"])
        config = TrainConfig(**described["config"])
        rows = np.array(described["prompt_finding"])
        prompts = Prompts(
            weights["prompts"].numpy(), rows % len(findings), rows < len(findings)
        )
        model = build_model(config, prompts, len(findings), described["dim"])
        if config.placement == "shared":
            weights |= {
                k.replace("adaptors.image.", "adaptors.text."): v
                for k, v in weights.items()
                if k.startswith("adaptors.image.")
            }
        model.load_state_dict(weights)
        return SavedModel(
            model=model.eval(),
            config=config,
            findings=findings,
            thresholds=np.array(described["thresholds"]),
            fingerprint=described["fingerprint"],
            dim=described["dim"],
        )
    except TrainingError:
        raise
    except FileNotFoundError as error:
        raise TrainingError(f"{error.filename} is missing", hint) from error
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError,
    ) as error:  # fmt: skip
        raise TrainingError(f"{folder} cannot be read: {error}", hint) from error
