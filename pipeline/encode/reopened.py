"""The backbone that a store's vectors are of, loaded again: the one place for it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from retune.store import EncoderSpec, FeatureStore
from retune.store.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    StoreCorruptError,
)
from retune.store.plural import counted

from ..platform.memory import keep_freed_memory
from ..platform.processor import let_threads_sleep
from .backbones.families.names import POOLINGS
from .backbones.loading import load_backbone
from .backbones.source import source_of

if TYPE_CHECKING:
    from .backbones.contract import Backbone

__all__ = ["encoder_spec", "load_encoder", "reopen_backbone"]


def encoder_spec(store: FeatureStore, fingerprint: str) -> EncoderSpec:
    """What the store knows of one of its encoders.

    Raises:
        ConfigurationError: The store has no such encoder.
        StoreCorruptError: Its record cannot be read.
    """
    rows = store.rows("SELECT spec FROM encoders WHERE fingerprint = ?", [fingerprint])
    if not rows:
        raise ConfigurationError(
            f"the store {store.path} has no encoder {fingerprint}",
            "`retune-cli status` lists its encoders; `retune-cli embed` adds one.",
        )
    try:
        return EncoderSpec.from_json(rows[0][0])
    except ValueError as error:
        raise StoreCorruptError(
            f"the record of encoder {fingerprint} in {store.path} cannot be read: "
            f"{error}",
            "Was the catalog changed by hand? Restore it from a copy.",
        ) from error


def reopen_backbone(
    store: FeatureStore,
    fingerprint: str,
    *,
    backbone: str | None = None,
    device: str = "auto",
    allow_pickle: bool = False,
) -> "Backbone":
    """Load the backbone of an encoder of the store, and check that it is the same.

    Its vectors can be put beside the store's: weights, preprocessing, arithmetic and
    the treatment of long texts are those of `embed`. For imported vectors the caller
    has to say which backbone made them.

    Args:
        store: With vectors of the encoder.
        fingerprint: Fingerprint of the encoder.
        backbone: Where it lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        allow_pickle: Take .bin and .pt files if there are no safetensors. Weights that
            were converted have the same fingerprint.

    Raises:
        BackboneError: The backbone cannot be loaded, or its weights are pickled.
        ConfigurationError: The encoder, the backbone's name or the device is unknown.
        FingerprintMismatchError: It is not the one that made the store's vectors.
        StoreCorruptError: The encoder's record cannot be read.
    """
    spec = encoder_spec(store, fingerprint)
    return load_encoder(
        spec, backbone=backbone, device=device, allow_pickle=allow_pickle
    )


def load_encoder(
    spec: EncoderSpec,
    *,
    backbone: str | None = None,
    device: str = "auto",
    allow_pickle: bool = False,
) -> "Backbone":
    """`reopen_backbone` of an encoder whose record was read before.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigurationError: The backbone's name or the device is unknown.
        FingerprintMismatchError: It is another one.
    """
    fingerprint = spec.fingerprint
    keep_freed_memory()
    let_threads_sleep()
    if spec.parts:
        raise ConfigurationError(
            f"'{spec.backbone}' ({fingerprint}) is several encoders side by side; a "
            "new picture or sentence is encoded by one at a time",
            "Ingest new files and `embed` them with each of "
            f"{', '.join(spec.parts)}: `evaluate` then scores them. Or choose a run of "
            "one encoder.",
        )
    if spec.imported:
        return _stand_in(spec, backbone, device, allow_pickle=allow_pickle)
    source = source_of(
        backbone or spec.backbone,
        precision=spec.precision,
        output_dtype=spec.output_dtype,
        decode=str(spec.preprocess.get("decode", "full")),
        pixels=int(str(spec.preprocess.get("pixels", 1))),
        **_chosen(spec),
        allow_pickle=allow_pickle,
    )
    from .backbones.chunking import with_long_texts  # loads torch

    with _one_thread():
        loaded = load_backbone(
            source,
            precision=spec.precision,
            output_dtype=spec.output_dtype,
            device=device,
        )
    loaded = with_long_texts(loaded, str(spec.tokenizer.get("long", "cut")))
    if loaded.spec.fingerprint != fingerprint:
        raise FingerprintMismatchError(
            f"the store's vectors are of {fingerprint}; '{source.name}' is "
            f"{loaded.spec.fingerprint}",
            "Say with `backbone` where the backbone of `embed` lies. Its weights, "
            "preprocessing and library versions must be those of `embed`.",
        )
    return loaded


def _stand_in(
    spec: EncoderSpec, backbone: str | None, device: str, *, allow_pickle: bool
) -> "Backbone":
    """The backbone that a user says has made imported vectors.

    Nothing can tell whether it has; only the length of its vectors is compared.

    Raises:
        ConfigurationError: None is named.
        FingerprintMismatchError: Its vectors have another length.
    """
    if backbone is None:
        raise ConfigurationError(
            f"vectors of '{spec.backbone}' ({spec.fingerprint}) were imported, and the "
            "backbone that makes them is not here to encode anything",
            "Name the same model with `encode_with`, such as hf:PATH; its weights and "
            "preprocessing have to be those of the imported vectors.",
        )
    source = source_of(
        backbone,
        precision="auto",
        output_dtype=spec.output_dtype,
        allow_pickle=allow_pickle,
    )
    loaded = load_backbone(source, output_dtype=spec.output_dtype, device=device)
    if loaded.spec.dim != spec.dim:
        raise FingerprintMismatchError(
            f"'{backbone}' gives {counted(loaded.spec.dim, 'number')}, the imported "
            f"vectors of '{spec.backbone}' have {spec.dim}",
            "Name the model that made them with `encode_with`.",
        )
    return loaded


def _chosen(spec: EncoderSpec) -> dict[str, Any]:
    """How images were pooled."""
    words = spec.pooling.removeprefix("image: ").split(", ")
    layer = "pooled" if "layer: pooled" in words else "projected"
    ours = "transformers" in spec.model_config
    pooling = words[0] if ours and words[0] in POOLINGS else "auto"
    return {"pooling": pooling, "layer": layer}


@contextmanager
def _one_thread() -> Iterator[None]:
    """Load in one torch thread.

    Loading tries a few pictures. Where torch was loaded before threads were told to
    sleep, they spin for each other: loading mini on two cores that other processes
    used took 4.0 s of processor time (12 s in all), in one thread 1.1 s (3.1 s).
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
