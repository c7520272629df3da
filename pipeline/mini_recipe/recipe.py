"""The recipe: from pools and phrases to mini's weights file."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors.torch import save_file

from ..encode.backbones.mini import UNKNOWN_TOKEN, build_mini
from ..encode.backbones.source import mini_files
from ..progress import Progress, ProgressCallback, silent
from .phrases import compose_sentences, load_phrases
from .pools import TrainedPool
from .training import RecipeConfig, train_towers

__all__ = ["Trained", "encode_sentences", "save_folder", "train_mini"]

#: Composed sentences of each finding and polarity.
_SENTENCES = 300


@dataclass(frozen=True)
class Trained:
    """A trained mini.

    Attributes:
        model: The open_clip model.
        token_ids: The tokens that training saw, shape (V,).
        loss: Mean of the last hundred steps.
    """

    model: Any
    token_ids: torch.Tensor
    loss: float


def encode_sentences(
    findings: Sequence[str], tokenizer: Any, *, n: int, seed: int
) -> npt.NDArray[np.int64]:
    """Tokens of composed sentences, shape (K, 2, n, L); denials first, 0 is padding."""
    phrases = load_phrases(findings)
    return np.stack(
        [
            [
                tokenizer(
                    compose_sentences(phrases, name, positive=positive, n=n, seed=seed)
                ).numpy()
                for positive in (False, True)
            ]
            for name in findings
        ]
    )


def train_mini(
    pools: Sequence[TrainedPool],
    findings: Sequence[str],
    config: RecipeConfig,
    progress: ProgressCallback = silent,
) -> Trained:
    """Train the projection and the text tower.

    Args:
        pools: From `read_pools`, with these findings as columns.
        findings: K canonical names.
        config: Configuration of the training.
        progress: Told the step and its loss.
    """
    model, _, tokenizer, described = build_mini(*mini_files()[:2], None)
    tokens = encode_sentences(findings, tokenizer, n=_SENTENCES, seed=config.seed)
    # Sorted, so that padding stays first and the end of a text the largest, by which
    # the tower finds it. Training 49,408 word vectors would cost more than the rest.
    vocabulary = torch.from_numpy(np.union1d(tokens, [UNKNOWN_TOKEN]))
    every_word = model.text.token_embedding
    model.text.token_embedding = torch.nn.Embedding(
        len(vocabulary),
        every_word.embedding_dim,
        _weight=every_word.weight.detach()[vocabulary],
    )
    towers = train_towers(
        model.text,
        [one.pool for one in pools],
        np.searchsorted(vocabulary.numpy(), tokens),
        int(np.searchsorted(vocabulary.numpy(), UNKNOWN_TOKEN)),
        int(described["embed_dim"]),
        config,
        lambda step, loss: progress(
            Progress("training", step, config.steps, f"loss {loss:.3f}")
        ),
    )
    projection = model.visual.head.proj
    with torch.no_grad():
        every_word.weight[vocabulary] = model.text.token_embedding.weight
        projection.weight.copy_(torch.from_numpy(towers.weight))
        projection.bias.copy_(torch.from_numpy(towers.bias))
    model.text.token_embedding = every_word
    return Trained(model.eval(), torch.from_numpy(np.unique(tokens)), towers.loss)


def save_folder(trained_path: Path, folder: Path) -> None:
    """Write a trained mini as a folder that `local-dir:` loads.

    Args:
        trained_path: A weights file that `save_trained` wrote.
        folder: Made if it is not there.
    """
    config_path, image_weights, _ = mini_files()
    model, *_ = build_mini(config_path, image_weights, trained_path)
    folder.mkdir(parents=True, exist_ok=True)
    config = json.loads(config_path.read_text(encoding="utf-8"))
    config["model_cfg"]["custom_text"] = True  # what open_clip calls this kind of model
    (folder / "open_clip_config.json").write_text(json.dumps(config), encoding="utf-8")
    state = {name: one.contiguous() for name, one in model.state_dict().items()}
    save_file(state, folder / "open_clip_model.safetensors", metadata={"format": "pt"})
