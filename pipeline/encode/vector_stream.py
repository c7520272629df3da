"""Images become vectors batch by batch, as in `embed`, without a store."""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retune.store.vectors.shards import to_stored

from ..platform.processor import usable_cores
from .images.reading import ImageItem, ReadImage
from .options import EmbedOptions
from .stage.batches import Encoded, encode_contents
from .stage.forward_gate import ForwardGate
from .stage.lanes import EncodedBatch, encode_images, plan_lanes, plan_pipeline

if TYPE_CHECKING:
    from .backbones.contract import Backbone

__all__ = ["VectorBatch", "stream_vectors"]


@dataclass(frozen=True)
class VectorBatch:
    """What became of B images that follow each other.

    Attributes:
        items: The images, in order.
        errors: Why an image has no vector, B texts; empty where it has one.
        vectors: Shape (n, D) for the n images without an error, in order, in the
            store's type: rounded as in the store, so that a known image gets the same
            scores.
    """

    items: tuple[ImageItem, ...]
    errors: tuple[str, ...]
    vectors: npt.NDArray[np.floating]


def stream_vectors(
    backbone: "Backbone",
    items: Sequence[ImageItem],
    read: Callable[[ImageItem], ReadImage],
    *,
    batch_size: int | None = None,
) -> Generator[VectorBatch]:
    """Read and encode images in order, at the rate of `embed` and in its memory.

    Args:
        backbone: Encodes.
        items: What to read; only a few batches of them are in memory at a time.
        read: Reads one of them; called from several threads.
        batch_size: Images in a forward pass; None: what suits the device.

    Yields:
        Batches in the order of `items`.

    Raises:
        BackboneError: The backbone fails on every image of a batch.
    """
    options = EmbedOptions(batch_size=batch_size)
    cores = usable_cores()
    on_processor = backbone.device.type == "cpu"
    gate = ForwardGate(backbone, shared=on_processor)

    def encode(files: Sequence[ReadImage]) -> Encoded:
        return encode_contents(files, gate.forward, lambda _: False)

    batches = encode_images(
        items,
        read,
        encode,
        plan_lanes(cores, options.workers)
        if on_processor
        else [plan_pipeline(options.workers)],
        batch_size=options.batch_size_on(backbone.device.type),
        cut_finer=on_processor and batch_size is None,
        set_threads=backbone.use_threads,
    )
    try:
        for batch, _ in batches:
            yield _to_vectors(batch, backbone)
    finally:
        batches.close()
        backbone.use_threads(cores)


def _to_vectors(batch: EncodedBatch, backbone: "Backbone") -> VectorBatch:
    """Bring the vectors of contents, each encoded once, to the files they are of."""
    encoded, output_dtype = batch.encoded, backbone.spec.output_dtype
    stored, good = to_stored(backbone.narrow(encoded.vectors), output_dtype)
    row_of = {key: row for row, key in enumerate(encoded.keys) if good[row]}
    refused = {key: error for _, key, error in encoded.refused}
    errors, rows = [], []
    for one in batch.read:
        error = one.failure.error if one.failure else ""
        key = one.file.content_digest if one.file else ""
        if not error and key not in row_of:
            error = refused.get(key) or (
                f"the backbone gave a vector that {output_dtype} cannot hold (not "
                "finite, zero, or too large)"
            )
        errors.append(error)
        if not error:
            rows.append(row_of[key])
    return VectorBatch(
        tuple(one.item for one in batch.read),
        tuple(errors),
        stored[np.array(rows, dtype=np.int64)],
    )
