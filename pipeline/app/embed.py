"""Every image and description that has no vector yet gets one."""

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

from ..encode.embed import EmbedOptions, EmbedSummary
from ..encode.embed import embed as encode_missing
from ..progress import ProgressCallback, silent

__all__ = ["EmbedOptions", "EmbedSummary", "embed", "images_per_second"]

_STORED_TYPES = ("float16", "float32")


def embed(
    store: FeatureStore, options: EmbedOptions, progress: ProgressCallback = silent
) -> EmbedSummary:
    """Encode what a store has no vector of; see `retune.pipeline.encode.embed`.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigurationError: An option names something that does not exist.
        StoreBusyError: Another process writes to the store, and we do not wait.
        StoreWriteError: The disk refused; everything committed before is kept.
    """
    if options.output_dtype not in _STORED_TYPES:
        raise ConfigurationError(
            f"vectors cannot be stored as '{options.output_dtype}'",
            f"Use {' or '.join(_STORED_TYPES)}.",
        )
    return encode_missing(store, options, progress)


def images_per_second(summary: EmbedSummary) -> float:
    """The rate of an `embed`, without loading the backbone; 0 if nothing was encoded.

    >>> images_per_second(EmbedSummary(images_encoded=10, image_seconds=2.0))
    5.0
    """
    if not summary.image_seconds:
        return 0.0
    return summary.images_encoded / summary.image_seconds
