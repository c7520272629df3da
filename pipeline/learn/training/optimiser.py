"""Adam over one flat vector.

All trained weights lie one behind the other in one tensor, and each parameter is a
view of its part. A step is then a few operations on one vector instead of a few for
each tensor, a copy of all weights is one copy, and a check for divergence is one check.
(An optimiser object of torch.optim would also load torch's compiler, two seconds at
every start; its functional form does not.)
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim.adamw import adamw

from retune.store.errors import TrainingError

__all__ = ["FlatAdam"]

_BETA_MEAN, _BETA_SQUARE, _EPSILON = 0.9, 0.999, 1e-8


class FlatAdam:
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019), as torch's AdamW.

    Args:
        module: Its parameters that require gradients are trained.
        learning_rate: Step size.
        weight_decay: Share of each weight taken off per step, times the step size.
    """

    def __init__(
        self, module: nn.Module, *, learning_rate: float, weight_decay: float
    ) -> None:
        trained = [p for p in module.parameters() if p.requires_grad]
        self.learning_rate = learning_rate
        self._weight_decay = weight_decay
        self.sizes: list[int] = [p.numel() for p in trained]
        self.weights: Tensor = torch.cat([p.detach().reshape(-1) for p in trained])
        self.gradient: Tensor = torch.zeros_like(self.weights)
        self._mean = torch.zeros_like(self.weights)
        self._square = torch.zeros_like(self.weights)
        self._steps = 0
        parts = zip(
            trained,
            torch.split(self.weights, self.sizes),
            torch.split(self.gradient, self.sizes),
            strict=True,
        )
        for parameter, weights, gradient in parts:
            parameter.data = weights.view_as(parameter)
            parameter.grad = gradient.view_as(parameter)

    def step(self) -> None:
        """Move the weights along their gradient, then forget the gradient.

        Raises:
            TrainingError: No weight can hold the step.
        """
        self._steps += 1
        size = self.learning_rate / (1 - _BETA_MEAN**self._steps)
        if size > torch.finfo(self.weights.dtype).max:
            raise diverged(self.learning_rate)
        # One pass over memory, not ten. It counts this step itself.
        adamw(
            [self.weights],
            [self.gradient],
            [self._mean],
            [self._square],
            [],
            [torch.tensor(float(self._steps - 1), device=self.weights.device)],
            fused=True,
            lr=self.learning_rate,
            beta1=_BETA_MEAN,
            beta2=_BETA_SQUARE,
            weight_decay=self._weight_decay,
            eps=_EPSILON,
            amsgrad=False,
            maximize=False,
        )
        self.gradient.zero_()

    def state(self) -> dict[str, Tensor]:
        """The moments and the number of steps."""
        return {
            "mean": self._mean.clone(),
            "square": self._square.clone(),
            "steps": torch.tensor(self._steps),
        }

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a state."""
        self._mean.copy_(state["mean"])
        self._square.copy_(state["square"])
        self._steps = int(state["steps"])


def diverged(learning_rate: float) -> TrainingError:
    """The error of weights that left the finite numbers."""
    return TrainingError(
        "training diverged: a weight is no longer a finite number",
        f"Lower `learning_rate`; it is {learning_rate:g}.",
    )
