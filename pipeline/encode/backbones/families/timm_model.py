"""Image towers of timm: vectors of images, no texts."""

from pathlib import Path
from typing import Any, Final

import torch
from PIL import Image

from retune.store.errors import BackboneError

from ...images.preprocess import Preprocess
from ..mini import load_image_weights, mini_weights
from ..model_folder import pickled_refused
from .parts import ImageOnly, Parts, output_size

__all__ = ["PACKAGED", "load_timm"]

#: Its ImageNet weights come with a package that retune needs: no download.
PACKAGED: Final = "tf_efficientnet_lite0"


def load_timm(name: str, weights: Path | None) -> Parts:
    """Load a tower without its classifier.

    Args:
        name: One of timm's, such as ``vit_base_patch16_224.dino``.
        weights: A safetensors file; None: the weights that timm fetches from the hub,
            which are safetensors too.

    Raises:
        BackboneError: timm has no such model, or weights cannot be had.
    """
    import timm

    if not timm.is_model(name.partition(".")[0]):
        raise BackboneError(
            f"timm has no model '{name}'",
            "`python -c 'import timm; print(timm.list_models())'` lists them.",
        )
    try:
        packaged = name == PACKAGED and weights is None
        fetch = weights is None and not packaged
        model = timm.create_model(name, pretrained=fetch, num_classes=0)
        if packaged:
            load_image_weights(model, mini_weights())
        elif weights is not None:
            _fill(model, weights)
    except BackboneError:
        raise
    # Files and the hub may make timm raise anything at all.
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"cannot load timm's {name}: {first}",
            "Without a network: `backbone` timm:NAME:FILE.safetensors takes weights "
            "from a file.",
        ) from error
    data: Any = timm.data
    settings = data.resolve_model_data_config(model)
    transform = data.create_transform(**settings, is_training=False)
    preprocess = Preprocess.from_transform(transform)
    preprocess = Preprocess(
        # Last, because one channel is resized in a third of the time.
        (*preprocess.geometry, _to_rgb),
        preprocess.mean,
        preprocess.std,
    )
    height, width = preprocess.to_pixels(Image.new("L", (64, 64))).shape[:2]
    model.eval()
    return Parts(
        model=ImageOnly(model),
        preprocess=preprocess,
        preprocess_words={
            "steps": [repr(step) for step in transform.transforms],
            "mean": preprocess.mean.flatten().tolist(),
            "std": preprocess.std.flatten().tolist(),
        },
        tokenizer=None,
        config={"class": f"timm.{name.partition('.')[0]}"},
        pooling="image: timm",
        dim=output_size(model, height, width),
    )


def _to_rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")


def _fill(model: torch.nn.Module, weights: Path) -> None:
    """Take a file's tensors; those of a classifier are not used.

    Raises:
        BackboneError: The file is pickled, cannot be read or does not fit.
    """
    from safetensors.torch import load_file

    if weights.suffix != ".safetensors":
        raise pickled_refused(weights)
    tensors = load_file(weights)
    known = model.state_dict()
    kept = {name: tensor for name, tensor in tensors.items() if name in known}
    lacking = sorted(set(known) - set(kept))
    wrong = sorted(n for n, t in kept.items() if t.shape != known[n].shape)
    if lacking or wrong:
        raise BackboneError(
            f"{weights} does not fit: it lacks {len(lacking)} tensors and {len(wrong)} "
            f"have another shape, such as {(lacking + wrong)[0]}",
            "Take the weights of exactly this model.",
        )
    model.load_state_dict(kept)
