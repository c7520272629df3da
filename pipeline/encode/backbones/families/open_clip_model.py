"""A model of open_clip, as the parts that an encoder is made of."""

from collections.abc import Mapping
from typing import Any

from PIL import Image
from torch import nn

from retune.store.errors import BackboneError

from ...images.preprocess import Preprocess
from .parts import ImageOnly, Parts, output_size

__all__ = ["parts_of"]


def parts_of(
    model: Any,
    transform: Any,
    tokenizer: Any,
    config: Mapping[str, Any],
    *,
    scaled: bool,
    layer: str,
    name: str,
) -> Parts:
    """Take a model of open_clip apart.

    Args:
        model: As open_clip gives it.
        transform: Transform of its pictures.
        tokenizer: Tokenizer of its texts.
        config: Its `model_cfg`.
        scaled: Whether large JPEG files are decoded at a smaller scale.
        layer: ``pooled`` takes images before their projection, and no texts.
        name: Name of the backbone, for messages.

    Raises:
        BackboneError: `layer` is ``pooled`` and the model has no such layer.
    """
    text_cfg, vision_cfg = config["text_cfg"], config["vision_cfg"]
    preprocess = Preprocess.from_transform(transform, scaled=scaled)
    pooling = (
        f"image: {vision_cfg.get('timm_pool') or 'model'}, text: "
        f"{text_cfg.get('hf_pooler_type') or text_cfg.get('pool_type') or 'model'}"
    )
    words = {
        "steps": [repr(step) for step in transform.transforms],
        "mean": preprocess.mean.flatten().tolist(),
        "std": preprocess.std.flatten().tolist(),
    }
    described = {"class": type(model).__name__, **config}
    dim = int(config["embed_dim"])
    if layer == "projected":
        return Parts(model, preprocess, words, tokenizer, described, pooling, dim)
    visual = _without_projection(model.visual, name)
    visual.eval()
    height, width = preprocess.to_pixels(Image.new("L", (64, 64))).shape[:2]
    return Parts(
        ImageOnly(visual),
        preprocess,
        words,
        None,
        described,
        f"{pooling}, layer: pooled",
        output_size(visual, height, width),
    )


def _without_projection(visual: Any, name: str) -> nn.Module:
    """An image tower that ends before the projection into the common space."""
    if getattr(visual, "proj", None) is not None:
        visual.proj = None
    elif isinstance(getattr(visual, "head", None), nn.Module):
        visual.head = nn.Identity()
    else:
        raise BackboneError(
            f"'{name}' has no projection that could be left out",
            "Leave out `layer`.",
        )
    tower: nn.Module = visual
    return tower
