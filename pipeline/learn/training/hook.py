"""Where a method comes in while the one trainer works."""

from collections.abc import Mapping

from torch import Tensor

from .model import AdaptedModel
from .optimiser import FlatAdam

__all__ = ["Hook"]


class Hook:
    """Called by the trainer at its moments; this one does nothing."""

    def before_task(
        self, model: AdaptedModel, optimiser: FlatAdam, n_before: int
    ) -> None:
        """A task begins; `n_before` tasks were learned before it."""

    def extra_loss(
        self, model: AdaptedModel, x: Tensor, logits: Tensor, observed: Tensor
    ) -> Tensor | None:
        """A loss to add.

        Args:
            model: As it is now.
            x: The batch, shape (B, D), in the precision of training.
            logits: The model's for the batch, shape (B, K).
            observed: Cells that the task shows, shape (B, K), bool.
        """

    def before_step(self, optimiser: FlatAdam) -> None:
        """Gradients are there, weights have not moved."""

    def after_step(self, optimiser: FlatAdam) -> None:
        """Weights have moved."""

    def after_pass(self, optimiser: FlatAdam) -> None:
        """All batches of a pass were used."""

    def after_task(
        self,
        model: AdaptedModel,
        optimiser: FlatAdam,
        x: Tensor,
        targets: Tensor,
        rows: Tensor,
        mask: Tensor,
    ) -> None:
        """A task was learned.

        Args:
            model: With its final weights.
            optimiser: Optimiser of these weights.
            x: All embeddings, shape (N, D).
            targets: Shape (N, K).
            rows: Rows of the task, shape (n,).
            mask: Its observed cells, shape (n, K).
        """

    def state(self) -> dict[str, Tensor]:
        """What must survive between tasks."""
        return {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
