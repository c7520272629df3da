"""From image files to shards with one backbone in one process."""

import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from retune.store import ItemFailure
from retune.store.vectors.shards import to_stored

from ...platform.processor import usable_cores
from ...progress import Progress, ProgressCallback, silent
from ..images.isolation import end_decoding
from ..images.reading import ImageItem, ReadImage, read_image
from ..options import EmbedOptions, EmbedSummary
from .batches import Encoded, encode_contents
from .forward_gate import ForwardGate
from .lanes import EncodedBatch, encode_images, plan_lanes, plan_pipeline
from .sink import ShardSink

if TYPE_CHECKING:
    from ..backbones.contract import Backbone

__all__ = ["embed_images"]


def embed_images(
    sink: ShardSink,
    backbone: "Backbone",
    items: Sequence[ImageItem],
    known_keys: npt.NDArray[np.bytes_],
    options: EmbedOptions,
    summary: EmbedSummary,
    progress: ProgressCallback = silent,
    *,
    cores: int | None = None,
) -> None:
    """Read and encode images and give the sink what is new.

    Args:
        sink: For image vectors; left when all is written, also after Ctrl-C.
        backbone: Encodes.
        items: What to read, in this order.
        known_keys: Sorted digests of contents that have a vector, 32 bytes each.
        options: Batch size and decoding threads.
        summary: Counts and times are added to it.
        progress: Told after each batch.
        cores: To use on a processor; None: all that may be used.

    Raises:
        BackboneError: The backbone fails on every image of a batch.
        StoreWriteError: The disk refused a shard.
    """
    cores = cores or usable_cores()

    def is_known(digest: str) -> bool:
        key = digest.encode()
        row = int(np.searchsorted(known_keys, key))
        return row < len(known_keys) and known_keys[row] == key

    stopping = threading.Event()

    def stop() -> None:
        """Whoever stops must not wait for a batch, nor for an image that hangs."""
        stopping.set()
        end_decoding()

    def read(item: ImageItem) -> ReadImage:
        if stopping.is_set():  # nobody waits for the rest of the batch
            raise CancelledError
        preprocess = backbone.preprocess
        return read_image(
            item, preprocess.to_pixels, is_known, preprocess.decode_at_least
        )

    on_processor = backbone.device.type == "cpu"
    gate = ForwardGate(backbone, shared=on_processor)

    def encode(files: Sequence[ReadImage]) -> Encoded:
        encoded = encode_contents(files, gate.forward, sink.has)
        return replace(encoded, vectors=backbone.narrow(encoded.vectors))

    workers = options.workers
    batches = encode_images(
        items,
        read,
        encode,
        plan_lanes(cores, workers) if on_processor else [plan_pipeline(workers)],
        batch_size=options.batch_size_on(backbone.device.type),
        cut_finer=on_processor and options.batch_size is None,
        set_threads=backbone.use_threads,
        stop=stop,
    )
    started = time.perf_counter()
    done = 0
    try:
        with sink:  # what is encoded is kept, also on Ctrl-C
            for batch, arrangement in batches:
                _hand_on(batch, sink, summary, backbone.spec.output_dtype)
                summary.read_seconds += batch.read_seconds / arrangement.lanes
                side_by_side = arrangement.lanes if on_processor else 1
                summary.forward_seconds += gate.seconds_since_asked() / side_by_side
                summary.write_seconds = sink.waited_seconds
                summary.image_seconds = time.perf_counter() - started
                done += len(batch.read)
                note = (
                    f"limit: {summary.limiting_stage}, "
                    f"{summary.efficiency:.0%} of forward"
                )
                progress(Progress("images", done, len(items), note))
    finally:
        batches.close()
        backbone.use_threads(cores)
    summary.image_seconds = time.perf_counter() - started


def _hand_on(
    batch: EncodedBatch, sink: ShardSink, summary: EmbedSummary, output_dtype: str
) -> None:
    """Count a batch and give the sink what it has not got yet."""
    encoded = batch.encoded
    # Two lanes may have met the same content at the same time.
    new = np.array([not sink.has(key) for key in encoded.keys], dtype=bool)
    stored, good = to_stored(encoded.vectors, output_dtype)
    taken = np.flatnonzero(new & good)
    if len(taken):
        sink.add([encoded.keys[row] for row in taken], stored[taken])
    failures = [read.failure for read in batch.read if read.failure is not None]
    failures += [
        _encode_failure(
            encoded.images[row],
            encoded.keys[row],
            f"the backbone gave a vector that {output_dtype} cannot hold (not finite, "
            "zero, or too large)",
        )
        for row in np.flatnonzero(~good)
    ]
    failures += [
        _encode_failure(image, key, error) for image, key, error in encoded.refused
    ]
    summary.images_encoded += len(taken)
    summary.images_failed += len(failures)
    summary.images_matched += len(batch.read) - len(taken) - len(failures)
    summary.images_with_text += sum(
        read.file is not None and read.file.burned_in_text for read in batch.read
    )
    sink.note([read.file for read in batch.read if read.file is not None], failures)


def _encode_failure(image: ImageItem, key: str, error: str) -> ItemFailure:
    path = os.path.join(image.root, image.path)  # noqa: PTH118 - as stored
    return ItemFailure(image.image_id, path, "encode", error, key)
