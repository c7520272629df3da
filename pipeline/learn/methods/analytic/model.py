"""The model of `analytic`: linear, with an error bar and a sense of the familiar."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from retune.store.errors import ConfigurationError

from ...problem.config import TrainConfig
from ...problem.contract import Scores
from ...problem.features import Prompts

__all__ = ["AnalyticModel", "require_mean_pooling", "zero_shot_directions"]

#: Buffers that say what images were seen.
_OF_SEEN = ("centre", "whitening", "typical", "distance_limit", "alarm_rate")


class AnalyticModel(nn.Module):
    """Linear in φ(x): the normalised embedding and, if asked for, random features.

    What is learned are weights and intercepts, in float64, and three things that
    follow from the same sums: the covariance of each finding's weights, the
    distribution of the images that were trained on, and the distance from it that
    validation images keep within.

    Args:
        zero_shot: t⁺ − t⁻ of each finding, shape (K, D).
        projection: Fixed random directions, shape (D, M); M may be 0.
        scale: Factor from a zero-shot score to its logit.
    """

    def __init__(self, zero_shot: Tensor, projection: Tensor, scale: float) -> None:
        super().__init__()
        self._due: Callable[[], None] | None = None
        n_findings, n_random = len(zero_shot), projection.shape[1]
        weight = functional.pad(zero_shot, (0, n_random)).double()
        nothing = torch.zeros(0)
        parts = {
            "weight": weight,
            "intercept": torch.zeros(n_findings, dtype=torch.float64),
            "slope": torch.full((n_findings,), scale, dtype=torch.float64),
            "offset": torch.zeros(n_findings, dtype=torch.float64),
            # Of the weights' covariance; nothing before there were labels.
            "learned": torch.zeros(n_findings, dtype=torch.bool),
            "group": torch.zeros(n_findings, dtype=torch.int64),
            "basis": nothing,
            "mean": nothing,
            "variance": nothing,
            "noise": nothing,
            "directions": nothing,
            # Of the images trained on.
            "centre": nothing,
            "whitening": nothing,
            "typical": torch.zeros(()),
            "distance_limit": torch.tensor(torch.inf),
            "alarm_rate": torch.zeros(()),
        }
        for name, tensor in parts.items():
            self.register_buffer(name, tensor.clone())
        # Drawn from the seed again, so that no file need hold it.
        self.register_buffer("projection", projection, persistent=False)

    weight: Tensor
    intercept: Tensor
    slope: Tensor
    offset: Tensor
    learned: Tensor
    group: Tensor
    basis: Tensor
    mean: Tensor
    variance: Tensor
    noise: Tensor
    directions: Tensor
    centre: Tensor
    whitening: Tensor
    typical: Tensor
    distance_limit: Tensor
    alarm_rate: Tensor
    projection: Tensor

    def look_later(self, look: Callable[[], None]) -> None:
        """Let what says which images were seen be brought up to date when it is needed.

        Scores do not need it, so that of a sequence of tasks only the last pays for it.

        Args:
            look: Fills in those buffers.
        """
        self._due = look

    def _look(self) -> None:
        look, self._due = self._due, None
        if look is not None:
            look()

    def __getattr__(self, name: str) -> Any:
        """A buffer, up to date."""
        if name in _OF_SEEN:
            self._look()
        return super().__getattr__(name)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        """All buffers, up to date."""
        self._look()
        return super().state_dict(*args, **kwargs)

    def features(self, x: Tensor) -> Tensor:
        """φ of embeddings of shape (B, D): shape (B, D + M)."""
        direction = functional.normalize(x, dim=-1)
        if not self.projection.shape[1]:
            return direction
        # In float64: products in float32 depend on how many rows are multiplied at a
        # time, and the sums of two tasks would not be those of both at once.
        random = functional.relu(direction.double() @ self.projection.double())
        return torch.cat([direction, random.to(direction.dtype)], dim=-1)

    def scores(self, x: Tensor) -> Scores:
        """The ridge's answer, NaN for s⁺ which it has not, and the probability.

        The answer estimates P(finding) where there were labels, and is s⁺ − s⁻ of
        zero-shot where there were none; NaN where there are no descriptions either.
        """
        phi = self.features(x).double()
        difference = phi @ self.weight.T + self.intercept
        # No sentence and no label has said anything of such a finding.
        silent = ~self.weight.any(dim=1) & (self.intercept == 0)
        unknown = ~self.learned & silent
        difference = difference.masked_fill(unknown, torch.nan)
        probability = (difference * self.slope + self.offset).sigmoid()
        return difference, torch.full_like(difference, torch.nan), probability

    def uncertainty(self, x: Tensor) -> Tensor:
        """Posterior standard deviation of the score s⁺ − s⁻, shape (B, K).

        How far the answer may be off because few images were seen that are like this
        one; not how far a single label may be from it. NaN for a finding that had no
        labels of both classes.

        Args:
            x: Embeddings, shape (B, D).
        """
        phi = self.features(x)
        deviation = torch.full(
            (len(phi), len(self.learned)), torch.nan, device=phi.device
        )
        for k in torch.nonzero(self.learned)[:, 0].tolist():
            along = (phi - self.mean[k]) @ self.basis[self.group[k]]
            within = along.square() @ self.variance[k]
            between = (along @ self.directions[k].T).square().sum(dim=1)
            deviation[:, k] = (within + between + self.noise[k]).sqrt()
        return deviation

    def distance(self, x: Tensor) -> Tensor:
        """Distance from the images trained on, shape (B,); about 1 for one of them.

        How far an image is turned away from their mean, in the space in which their
        covariance is 1: 1 − cosine, divided by that of a typical image. What
        radiographs have in common lies along the mean, and other pictures lack it.
        Mahalanobis' distance is used where the mean gives no direction, and in older
        models; docs/uncertainty.md compares the two.

        Images beyond `distance_limit` are unlike those seen: of validation images a
        share of `alarm_rate` is expected there. NaN if nothing was trained on.

        Args:
            x: Embeddings, shape (B, D).
        """
        phi = self.features(x)
        if not self.centre.numel():
            return torch.full((len(phi),), torch.nan, device=phi.device)
        if not self.typical > 0:
            white = (phi - self.centre) @ self.whitening
            return white.square().mean(dim=1).sqrt()
        white = functional.normalize(phi @ self.whitening, dim=1)
        towards = functional.normalize(self.centre @ self.whitening, dim=0)
        return (1 - white @ towards) / (1 - self.typical)

    def unlike_seen(self, distance: Tensor) -> Tensor:
        """Whether images are beyond `distance_limit`, shape (B,), bool."""
        return distance > self.distance_limit

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take what `state_dict` gave; older models may lack the covariance."""
        self._due = None  # what is taken replaces what would be looked at
        known = self.state_dict()
        for name, tensor in state_dict.items():
            # Sizes follow from what was learned, so that a new model cannot know them.
            if name in known and known[name].shape != tensor.shape:
                if known[name].numel():
                    continue  # torch says what does not fit
                setattr(self, name, torch.empty_like(tensor, device=known[name].device))
        needed = {"weight", "intercept", "slope", "offset"}
        given = {n: t for n, t in known.items() if n not in needed} | dict(state_dict)
        return super().load_state_dict(given, strict, assign)


def require_mean_pooling(config: TrainConfig, method: str) -> None:
    """Check that descriptions are pooled by their mean.

    Args:
        config: With the pooling.
        method: For the message.

    Raises:
        ConfigurationError: They are not.
    """
    if config.pooling != "mean":
        raise ConfigurationError(
            f"method {method} knows only `pooling` mean",
            "With max, zero-shot is no linear function that it could start from.",
        )


def zero_shot_directions(prompts: Prompts, n_findings: int) -> Tensor:
    """t⁺ − t⁻ with mean pooling, shape (K, D): the zero-shot score is its product.

    0 where there are no descriptions.
    """
    if not prompts:
        return torch.zeros(n_findings, prompts.embedding.shape[1])
    vectors = torch.from_numpy(prompts.embedding).double()
    finding = torch.from_numpy(prompts.finding)
    positive = torch.from_numpy(prompts.positive)
    rows = []
    for k in range(n_findings):
        means = [
            functional.normalize(
                vectors[(finding == k) & (positive == wanted)].mean(dim=0), dim=0
            )
            for wanted in (True, False)
        ]
        rows.append(means[0] - means[1])
    return torch.stack(rows).float()
