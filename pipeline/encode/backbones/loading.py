"""Loading a backbone: weights, preprocessing and tokenizer, on a device."""

import json
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.store import EncoderSpec, content_digest
from retune.store.errors import ConfigurationError

from .hub import go_offline_without_network
from .source import BackboneSource

if TYPE_CHECKING:
    import torch

    from .contract import Backbone
    from .families.parts import Parts

__all__ = ["load_backbone", "resolve_device"]


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
        from .families.open_clip_files import fetched_folder
        from .families.transformers_model import load_transformers

        folder = Path(source.location)
        if not folder.is_dir():
            folder = fetched_folder(source)
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
    from .families.open_clip_files import open_clip_model
    from .families.open_clip_model import parts_of

    return parts_of(
        *open_clip_model(source),
        scaled=source.decode == "scaled",
        layer=source.layer,
        name=source.name,
    )


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
