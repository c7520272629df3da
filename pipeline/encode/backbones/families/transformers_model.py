"""Backbones that transformers builds: SigLIP, CLIP, DINOv2, ViT and the like."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from retune.store.errors import BackboneError

from ...images.preprocess import Preprocess
from .parts import ImageOnly, Parts, output_size
from .transformers_folder import vetted_transformers

__all__ = ["load_transformers", "read_processor"]


def load_transformers(
    folder: Path, *, pooling: str, layer: str, allow_pickle: bool
) -> Parts:
    """Load a model from a local folder; nothing of it is run as code.

    Args:
        folder: With config.json, preprocessor_config.json and weights.
        pooling: ``cls``, ``mean``, ``pooler``, or ``auto``: what the model itself does.
        layer: ``projected``: where images and texts meet; ``pooled``: before that.
        allow_pickle: Take .bin files if there are no safetensors.

    Raises:
        BackboneError: A file is missing or refused, or the model has no such vector.
    """
    import transformers

    with vetted_transformers(folder, allow_pickle=allow_pickle) as (vetted, config):
        model_type = str(config.get("model_type"))
        if model_type not in transformers.CONFIG_MAPPING:
            raise BackboneError(
                f"transformers has no model of type {model_type!r}; code from "
                "elsewhere is never run",
                "Use a model whose code is part of transformers, or import its vectors "
                "with `retune-cli import-vectors`.",
            )
        try:
            made = transformers.CONFIG_MAPPING[model_type].from_dict(config)
            model, info = transformers.AutoModel.from_pretrained(
                str(vetted),
                config=made,
                trust_remote_code=False,
                local_files_only=True,
                use_safetensors=None if allow_pickle else True,
                weights_only=True,
                dtype=torch.float32,
                output_loading_info=True,
            )
            processors: Any = transformers.AutoImageProcessor
            processor = processors.from_pretrained(
                str(vetted), trust_remote_code=False, local_files_only=True
            )
            reads = hasattr(model, "get_text_features") and layer == "projected"
            reads = reads and pooling == "auto"
            tokenizer = (
                transformers.AutoTokenizer.from_pretrained(
                    str(vetted), trust_remote_code=False, local_files_only=True
                )
                if reads
                else None
            )
        # Files from elsewhere may make transformers raise anything at all.
        except Exception as error:
            raise BackboneError(
                f"cannot load {folder}: {_first_line(error)}",
                "It has to be a folder as its authors publish it, without remote code.",
            ) from error
        absent = {name for name in info["missing_keys"] if "position_ids" not in name}
        words = read_processor(processor)
    visual = _tower(model, pooling, layer, absent, folder)
    model.eval()
    preprocess = Preprocess(
        (_ProcessorSteps(processor),),
        torch.tensor(words["mean"]).view(1, 3, 1, 1),
        torch.tensor(words["std"]).view(1, 3, 1, 1),
    )
    height, width = preprocess.to_pixels(Image.new("RGB", (64, 64))).shape[:2]
    visual.eval()
    full: Any = ImageOnly(visual)
    if tokenizer is not None:
        full = _TwoTowers(visual, model)
    return Parts(
        model=full,
        preprocess=preprocess,
        preprocess_words=words,
        tokenizer=None if tokenizer is None else _Tokenizer(tokenizer, model.config),
        config={"class": type(model).__name__, "transformers": _shape(config)},
        pooling=f"image: {pooling}, layer: {layer}",
        dim=output_size(visual, height, width),
    )


def read_processor(processor: Any) -> dict[str, Any]:
    """What an image processor does, in words; it has to end like open_clip's.

    Raises:
        BackboneError: It does not divide by 255 and normalise three channels.
    """
    content = processor.to_dict()
    factor = content.get("rescale_factor") or 0
    usual = content.get("do_rescale", True) and abs(factor * 255 - 1) < 1e-6
    if not usual:
        raise BackboneError(
            "the image processor does not scale 0..255 to 0..1 "
            f"(rescale_factor {factor!r})",
            "Import vectors of this model with `retune-cli import-vectors`.",
        )
    normalised = content.get("do_normalize", True)
    mean = content["image_mean"] if normalised else [0.0] * 3
    std = content["image_std"] if normalised else [1.0] * 3
    steps = {
        name: _plain(content.get(name))
        for name in ("do_resize", "size", "resample", "do_center_crop", "crop_size",
                     "do_pad", "crop_pct")
        if content.get(name) is not None
    }  # fmt: skip
    return {
        "steps": [f"{type(processor).__name__}: {steps}"],
        "mean": [float(one) for one in mean],
        "std": [float(one) for one in std],
    }


class _ProcessorSteps:
    """What a processor does before it scales: 8-bit pixels out."""

    def __init__(self, processor: Any) -> None:
        self._processor = processor

    def __call__(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        processed = self._processor(
            image.convert("RGB"),
            do_rescale=False,
            do_normalize=False,
            return_tensors="pt",
        )
        pixels: Tensor = processed["pixel_values"][0]
        rounded = pixels.permute(1, 2, 0).round().clamp(0, 255).to(torch.uint8)
        array: npt.NDArray[np.uint8] = rounded.contiguous().numpy()
        return array


class _Vision(nn.Module):
    """A model, asked for one of its vectors."""

    def __init__(self, tower: nn.Module, pick: Callable[[Any], Tensor]) -> None:
        super().__init__()
        self.tower = tower
        self._pick = pick

    def forward(self, batch: Tensor) -> Tensor:
        return self._pick(self.tower(pixel_values=batch))


class _Projected(nn.Module):
    """A model of images and texts, asked for where they meet."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: Tensor) -> Tensor:
        return _vector(self.model.get_image_features(pixel_values=batch))


class _TwoTowers(ImageOnly):
    """As `ImageOnly`, and it reads."""

    def __init__(self, visual: nn.Module, model: Any) -> None:
        super().__init__(visual)
        self.both = model

    def encode_text(self, tokens: Tensor) -> Tensor:
        """Vectors of token ids, shape (B, context), as shape (B, D)."""
        return _vector(self.both.get_text_features(input_ids=tokens))


class _Tokenizer:
    """Sentences -> token ids of one length, as open_clip's tokenizers give them."""

    def __init__(self, tokenizer: Any, config: Any) -> None:
        self.tokenizer = tokenizer
        self.context_length = int(config.text_config.max_position_embeddings)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        tokens: Tensor = self.tokenizer(
            list(texts),
            padding="max_length",
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )["input_ids"]
        return tokens


def _vector(output: Any) -> Tensor:
    """Some versions of transformers give the vector alone, others with all else."""
    vector: Tensor = output if isinstance(output, Tensor) else output.pooler_output
    return vector


def _tower(
    model: Any, pooling: str, layer: str, absent: set[str], folder: Path
) -> nn.Module:
    """What gives the vectors that were asked for.

    Raises:
        BackboneError: The model has none of this kind, or its weights lack them.
    """
    joint = hasattr(model, "get_image_features")
    if joint and layer == "projected" and pooling == "auto":
        visual: nn.Module = _Projected(model)
        used = absent
    else:
        tower = model.vision_model if joint else model
        way = "pooler" if pooling == "auto" else pooling
        pooler_lacks = any("pooler" in name for name in absent)
        if pooling == "auto" and (pooler_lacks or not _has_pooler(tower)):
            way = "cls" if _has_cls(tower) else "mean"
        used = {name for name in absent if way == "pooler" or "pooler" not in name}
        if joint:
            used = {name for name in used if name.startswith("vision_model")}
        visual = _Vision(tower, _picker(tower, way, folder))
    if used:
        raise BackboneError(
            f"the weights in {folder} lack {len(used)} tensors, such as {min(used)}",
            "Download them again, or choose another `pooling`.",
        )
    return visual


def _picker(tower: Any, way: str, folder: Path) -> Callable[[Any], Tensor]:
    if way == "pooler":
        if not _has_pooler(tower):
            raise BackboneError(
                f"the model in {folder} has no pooled vector", "Use `pooling` mean."
            )
        return lambda out: _flat(out.pooler_output)
    n_marks = _marks(tower)
    if way == "cls":
        if not _has_cls(tower):
            raise BackboneError(
                f"the model in {folder} has no class token", "Use `pooling` mean."
            )
        return lambda out: out.last_hidden_state[:, 0]

    def mean(out: Any) -> Tensor:
        places: Tensor = out.last_hidden_state
        if places.ndim == 4:  # a convolutional network's map
            return places.mean(dim=(2, 3))
        return places[:, n_marks:].mean(dim=1)

    return mean


def _flat(vector: Tensor) -> Tensor:
    return vector.flatten(1)


def _has_cls(tower: Any) -> bool:
    return any(
        name.endswith(("cls_token", "class_embedding"))
        for name, _ in tower.named_parameters()
    )


def _marks(tower: Any) -> int:
    """Tokens before those of places."""
    registers = int(getattr(tower.config, "num_register_tokens", 0) or 0)
    return int(_has_cls(tower)) + registers


def _has_pooler(tower: Any) -> bool:
    """Whether its output has a pooled vector; found out on a black picture."""
    size = tower.config.image_size if hasattr(tower.config, "image_size") else 224
    height, width = (size, size) if isinstance(size, int) else size
    with torch.inference_mode():
        out = tower(pixel_values=torch.zeros(1, 3, height, width))
    return getattr(out, "pooler_output", None) is not None


def _shape(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration without what does not shape vectors."""
    left_out = {
        "_name_or_path", "transformers_version", "torch_dtype", "dtype",
        "architectures", "id2label", "label2id",
    }  # fmt: skip
    return {
        key: _shape(value) if isinstance(value, dict) else value
        for key, value in sorted(config.items())
        if key not in left_out
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping) or hasattr(value, "keys"):
        return {key: int(value[key]) for key in sorted(value.keys()) if value[key]}
    return int(value) if isinstance(value, int) else value


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
