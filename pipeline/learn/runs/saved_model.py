"""Trained adaptors on disk: safetensors and JSON, never pickles."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from retune.store.atomic_files import write_atomically
from retune.store.errors import RetuneError, TrainingError
from retune.store.plural import counted
from retune.store.vectors.mapped_pages import release_pages

from ..methods.registry import method_named
from ..problem.config import TrainConfig
from ..problem.contract import FamiliarModel, Model
from ..problem.features import Prompts
from ..problem.prediction import Prediction
from ..stats.operating_point import ThresholdOrigin

__all__ = [
    "SavedModel",
    "describe_model",
    "load_model",
    "model_weights",
    "predict",
    "restore_model",
    "save_model",
]

#: 2 names the method; what is of 1 was fine-tuned. 3 says where thresholds come from.
_FORMAT_VERSION = 3
_WEIGHTS, _CONFIG = "adaptors.safetensors", "adaptors.json"


@dataclass(frozen=True)
class SavedModel:
    """A trained model with all that prediction needs; no store is needed.

    Attributes:
        model: The adapted model, with its descriptions' embeddings.
        config: How it was trained.
        findings: K names, in the order of the model's outputs.
        thresholds: Probability from which each finding is called positive, shape (K,),
            chosen on validation.
        fingerprint: Fingerprint of the encoder whose embeddings it takes.
        dim: D of these embeddings.
        prompts: The descriptions.
        method: Name of the method that learned it.
        origins: Where each threshold comes from; empty: as before this was kept.
        prevalence: Share of positives among training and validation labels, shape (K,),
            which a constant would answer; NaN: not known.
    """

    model: Model
    config: TrainConfig
    findings: tuple[str, ...]
    thresholds: npt.NDArray[np.float64]
    fingerprint: str
    dim: int
    prompts: Prompts
    method: str = "finetune"
    origins: tuple[ThresholdOrigin, ...] = ()
    prevalence: npt.NDArray[np.float64] | None = None

    @property
    def threshold_origins(self) -> tuple[ThresholdOrigin, ...]:
        """One for each finding, whatever version of retune saved the model."""
        if self.origins:
            return self.origins
        return tuple(map(ThresholdOrigin.before, self.thresholds.tolist()))

    @property
    def constant(self) -> npt.NDArray[np.float64]:
        """`prevalence`, or NaN for each finding."""
        if self.prevalence is not None:
            return self.prevalence
        return np.full(len(self.findings), np.nan)


def predict(
    model: Model,
    embedding: npt.NDArray[np.floating],
    batch_size: int = 16_384,
    rows: npt.NDArray[np.int64] | None = None,
    *,
    detailed: bool = False,
) -> Prediction:
    """Score images.

    Args:
        model: On any device.
        embedding: Shape (N, D), as the backbone returned it.
        batch_size: Images at a time.
        rows: Score only these; the other rows of the result are 0, and take no memory
            until they are written to. None: all.
        detailed: Also uncertainty, distance and whether an image is unlike those that
            were trained on, where the model knows them.
    """
    device = _device_of(model)
    model.eval()
    columns: list[npt.NDArray[np.float32]] | None = None
    with torch.inference_mode():
        for start in range(
            0, max(1, len(embedding if rows is None else rows)), batch_size
        ):
            part = (
                slice(start, start + batch_size)
                if rows is None
                else rows[start : start + batch_size]
            )
            scores = model.scores(torch.from_numpy(embedding[part]).to(device).float())
            if columns is None:
                shape = (len(embedding), scores[0].shape[1])
                columns = [np.zeros(shape, dtype=np.float32) for _ in scores]
            for column, values in zip(columns, scores, strict=True):
                column[part] = values.cpu().numpy()
            release_pages(embedding)
    assert columns is not None
    difference, positive, probability = columns
    plain = Prediction(difference, positive, probability)
    if detailed and isinstance(model, FamiliarModel):
        return _with_familiarity(plain, model, embedding, batch_size, rows)
    return plain


def _device_of(model: Model | torch.nn.Module) -> torch.device:
    """Where the tensors of a model are."""
    if isinstance(model, torch.nn.Module):
        tensor = next(chain(model.parameters(), model.buffers()))
    else:
        tensor = next(iter(model.state_dict().values()))
    device: torch.device = tensor.device
    return device


def _with_familiarity(
    prediction: Prediction,
    model: FamiliarModel,
    embedding: npt.NDArray[np.floating],
    batch_size: int,
    rows: npt.NDArray[np.int64] | None,
) -> Prediction:
    """The same with uncertainty, distance and flag; NaN and False in other rows."""
    assert isinstance(model, torch.nn.Module)
    device = _device_of(model)
    chosen = np.arange(len(embedding)) if rows is None else rows
    spread = np.full(prediction.difference.shape, np.nan, dtype=np.float32)
    distance = np.full(len(embedding), np.nan, dtype=np.float32)
    flag = np.zeros(len(embedding), dtype=bool)
    with torch.inference_mode():
        for start in range(0, len(chosen), batch_size):
            part = chosen[start : start + batch_size]
            x = torch.from_numpy(embedding[part]).to(device).float()
            away = model.distance(x)
            spread[part] = model.uncertainty(x).cpu().numpy()
            distance[part] = away.cpu().numpy()
            flag[part] = model.unlike_seen(away).cpu().numpy()
    return replace(
        prediction, uncertainty=spread, distance=distance, out_of_distribution=flag
    )


def save_model(folder: Path, saved: SavedModel) -> None:
    """Write a model into a folder of its own.

    Raises:
        StoreWriteError: The disk refused.
    """
    described = json.dumps(describe_model(saved), indent=2)
    write_atomically(folder / _WEIGHTS, save(model_weights(saved)))
    write_atomically(folder / _CONFIG, described.encode())


def model_weights(saved: SavedModel) -> dict[str, torch.Tensor]:
    """The tensors of a model and its descriptions' embeddings, by name."""
    weights = {
        name: tensor.detach().cpu().contiguous()
        for name, tensor in saved.model.state_dict().items()
    }
    weights["prompts"] = torch.from_numpy(saved.prompts.embedding).contiguous()
    if saved.config.placement == "shared":  # one module under two names
        weights = {k: v for k, v in weights.items() if "adaptors.text." not in k}
    return weights


def describe_model(saved: SavedModel) -> dict[str, Any]:
    """All of a model but its tensors, as plain values."""
    return {
        "format_version": _FORMAT_VERSION,
        "findings": list(saved.findings),
        "thresholds": saved.thresholds.tolist(),
        "fingerprint": saved.fingerprint,
        "dim": saved.dim,
        "method": saved.method,
        "config": asdict(saved.config),
        "threshold_origins": [asdict(one) for one in saved.origins],
        "prevalence": _numbers(saved.prevalence),
        "prompt_finding": _prompt_rows(saved.prompts, len(saved.findings)),
    }


def _numbers(values: npt.NDArray[np.float64] | None) -> list[float | None] | None:
    """As JSON has them: no NaN."""
    if values is None:
        return None
    return [None if np.isnan(one) else one for one in values.tolist()]


def _prompt_rows(prompts: Prompts, n_findings: int) -> list[int]:
    """K for a positive description of finding k, K + k for a negative one."""
    rows: list[int] = (
        prompts.finding + np.where(prompts.positive, 0, n_findings)
    ).tolist()
    return rows


def _read_numbers(
    values: list[float | None] | None,
) -> npt.NDArray[np.float64] | None:
    if values is None:
        return None
    return np.array([np.nan if one is None else one for one in values], dtype=float)


def _check_version(folder: object, version: int) -> None:
    if version < 1:
        raise ValueError(f"format_version is {version}")
    if version > _FORMAT_VERSION:
        raise TrainingError(f"{folder} was written by a newer retune", "Update retune.")


def _is_new(described: Mapping[str, Any]) -> bool:
    """Whether the file says where thresholds come from."""
    return bool(described["format_version"] > 2)


def _check_parts(described: Mapping[str, Any], prompts: torch.Tensor) -> None:
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
        raise ValueError(f"thresholds are not {counted(len(findings), 'number')}")
    for name in ("threshold_origins", "prevalence") if _is_new(described) else ():
        kept = described[name]
        if kept and len(kept) != len(findings):
            raise ValueError(
                f"{name} has {counted(len(kept), 'value')}, not {len(findings)}"
            )
    rows = np.array(described["prompt_finding"])
    if not len(prompts) and not len(rows):
        return  # of an encoder that knows images only
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
        return restore_model(described, weights, folder)
    except RetuneError:
        raise
    except FileNotFoundError as error:
        raise TrainingError(f"{error.filename} is missing", hint) from error
    except (
        OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError,
    ) as error:  # fmt: skip
        raise TrainingError(f"{folder} cannot be read: {error}", hint) from error


def restore_model(
    described: Mapping[str, Any], weights: dict[str, torch.Tensor], source: object
) -> SavedModel:
    """A model from what `describe_model` and `model_weights` gave.

    Args:
        described: Plain values.
        weights: Tensors by name.
        source: What messages call the file.

    Raises:
        TrainingError: It is of a newer format.
        KeyError: Something is missing; as `RuntimeError`, `TypeError` and `ValueError`.
    """
    _check_version(source, described["format_version"])
    _check_parts(described, weights["prompts"])
    findings = tuple(described["findings"])
    config = TrainConfig(**described["config"])
    rows = np.array(described["prompt_finding"])
    prompts = Prompts(
        weights["prompts"].numpy(), rows % len(findings), rows < len(findings)
    )
    version = described["format_version"]
    method = described["method"] if version > 1 else "finetune"
    method_class = method_named(method)
    model = method_class.build_model(config, prompts, len(findings), described["dim"])
    if config.placement == "shared":
        weights |= {
            k.replace("adaptors.image.", "adaptors.text."): v
            for k, v in weights.items()
            if k.startswith("adaptors.image.")
        }
    known = model.state_dict().keys()
    model.load_state_dict(
        {k: v for k, v in weights.items() if k != "prompts" or k in known}
    )
    model.eval()
    return SavedModel(
        model=model,
        config=config,
        findings=findings,
        thresholds=np.array(described["thresholds"]),
        fingerprint=described["fingerprint"],
        dim=described["dim"],
        prompts=prompts,
        method=method,
        origins=tuple(
            map(ThresholdOrigin.from_json, described["threshold_origins"])
            if _is_new(described)
            else ()
        ),
        prevalence=_read_numbers(
            described["prevalence"] if _is_new(described) else None
        ),
    )
