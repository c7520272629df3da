"""Vectors of single sentences by the backbone that a store's vectors are of."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore

from .reopened import reopen_backbone

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
        fingerprint: Fingerprint of the encoder.
        texts: Sentences; repeats are encoded once.
        backbone: Where it lies now; None: where it was at `embed`.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns:
        Sentence -> vector, shape (D,), rounded as the store rounds.

    Raises:
        RetuneError: See `reopen_backbone`.
    """
    distinct = list(dict.fromkeys(texts))
    if not distinct:
        return {}
    loaded = reopen_backbone(store, fingerprint, backbone=backbone, device=device)
    vectors = [
        loaded.encode_texts(distinct[start : start + _BATCH])
        for start in range(0, len(distinct), _BATCH)
    ]
    stored = np.concatenate(vectors).astype(loaded.spec.output_dtype)
    return dict(zip(distinct, stored.astype(np.float32), strict=True))
