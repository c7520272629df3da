"""Loading a backbone in a process that embeds with it."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from retune.store.errors import ConfigurationError

from ...platform.memory import keep_freed_memory
from ...platform.processor import let_threads_sleep
from ..backbones.loading import load_backbone, resolve_device
from ..backbones.source import BackboneSource
from ..options import EmbedOptions

if TYPE_CHECKING:
    from ..backbones.contract import Backbone

__all__ = ["load_to_embed"]


def load_to_embed(
    source: BackboneSource, options: EmbedOptions, known: Collection[str]
) -> "Backbone":
    """Load a backbone as the options say, and make this process fit for it.

    Args:
        source: Source of the backbone.
        options: Precision, device and how long texts are treated.
        known: Fingerprints of vectors that are there already.

    Raises:
        BackboneError: It cannot be had, or cannot be compiled.
        ConfigurationError: The device or the precision does not exist, or a processor
            was to compile.
    """
    keep_freed_memory()
    let_threads_sleep()
    device = resolve_device(options.device)
    if options.compiled and device.type == "cpu":
        # Measured with mini on two cores: 76 images/s compiled, 95 without.
        raise ConfigurationError(
            "`compiled` is for accelerators: on a processor it makes nothing faster",
            "Leave it out.",
        )
    backbone = load_backbone(
        source,
        precision=options.precision,
        output_dtype=options.output_dtype,
        device=str(device),
        known=known,
        compile_for=options.batch_size_on(device.type) if options.compiled else None,
    )
    from ..backbones.chunking import with_long_texts  # loads torch

    return with_long_texts(backbone, options.long)
