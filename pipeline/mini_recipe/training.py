"""Training mini's projection and text tower; the image tower stays as it is.

As in LiT (Zhai et al., CVPR 2022) the image tower is locked, so its features are
computed once and a step costs little more than the small text tower. Three losses are
added:

- the difference loss of RE-tune: binary cross-entropy of s⁺ − s⁻, times a learned
  scale, plus a learned offset for each pool and finding, over the observed cells;
- a contrastive loss between images and statements, as in CLIP, in which every statement
  that is true of an image counts as its partner (labels decide, not the pairing);
- a supervised contrastive loss among sentences (Khosla et al., NeurIPS 2020): sentences
  that state the same are partners, a denial and its assertion are not.

A step sees images of one pool only. Pools differ in resolution, and a model that saw
them side by side would learn to tell pools apart.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["Pool", "RecipeConfig", "TrainedTowers", "train_towers"]

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Pool:
    """Training images of one source, with K findings.

    Attributes:
        name: Name of the source.
        features: Features of the locked image tower, shape (N, F).
        value: 1 where a finding is present, shape (N, K).
        observed: Whether the cell is known, shape (N, K).
        share: Share of the steps that this pool gets.
    """

    name: str
    features: Floats
    value: Floats
    observed: npt.NDArray[np.bool_]
    share: float


@dataclass(frozen=True)
class RecipeConfig:
    """How mini is trained.

    Attributes:
        steps: Optimiser steps.
        batch_size: Images in a step.
        sentences: Sentences drawn for each finding and polarity in a step.
        learning_rate: Peak of AdamW's; it rises for a tenth of the steps and falls as
            a cosine.
        image_decay: Weight decay of the projection.
        text_decay: Weight decay of the text tower.
        feature_dropout: Share of image features hidden in a step.
        word_dropout: Share of tokens replaced by the unknown token in a step.
        contrastive_weight: Weight of the image-statement loss.
        sentence_weight: Weight of the loss among sentences.
        sentence_temperature: Temperature of that loss.
        seed: Seed of weights, batches and sentences.
    """

    steps: int = 1000
    batch_size: int = 128
    sentences: int = 3
    learning_rate: float = 1e-3
    image_decay: float = 0.1
    text_decay: float = 0.05
    feature_dropout: float = 0.3
    word_dropout: float = 0.1
    contrastive_weight: float = 0.3
    sentence_weight: float = 0.5
    sentence_temperature: float = 0.1
    seed: int = 0


@dataclass(frozen=True)
class TrainedTowers:
    """What training gives.

    Attributes:
        weight: Weight of the projection, shape (D, F).
        bias: Bias of the projection, shape (D,).
        text: The text tower, in evaluation mode.
        loss: Mean loss of the last hundred steps.
    """

    weight: Floats
    bias: Floats
    text: nn.Module
    loss: float


def train_towers(
    text: nn.Module,
    pools: Sequence[Pool],
    tokens: npt.NDArray[np.int64],
    unknown_token: int,
    dim: int,
    config: RecipeConfig,
    progress: Callable[[int, float], None] = lambda _step, _loss: None,
) -> TrainedTowers:
    """Train a projection and a text tower.

    Args:
        text: open_clip's text tower, trained in place.
        pools: Where images come from; K findings each.
        tokens: Sentences of each finding, shape (K, 2, S, L): denials at 0, assertions
            at 1, S sentences each, L tokens, padded with 0.
        unknown_token: Stands for words that are not known.
        dim: D, values in an embedding.
        config: How.
        progress: Told the step and its loss.
    """
    trainer = _Trainer(text, pools, tokens, unknown_token, dim, config)
    losses = []
    for step in range(config.steps):
        losses.append(trainer.step(step))
        progress(step + 1, losses[-1])
    weight, bias = trainer.projection()
    return TrainedTowers(weight, bias, text.eval(), float(np.mean(losses[-100:])))


class _Trainer:
    def __init__(
        self,
        text: nn.Module,
        pools: Sequence[Pool],
        tokens: npt.NDArray[np.int64],
        unknown_token: int,
        dim: int,
        config: RecipeConfig,
    ) -> None:
        self._config = config
        self._pools = pools
        self._tokens = torch.from_numpy(tokens)
        self._unknown = unknown_token
        self._random = np.random.default_rng(config.seed)
        self._torch_random = torch.Generator().manual_seed(config.seed)
        self._centre = np.mean([pool.features.mean(axis=0) for pool in pools], axis=0)
        self._spread = np.mean([pool.features.std(axis=0) for pool in pools], axis=0)
        self._spread = self._spread + 0.1 * self._spread.mean()
        self._inputs = [
            torch.from_numpy((pool.features - self._centre) / self._spread).float()
            for pool in pools
        ]
        n_findings = tokens.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(config.seed)
            self._project = nn.Linear(pools[0].features.shape[1], dim)
        self._text = text.train()
        assert isinstance(text.attn_mask, Tensor)
        self._attention_mask = text.attn_mask
        self._offset = nn.Parameter(torch.zeros(len(pools), n_findings))
        # Starting scales: 10 for the difference, CLIP's 1/0.07 for the contrast.
        self._log_scales = nn.Parameter(torch.tensor([10.0, 1 / 0.07]).log())
        self._optimiser = torch.optim.AdamW(
            [
                {
                    "params": self._project.parameters(),
                    "weight_decay": config.image_decay,
                },
                {"params": text.parameters(), "weight_decay": config.text_decay},
                {"params": [self._offset, self._log_scales], "weight_decay": 0.0},
            ],
            lr=config.learning_rate,
        )
        warm_up = max(1, config.steps // 10)
        self._schedule = torch.optim.lr_scheduler.LambdaLR(
            self._optimiser,
            lambda step: (
                min(1.0, (step + 1) / warm_up)
                * 0.5
                * (1 + np.cos(np.pi * step / config.steps))
            ),
        )

    def step(self, step: int) -> float:
        """One step on one pool; returns the loss."""
        del step
        shares = np.array([pool.share for pool in self._pools])
        pool_index = int(self._random.choice(len(shares), p=shares / shares.sum()))
        pool = self._pools[pool_index]
        size = min(self._config.batch_size, len(pool.features))
        rows = self._random.choice(len(pool.features), size, replace=False)
        value = torch.from_numpy(pool.value[rows])
        observed = torch.from_numpy(pool.observed[rows])

        images = self._embed_images(pool_index, rows)
        sentences = self._embed_sentences()
        statements = functional.normalize(sentences.mean(dim=2), dim=-1)
        loss = (
            self._difference_loss(images, statements, value, observed, pool_index)
            + self._config.contrastive_weight
            * self._contrastive_loss(images, statements, value, observed)
            + self._config.sentence_weight * self._sentence_loss(sentences)
        )
        self._optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        self._optimiser.step()
        self._schedule.step()
        return float(loss.detach())

    def _embed_images(self, pool_index: int, rows: npt.NDArray[np.integer]) -> Tensor:
        inputs = self._inputs[pool_index][torch.from_numpy(rows)]
        kept = 1 - self._config.feature_dropout
        mask = torch.rand(inputs.shape, generator=self._torch_random) < kept
        return functional.normalize(self._project(inputs * mask / kept), dim=-1)

    def _embed_sentences(self) -> Tensor:
        """Sentences drawn for this step, shape (K, 2, sentences, D), not normalised."""
        n_findings, _, n_sentences, _ = self._tokens.shape
        n_drawn = self._config.sentences
        drawn = torch.from_numpy(
            self._random.integers(0, n_sentences, (n_findings, 2, n_drawn))
        )
        chosen = torch.gather(
            self._tokens,
            2,
            drawn.unsqueeze(-1).expand(-1, -1, -1, self._tokens.shape[-1]),
        ).flatten(0, 2)
        # Behind its end a sentence is padding, which causal attention never looks at.
        length = int((chosen != 0).sum(dim=1).max())
        self._text.attn_mask = self._attention_mask[:length, :length]
        vectors: Tensor = self._text(self._with_unknown_words(chosen[:, :length]))
        return vectors.view(n_findings, 2, n_drawn, -1)

    def _with_unknown_words(self, tokens: Tensor) -> Tensor:
        hidden = torch.rand(tokens.shape, generator=self._torch_random)
        # The first token and the end of the text are no words; the latter is largest.
        is_word = (tokens != 0) & (tokens < tokens.max())
        is_word[:, 0] = False
        unknown = torch.full_like(tokens, self._unknown)
        return torch.where(
            is_word & (hidden < self._config.word_dropout), unknown, tokens
        )

    def _difference_loss(
        self,
        images: Tensor,
        statements: Tensor,
        value: Tensor,
        observed: Tensor,
        pool_index: int,
    ) -> Tensor:
        difference = images @ (statements[:, 1] - statements[:, 0]).T
        logits = difference * self._log_scales[0].exp() + self._offset[pool_index]
        cells = functional.binary_cross_entropy_with_logits(
            logits, value, reduction="none"
        )
        return (cells * observed).sum() / observed.sum()

    def _contrastive_loss(
        self, images: Tensor, statements: Tensor, value: Tensor, observed: Tensor
    ) -> Tensor:
        """Among all statements, those that are true of an image, and the reverse."""
        flat = torch.cat([statements[:, 1], statements[:, 0]])
        logits = images @ flat.T * self._log_scales[1].exp()
        true = torch.cat([value > 0, value <= 0], dim=1)
        known = torch.cat([observed, observed], dim=1)
        logits = logits.masked_fill(~known, -torch.inf)
        partners = true & known
        loss = torch.zeros(())
        for scores, matches in ((logits, partners), (logits.T, partners.T)):
            some = matches.any(dim=1)
            chances = functional.log_softmax(scores[some], dim=1)
            hits = chances.masked_fill(~matches[some], 0.0).sum(dim=1)
            loss = loss - (hits / matches[some].sum(dim=1)).mean() / 2
        return loss

    def _sentence_loss(self, sentences: Tensor) -> Tensor:
        n_findings, _, n_drawn, _ = sentences.shape
        flat = functional.normalize(sentences.flatten(0, 2), dim=-1)
        meaning = torch.arange(2 * n_findings).repeat_interleave(n_drawn)
        logits = flat @ flat.T / self._config.sentence_temperature
        itself = torch.eye(len(flat), dtype=torch.bool)
        chances = functional.log_softmax(logits.masked_fill(itself, -torch.inf), dim=1)
        partners = (meaning[:, None] == meaning) & ~itself
        hits = chances.masked_fill(~partners, 0.0).sum(dim=1)
        return -(hits / partners.sum(dim=1)).mean()

    def projection(self) -> tuple[Floats, Floats]:
        """Weight (D, F) and bias (D,) on features as the tower gives them."""
        self._text.attn_mask = self._attention_mask
        weight = self._project.weight.detach().numpy() / self._spread
        bias = self._project.bias.detach().numpy() - weight @ self._centre
        return weight.astype(np.float32), bias.astype(np.float32)
