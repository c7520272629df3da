"""Arithmetic of the forward pass: exact, or as fast as the machine can without harm.

Half as many bits halve the memory to move and, where the processor multiplies bfloat16
by itself, more than double the arithmetic. How far vectors move depends on the model,
so nobody has to believe it: ``auto`` encodes a few pictures and sentences both ways and
takes the faster arithmetic only if the vectors agree.
"""

import copy
from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from ...platform.processor import has_bfloat16
from .contract import PRECISIONS, Backbone

__all__ = ["LEAST_COSINE", "agreement", "choose_precision", "with_precision"]

#: Mean cosine to float32 below which ``auto`` stays with float32.
LEAST_COSINE = 0.999
#: Fingerprints of two precisions and the device -> whether their vectors agree: a
#: notebook that loads a backbone again need not encode both ways again.
_agree: dict[tuple[str, str, str], bool] = {}
_N_PICTURES = 4
_SENTENCES = (
    "There is a small right pleural effusion.",
    "The heart is enlarged.",
    "No pneumothorax.",
    "The lungs are clear.",
)


def with_precision(exact: Backbone, precision: str) -> Backbone:
    """A backbone in other arithmetic; `exact` is left as it is.

    On a processor the weights are converted, because autocast would convert them anew
    for every batch (a ViT-B/16 did 3.5 images/s with autocast to bfloat16, 4.9 in
    float32 and 9.8 with converted weights). On an accelerator autocast keeps sums and
    norms in float32.

    Args:
        exact: In float32.
        precision: A name in `PRECISIONS`.
    """
    if precision == exact.spec.precision:
        return exact
    model = exact.model
    if exact.device.type == "cpu":
        model = copy.deepcopy(model).to(PRECISIONS[precision])
    return replace(exact, model=model, spec=replace(exact.spec, precision=precision))


def choose_precision(exact: Backbone, known: Collection[str] = ()) -> Backbone:
    """The fastest arithmetic whose vectors agree with float32.

    bfloat16 where the processor or the accelerator has it, float16 on accelerators
    that lack it, else float32; and float32 if the mean cosine is below `LEAST_COSINE`.

    Args:
        exact: In float32.
        known: Fingerprints of vectors that are there already. If one is of this
            backbone, its arithmetic is taken: another machine would choose otherwise,
            and vectors of two precisions are not mixed.
    """
    for precision in PRECISIONS:
        if replace(exact.spec, precision=precision).fingerprint in known:
            return with_precision(exact, precision)
    fast = with_precision(exact, _usual(exact.device))
    if fast is exact:
        return exact
    pair = (exact.spec.fingerprint, fast.spec.fingerprint, str(exact.device))
    if pair not in _agree:
        _agree[pair] = min(agreement(exact, fast)) >= LEAST_COSINE
    return fast if _agree[pair] else exact


def agreement(exact: Backbone, other: Backbone) -> tuple[float, float]:
    """Mean cosine of vectors in two precisions, of pictures and of sentences.

    The pictures are soft random shades, the same each time; -1 if a vector is not
    finite. Without a text tower the figure of pictures stands for both.
    """
    size = exact.preprocess.to_pixels(Image.new("L", (64, 64))).shape[:2]
    random = np.random.default_rng(0)
    shades = random.integers(0, 256, (_N_PICTURES, 12, 12), dtype=np.uint8)
    pixels = np.stack(
        [
            np.asarray(
                Image.fromarray(shade)
                .resize((size[1], size[0]), Image.Resampling.BICUBIC)
                .convert("RGB")
            )
            for shade in shades
        ]
    )
    images = _mean_cosine(exact.encode_images(pixels), other.encode_images(pixels))
    if exact.spec.image_only:
        return images, images
    return (
        images,
        _mean_cosine(exact.encode_texts(_SENTENCES), other.encode_texts(_SENTENCES)),
    )


def _mean_cosine(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    if not (np.isfinite(one).all() and np.isfinite(other).all()):
        return -1.0
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosines = (one * other).sum(axis=1) / np.maximum(norms, np.finfo(np.float32).tiny)
    return float(cosines.mean())


def _usual(device: torch.device) -> str:
    if device.type == "cuda":
        return "bfloat16" if torch.cuda.is_bf16_supported() else "float16"
    return "bfloat16" if has_bfloat16() else "float32"
