"""A run's state in one file, to go on learning later or elsewhere.

Safetensors with a JSON text in its header. What a file of ``analytic`` reveals: counts
of images and of positives per finding, and sums of embeddings and of their products;
with very few images in a task, single embeddings could be solved for. It holds no
image, no embedding and no id. A file of ``replay`` holds embeddings of patients.
"""

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from retune.store.atomic_files import write_atomically
from retune.store.errors import FingerprintMismatchError, TrainingError
from retune.store.plural import counted

from ..methods.analytic.counted import check_apart
from ..methods.analytic.method import merge_states
from ..problem.config import TrainConfig
from ..problem.features import Prompts
from .saved_model import SavedModel, describe_model, model_weights, restore_model
from .selection import Contribution

__all__ = [
    "STATE_FILE",
    "CarriedModel",
    "RunState",
    "load_state",
    "merge_runs",
    "refuse_known",
    "save_state",
]

STATE_FILE = "state.safetensors"
_FORMAT_VERSION = 2
_PREFIX = "model."
_PROMPTS = "prompts"
_EMPTY: Mapping[str, Any] = MappingProxyType({})
_HINT = "Take the file from its run again, or train again."


@dataclass(frozen=True)
class CarriedModel:
    """A model as text and tensors.

    Attributes:
        run_id: Id of the run.
        encoder: JSON of the encoder's specification, which names the backbone.
        described: What `describe_model` gives.
        weights: What `model_weights` gives.
    """

    run_id: str
    encoder: str
    described: Mapping[str, Any]
    weights: Mapping[str, Tensor]

    @classmethod
    def of(cls, run_id: str, encoder: str, saved: SavedModel) -> "CarriedModel":
        """A model as it is written.

        Args:
            run_id: Id of the run.
            encoder: JSON of the encoder's specification.
            saved: The model.
        """
        return cls(run_id, encoder, describe_model(saved), model_weights(saved))

    @classmethod
    def from_parts(
        cls,
        header: Mapping[str, Any] | None,
        tensors: Mapping[str, Tensor],
        prompts: Tensor,
    ) -> "CarriedModel | None":
        """What a state file holds; None for older files.

        Args:
            header: What `header` gave.
            tensors: All tensors of the file.
            prompts: The descriptions' embeddings.

        Raises:
            KeyError: The header is damaged.
        """
        if header is None:
            return None
        weights = {
            name.removeprefix(_PREFIX): tensor
            for name, tensor in tensors.items()
            if name.startswith(_PREFIX)
        }
        weights[_PROMPTS] = prompts
        return cls(header["run_id"], header["encoder"], header["described"], weights)

    @property
    def header(self) -> dict[str, Any]:
        """The text for the header of a state file."""
        return {
            "run_id": self.run_id,
            "encoder": self.encoder,
            "described": dict(self.described),
        }

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The tensors for a state file, each with a name that no state uses.

        The descriptions' embeddings are left out: a state has them by itself. Copies,
        because safetensors refuses tensors that share memory.
        """
        return {
            f"{_PREFIX}{name}": tensor.clone()
            for name, tensor in self.weights.items()
            if name != _PROMPTS
        }

    def restored(self, source: object) -> SavedModel:
        """The model.

        Args:
            source: What messages call the file.

        Raises:
            TrainingError: The parts do not fit each other.
        """
        try:
            return restore_model(self.described, dict(self.weights), source)
        except (KeyError, TypeError, ValueError, RuntimeError) as error:
            raise TrainingError(
                f"the model in {source} cannot be read: {error}",
                "Take the file from its run again.",
            ) from error


@dataclass(frozen=True)
class RunState:
    """What it takes to go on.

    Attributes:
        method: Name of the method.
        config: How it learned.
        findings: K names, in the order of the tensors.
        fingerprint: Fingerprint of the encoder whose embeddings it saw.
        prompts: The descriptions of the findings.
        tensors: The method's own.
        contributions: What it has learned from, a digest for the images of a dataset;
            empty for files of version 1.
        model: What the run answers with, to predict from the file alone; None for
            older files, and for states that were never evaluated.
    """

    method: str
    config: TrainConfig
    findings: tuple[str, ...]
    fingerprint: str
    prompts: Prompts
    tensors: Mapping[str, Tensor]
    contributions: tuple[Contribution, ...] = ()
    model: CarriedModel | None = None


def save_state(path: Path, state: RunState, *, local: bool = False) -> None:
    """Write a state.

    Args:
        path: Path of the file.
        state: What to write.
        local: Also what is of use with the same images only.

    Raises:
        StoreWriteError: The disk refused.
    """
    described = {
        "format_version": _FORMAT_VERSION,
        "method": state.method,
        "config": asdict(state.config),
        "findings": list(state.findings),
        "fingerprint": state.fingerprint,
        "prompt_finding": state.prompts.finding.tolist(),
        "prompt_positive": state.prompts.positive.tolist(),
        "contributions": [asdict(one) for one in state.contributions],
    }
    tensors = {
        f"state.{name}": tensor.detach().cpu().contiguous()
        for name, tensor in state.tensors.items()
        if local or not name.startswith("local.")
    }
    if state.model is not None:
        described["model"] = state.model.header
        tensors |= state.model.tensors
    tensors["prompts"] = torch.from_numpy(np.ascontiguousarray(state.prompts.embedding))
    described["checksum"] = _checksum(tensors, described)
    write_atomically(path, save(tensors, metadata={"retune": json.dumps(described)}))


def _checksum(tensors: Mapping[str, Tensor], header: Mapping[str, Any] = _EMPTY) -> int:
    """crc32 over header and tensors by name: a file that travels may be damaged."""
    text = json.dumps(dict(header), sort_keys=True) if header else ""
    checksum = zlib.crc32(text.encode())
    for name in sorted(tensors):
        checksum = zlib.crc32(name.encode(), checksum)
        checksum = zlib.crc32(tensors[name].numpy().tobytes(), checksum)
    return checksum


def _check_bytes(tensors: Mapping[str, Tensor], described: Mapping[str, Any]) -> None:
    """Compare with the checksum, which older files do not have."""
    is_old = described["format_version"] < 2
    if is_old and "checksum" not in described:
        return
    header = {name: one for name, one in described.items() if name != "checksum"}
    if _checksum(tensors, _EMPTY if is_old else header) != described["checksum"]:
        raise ValueError("its checksum is wrong: some bytes are not as written")


def _check_version(path: Path, version: int) -> None:
    if version > _FORMAT_VERSION:
        raise TrainingError(f"{path} was written by a newer retune", "Update retune.")


def _check_prompts(prompts: Prompts) -> None:
    lengths = {len(prompts.embedding), len(prompts.finding), len(prompts.positive)}
    if len(lengths) > 1 or prompts.embedding.ndim != 2:
        raise ValueError("its descriptions do not fit each other")


def load_state(path: Path) -> RunState:
    """Read what `save_state` wrote.

    Raises:
        TrainingError: The file is missing, damaged, or of a newer format.
    """
    try:
        with safe_open(path, framework="pt") as file:
            described = json.loads((file.metadata() or {})["retune"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
        _check_version(path, described["format_version"])
        _check_bytes(tensors, described)
        prompts = Prompts(
            tensors.pop("prompts").numpy(),
            np.array(described["prompt_finding"], dtype=np.int64),
            np.array(described["prompt_positive"], dtype=bool),
        )
        findings = tuple(map(str, described["findings"]))
        state = RunState(
            described["method"],
            # Runs from before there was caution had none.
            TrainConfig(**({"caution": 0.0} | described["config"])),
            findings,
            described["fingerprint"],
            prompts,
            {
                name.removeprefix("state."): one
                for name, one in tensors.items()
                if not name.startswith("model.")
            },
            tuple(Contribution(**one) for one in described.get("contributions", [])),
            CarriedModel.from_parts(
                described.get("model"), tensors, torch.from_numpy(prompts.embedding)
            ),
        )
        _check_prompts(prompts)
    except TrainingError:
        raise
    except FileNotFoundError as error:
        raise TrainingError(
            f"{path} is missing",
            "Runs of older versions and of zero-shot have no state: train again.",
        ) from error
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError,
    ) as error:  # fmt: skip
        raise TrainingError(f"{path} cannot be read: {error}", _HINT) from error
    if prompts or state.method != "analytic":  # whose prior is 0 without texts
        prompts.check(findings)
    return state


def merge_runs(states: list[RunState]) -> RunState:
    """One state from those of runs on different images.

    Raises:
        TrainingError: Fewer than two, or they do not fit each other, or their method
            keeps no sums, or two of them counted the same images.
        FingerprintMismatchError: They saw embeddings of different encoders.
    """
    if len(states) < 2:
        raise TrainingError("merging takes two runs or more", "Name another run.")
    first = states[0]
    for state in states:
        if state.method != "analytic":
            raise TrainingError(
                f"a run of method {state.method} cannot be merged",
                "Only the sums of `method` analytic can be added.",
            )
        if state.fingerprint != first.fingerprint:
            raise FingerprintMismatchError(
                f"the runs are of encoders {first.fingerprint} and {state.fingerprint}",
                "Merge runs on embeddings of one encoder.",
            )
        same_seed = state.config.seed == first.config.seed
        if state.findings != first.findings or (
            dict(state.config.options) != dict(first.config.options)
            or (state.config.options and not same_seed)
        ):
            raise TrainingError(
                "the runs are of other findings, options or, with random features, "
                f"seeds: {', '.join(first.findings)} and {', '.join(state.findings)}",
                "Train them with the same `findings`, `options` and `seed`.",
            )
    tensors = [state.tensors for state in states]
    merged = merge_states(tensors)
    _check_contributions(states)
    check_apart(tensors)
    every = tuple(one for state in states for one in state.contributions)
    return replace(first, tensors=merged, contributions=every, model=None)


def _check_contributions(states: Sequence[RunState]) -> None:
    known: dict[str, Contribution] = {}
    for state in states:
        refuse_known(state.contributions, known.values())
        known |= {one.digest: one for one in state.contributions}


def refuse_known(new: Iterable[Contribution], known: Iterable[Contribution]) -> None:
    """Refuse to add images that have been added.

    Args:
        new: What is to be added.
        known: What has been.

    Raises:
        TrainingError: A contribution is in both.
    """
    digests = {one.digest for one in known}
    both = [one for one in new if one.digest in digests]
    if both:
        named = ", ".join(
            f"{one.dataset} ({counted(one.n_images, 'image')})" for one in both
        )
        raise TrainingError(
            f"{named} has been learned from already: it would count twice",
            "Leave out that run, or choose other images (`datasets`, `where`).",
        )
