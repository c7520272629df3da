"""Vectors of single sentences by the backbone that a store's vectors are of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retune.store import EncoderSpec, FeatureStore
from retune.store.errors import FingerprintMismatchError

from .backbones.chunking import with_long_texts
from .backbones.loading import load_backbone, source_of

__all__ = ["encode_sentences"]

_BATCH = 128


def encode_sentences(
    store: FeatureStore,
    fingerprint: str,
    texts: Sequence[str],
    *,
    backbone: str | None = None,
    device: str = "auto",
) -> dict[str, npt.NDArray[np.float32]]:
    """Encode sentences as `embed` would, without storing them.

    Args:
        store: With vectors of the encoder.
        fingerprint: Of the encoder.
        texts: Sentences; repeats are encoded once.
        backbone: Where it lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        Sentence -> vector, shape (D,), rounded as the store rounds.

    Raises:
        BackboneError: The backbone cannot be loaded.
        FingerprintMismatchError: It is not the one that made the store's vectors.
    """
    rows = store.sql(
        "SELECT spec FROM encoders WHERE fingerprint = ?", [fingerprint]
    ).fetchall()
    spec = EncoderSpec.from_json(rows[0][0])
    source = source_of(
        backbone or spec.backbone,
        precision=spec.precision,
        output_dtype=spec.output_dtype,
        decode=str(spec.preprocess.get("decode", "full")),
        pixels=int(str(spec.preprocess.get("pixels", 1))),
    )
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
            "Its weights, preprocessing and library versions must be those of `embed`.",
        )
    distinct = list(dict.fromkeys(texts))
    vectors = [
        loaded.encode_texts(distinct[start : start + _BATCH])
        for start in range(0, len(distinct), _BATCH)
    ]
    stored = np.concatenate(vectors).astype(spec.output_dtype).astype(np.float32)
    return dict(zip(distinct, stored, strict=True))
