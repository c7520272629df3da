"""The one-time stage: every image and every description becomes a vector."""

import os
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import FeatureStore, ItemFailure, StoreWriter
from retune.store.work import (
    count_dataset_findings,
    find_encoder_of_source,
    read_description_work,
    read_image_work,
    read_known_keys,
)

from ..findings import FINDINGS
from ..progress import Progress, ProgressCallback, silent
from .backbones import BackboneSource, load_backbone, source_of
from .descriptions import load_descriptions
from .processor import keep_freed_memory, let_threads_sleep
from .reading_images import ImageItem, ReadImage, read_batches, read_image
from .shard_sink import ShardSink, storable
from .work_plan import ImagePlan, file_statuses, plan_images

if TYPE_CHECKING:
    from .backbone import Backbone

__all__ = ["EmbedOptions", "EmbedSummary", "embed"]

_TEXT_BATCH = 128
_ACCELERATOR_LOOKAHEAD = 3
# On the processor larger batches gain nothing and cost memory; an accelerator needs
# them to be busy.
_PROCESSOR_BATCH, _ACCELERATOR_BATCH = 32, 256


def _usable_cores() -> int:
    return len(os.sched_getaffinity(0))


@dataclass(frozen=True)
class EmbedOptions:
    """What a user can choose about encoding.

    Attributes:
        backbone: See `retune.pipeline.encode.backbones.source_of`.
        precision: Arithmetic of the forward pass.
        output_dtype: Type of the stored vectors.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        batch_size: Images in a forward pass; None: what suits the device.
        workers: Threads that read and decode.
        datasets: Only these; None for all.
        description_sets: Shipped sets by name, or files.
        retry_failed: Read again what could not be decoded before.
        shard_rows: Vectors in a full shard.
        flush_seconds: Publish a shard at least this often.
    """

    backbone: str = "mini"
    precision: str = "float32"
    output_dtype: str = "float16"
    device: str = "auto"
    batch_size: int | None = None
    workers: int = field(default_factory=_usable_cores)
    datasets: tuple[str, ...] | None = None
    description_sets: tuple[str, ...] = ("default",)
    retry_failed: bool = False
    shard_rows: int = 16_384
    flush_seconds: float = 60.0


@dataclass
class EmbedSummary:
    """What an `embed` did.

    Attributes:
        fingerprint: Of the encoder.
        images_encoded: Images that went through the backbone.
        images_matched: Images whose content turned out to have a vector already: moved,
            renamed or duplicate files.
        images_skipped: Images that were done before and have not changed.
        images_refused: Images that could not be decoded before and have not changed.
        images_failed: Images that could not be used this time.
        descriptions_encoded: Sentences that went through the backbone.
        image_seconds: Time spent on images, without loading the backbone.
        read_seconds: Part of it spent waiting for decoded images.
        forward_seconds: Part of it spent in the backbone.
    """

    fingerprint: str = ""
    images_encoded: int = 0
    images_matched: int = 0
    images_skipped: int = 0
    images_refused: int = 0
    images_failed: int = 0
    descriptions_encoded: int = 0
    image_seconds: float = 0.0
    read_seconds: float = 0.0
    forward_seconds: float = 0.0

    @property
    def limiting_stage(self) -> str:
        """Which part of the work takes longest."""
        return "forward" if self.forward_seconds >= self.read_seconds else "decode"


def embed(
    store: FeatureStore,
    options: EmbedOptions,
    progress: ProgressCallback = silent,
) -> EmbedSummary:
    """Encode whatever of a store has no vector of the chosen backbone yet.

    Finished shards are committed as they come, so an interrupted call loses at most
    the shard in hand, and a repeated one does only what is missing.

    Args:
        store: Where images are known and vectors go.
        options: What to encode, and how.
        progress: Told after each batch.

    Raises:
        BackboneError: The backbone cannot be loaded.
        ConfigurationError: An option names something that does not exist.
        StoreBusyError: Another process writes to the store.
        StoreWriteError: The disk refused; everything committed before is kept.
    """
    source = source_of(
        options.backbone,
        precision=options.precision,
        output_dtype=options.output_dtype,
    )
    with store.writer("embed") as writer:
        _add_descriptions(store, writer, options)
        known = find_encoder_of_source(store, source.digest) if source.digest else None
        if known is not None:
            plan, texts = _plan(store, known, options)
            if not plan.to_read and not len(texts):
                return _finish(writer, plan, EmbedSummary(known))
        progress(Progress(f"loading {options.backbone}", 0, 0))
        backbone = _load(writer, source, options)
        fingerprint = backbone.spec.fingerprint
        plan, texts = _plan(store, fingerprint, options)
        summary = EmbedSummary(fingerprint)
        _embed_texts(writer, backbone, texts, summary, progress)
        known_keys = read_known_keys(store, fingerprint, "image")
        _embed_images(writer, backbone, plan, known_keys, options, summary, progress)
        return _finish(writer, plan, summary)


def _add_descriptions(
    store: FeatureStore, writer: StoreWriter, options: EmbedOptions
) -> None:
    """Enter the sets' sentences for all findings that are known or in the datasets."""
    findings = list(dict.fromkeys([*FINDINGS, *count_dataset_findings(store)]))
    for set_name in options.description_sets:
        rows = [
            {
                "description_id": description.description_id,
                "text_digest": description.text_digest,
                **asdict(description),
            }
            for description in load_descriptions(set_name, findings)
        ]
        writer.add_descriptions(pa.Table.from_pylist(rows))


def _plan(
    store: FeatureStore, fingerprint: str, options: EmbedOptions
) -> tuple[ImagePlan, pa.Table]:
    work = read_image_work(store, fingerprint, options.datasets)
    plan = plan_images(work, file_statuses(work), retry_failed=options.retry_failed)
    names = [load_descriptions(name)[0].set_name for name in options.description_sets]
    return plan, read_description_work(store, fingerprint, names)


def _load(
    writer: StoreWriter, source: BackboneSource, options: EmbedOptions
) -> "Backbone":
    keep_freed_memory()
    let_threads_sleep()
    backbone = load_backbone(
        source,
        precision=options.precision,
        output_dtype=options.output_dtype,
        device=options.device,
    )
    writer.add_encoder(
        backbone.spec,
        source.digest or f"loaded:{backbone.spec.fingerprint}",
        str(backbone.device),
    )
    return backbone


def _embed_texts(
    writer: StoreWriter,
    backbone: "Backbone",
    texts: pa.Table,
    summary: EmbedSummary,
    progress: ProgressCallback,
) -> None:
    sink = ShardSink(writer, backbone.spec, "text")
    for start in range(0, len(texts), _TEXT_BATCH):
        batch = texts.slice(start, _TEXT_BATCH)
        vectors = backbone.encode_texts(batch["text"].to_pylist())
        sink.add(batch["text_digest"].to_pylist(), vectors)
        summary.descriptions_encoded += len(batch)
        progress(Progress("descriptions", summary.descriptions_encoded, len(texts)))
    sink.flush()


def _embed_images(
    writer: StoreWriter,
    backbone: "Backbone",
    plan: ImagePlan,
    known_keys: npt.NDArray[np.bytes_],
    options: EmbedOptions,
    summary: EmbedSummary,
    progress: ProgressCallback,
) -> None:
    sink = ShardSink(
        writer,
        backbone.spec,
        "image",
        shard_rows=options.shard_rows,
        flush_seconds=options.flush_seconds,
    )

    def is_known(digest: str) -> bool:
        key = digest.encode()
        place = int(np.searchsorted(known_keys, key))
        return place < len(known_keys) and known_keys[place] == key

    def read(item: ImageItem) -> ReadImage:
        return read_image(item, backbone.preprocess.to_pixels, is_known)

    on_processor = backbone.device.type == "cpu"
    usual_batch = _PROCESSOR_BATCH if on_processor else _ACCELERATOR_BATCH
    batches = read_batches(
        plan.to_read,
        read,
        batch_size=options.batch_size or usual_batch,
        workers=options.workers,
        lookahead=0 if on_processor else _ACCELERATOR_LOOKAHEAD,
    )
    started = waited = time.perf_counter()
    done = 0
    try:
        for batch in batches:
            summary.read_seconds += time.perf_counter() - waited
            _encode_batch(backbone, batch, sink, summary)
            done += len(batch)
            progress(
                Progress(
                    "images",
                    done,
                    len(plan.to_read),
                    f"limit: {summary.limiting_stage}",
                )
            )
            waited = time.perf_counter()
    except KeyboardInterrupt:
        sink.flush()  # what is encoded is kept; the rest is done next time
        raise
    finally:
        batches.close()
    sink.flush()
    summary.image_seconds = time.perf_counter() - started


def _encode_batch(
    backbone: "Backbone",
    batch: Sequence[ReadImage],
    sink: ShardSink,
    summary: EmbedSummary,
) -> None:
    """Encode what a batch has to encode, each content once, and hand all on."""
    fresh: dict[str, ReadImage] = {}
    for read in batch:
        if read.pixels is not None and read.file is not None:
            digest = read.file.content_digest
            if digest in fresh or sink.has(digest):
                summary.images_matched += 1
            else:
                fresh[digest] = read
    failures = [read.failure for read in batch if read.failure is not None]
    summary.images_matched += sum(
        read.pixels is None and read.failure is None for read in batch
    )
    started = time.perf_counter()
    if fresh:
        pixels = np.stack(
            [read.pixels for read in fresh.values() if read.pixels is not None]
        )
        vectors = backbone.encode_images(pixels)
        good = storable(vectors, backbone.spec.output_dtype)
        sink.add(
            [key for key, fine in zip(fresh, good, strict=True) if fine], vectors[good]
        )
        failures += [
            ItemFailure(
                read.item.image_id,
                os.path.join(read.item.root, read.item.path),  # noqa: PTH118 - as stored
                "encode",
                f"the backbone gave a vector that {backbone.spec.output_dtype} cannot "
                "hold (not finite, zero, or too large)",
                key,
            )
            for (key, read), fine in zip(fresh.items(), good, strict=True)
            if not fine
        ]
        summary.images_encoded += int(good.sum())
    summary.forward_seconds += time.perf_counter() - started
    summary.images_failed += len(failures)
    sink.note([read.file for read in batch if read.file is not None], failures)


def _finish(
    writer: StoreWriter, plan: ImagePlan, summary: EmbedSummary
) -> EmbedSummary:
    writer.note([], plan.missing)
    writer.commit()
    summary.images_skipped = plan.n_encoded
    summary.images_refused = plan.n_refused
    summary.images_failed += len(plan.missing)
    return summary
