"""The model of a run inside its state file, so that the file alone can predict."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from retune.store.errors import TrainingError

from .saved_model import SavedModel, describe_model, model_weights, restore_model

__all__ = ["CarriedModel"]

_PREFIX = "model."
_PROMPTS = "prompts"


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
