"""The one-time stage: every image and every description becomes a vector."""

import os
import time
from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import FeatureStore, ItemFailure, StoreWriter
from retune.store.shards import to_stored
from retune.store.work import (
    count_dataset_findings,
    find_encoder_of_source,
    read_description_work,
    read_fingerprints,
    read_image_work,
    read_known_keys,
)

from ..findings import FINDINGS
from ..memory import keep_freed_memory
from ..progress import Progress, ProgressCallback, silent
from .accelerators import count_installed, idle_accelerator
from .backbones import BackboneSource, load_backbone, source_of
from .encoding_images import (
    Arrangement,
    Encoded,
    EncodedBatch,
    encode_contents,
    encode_images,
    plan_lanes,
)
from .long_texts import adopt_images, measure_texts, of_source, with_long_texts
from .processor import let_threads_sleep, usable_cores
from .reading_images import ImageItem, ReadImage, read_image
from .shard_sink import ShardSink
from .text_sets import load_set
from .work_plan import ImagePlan, file_statuses, plan_images

if TYPE_CHECKING:
    from .backbone import Backbone

__all__ = ["EmbedOptions", "EmbedSummary", "embed", "embed_with"]

_TEXT_BATCH = 128
_ACCELERATOR_LOOKAHEAD = 3
# On the processor larger batches gain nothing and cost memory; an accelerator needs
# them to be busy.
_PROCESSOR_BATCH, _ACCELERATOR_BATCH = 16, 256


@dataclass(frozen=True)
class EmbedOptions:
    """What a user can choose about encoding.

    Attributes:
        backbone: See `retune.pipeline.encode.backbones.source_of`.
        precision: Arithmetic of the forward pass; ``auto``: that of the vectors that
            the store already has of this backbone, else the fastest that agrees with
            float32 on this machine.
        output_dtype: Type of the stored vectors.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:N``.
        batch_size: Images in a forward pass; None: what suits the device.
        workers: Threads that read and decode where batches are not encoded side by
            side, as on an accelerator.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        description_sets: Sets that ship or are in the store by name, or files.
        long: What is done with sentences that exceed the context: ``cut``, or
            ``chunk``: pooled from pieces, under a fingerprint of its own.
        retry_failed: Read again what could not be decoded before.
        wait: If another process writes to the store, wait until it has ended.
        shard_rows: Vectors in a full shard.
        flush_seconds: Publish a shard at least this often.
    """

    backbone: str = "mini"
    precision: str = "auto"
    output_dtype: str = "float16"
    device: str = "auto"
    batch_size: int | None = None
    workers: int = field(default_factory=usable_cores)
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    description_sets: tuple[str, ...] = ("default",)
    long: str = "cut"
    retry_failed: bool = False
    wait: bool = False
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
        descriptions_cut: Those of them of which the backbone saw only the beginning.
        image_seconds: Time spent on images, without loading the backbone.
        read_seconds: Part of it spent waiting for decoded images.
        forward_seconds: Part of it spent in the backbone.
        write_seconds: Part of it spent waiting for a shard to be written.
    """

    fingerprint: str = ""
    images_encoded: int = 0
    images_matched: int = 0
    images_skipped: int = 0
    images_refused: int = 0
    images_failed: int = 0
    descriptions_encoded: int = 0
    descriptions_cut: list[str] = field(default_factory=list)
    image_seconds: float = 0.0
    read_seconds: float = 0.0
    forward_seconds: float = 0.0
    write_seconds: float = 0.0

    @property
    def limiting_stage(self) -> str:
        """Which part of the work takes longest."""
        seconds = {
            "forward": self.forward_seconds,
            "decode": self.read_seconds,
            "write": self.write_seconds,
        }
        return max(seconds, key=lambda stage: seconds[stage])

    @property
    def efficiency(self) -> float:
        """The rate, divided by that of the forward passes alone; 1 is the best."""
        return self.forward_seconds / self.image_seconds if self.image_seconds else 0.0


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
        StoreBusyError: Another process writes to the store, and we do not wait.
        StoreWriteError: The disk refused; everything committed before is kept.
    """
    source = source_of(
        options.backbone,
        precision=options.precision,
        output_dtype=options.output_dtype,
    )
    source = of_source(source, options.long)
    with _writer(store, options, progress) as writer:
        _add_descriptions(store, writer, options)
        known = find_encoder_of_source(store, source.digest) if source.digest else None
        if known is not None:
            plan, texts = _plan(store, known, options)
            if not plan.to_read and not len(texts):
                return _finish(writer, plan, EmbedSummary(known))
        progress(Progress(f"loading {options.backbone}", 0, 0))
        backbone = _load(source, options, read_fingerprints(store))
        backbone = with_long_texts(backbone, options.long)
        _tell_of_idle_accelerators(backbone, progress)
        return _encode_missing(
            store, writer, backbone, source.digest, options, progress
        )


def embed_with(
    store: FeatureStore,
    backbone: "Backbone",
    options: EmbedOptions,
    progress: ProgressCallback = silent,
) -> EmbedSummary:
    """`embed` with a backbone that was loaded or made elsewhere.

    The options' backbone, precision, output type and device are not looked at; the
    backbone has them.

    Raises:
        ConfigurationError: An option names something that does not exist.
        StoreBusyError: Another process writes to the store, and we do not wait.
        StoreWriteError: The disk refused; everything committed before is kept.
    """
    with _writer(store, options, progress) as writer:
        _add_descriptions(store, writer, options)
        return _encode_missing(store, writer, backbone, None, options, progress)


def _writer(
    store: FeatureStore, options: EmbedOptions, progress: ProgressCallback
) -> AbstractContextManager[StoreWriter]:
    def tell(owner: str) -> None:
        progress(Progress(f"waiting for {owner}", 0, 0))

    return store.writer("embed", tell if options.wait else None)


def _encode_missing(
    store: FeatureStore,
    writer: StoreWriter,
    backbone: "Backbone",
    source_digest: str | None,
    options: EmbedOptions,
    progress: ProgressCallback,
) -> EmbedSummary:
    fingerprint = backbone.spec.fingerprint
    writer.add_encoder(
        backbone.spec, source_digest or f"loaded:{fingerprint}", str(backbone.device)
    )
    adopt_images(store, writer, backbone)
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
            for description in load_set(store, set_name, findings)
        ]
        writer.add_descriptions(pa.Table.from_pylist(rows))


def _plan(
    store: FeatureStore, fingerprint: str, options: EmbedOptions
) -> tuple[ImagePlan, pa.Table]:
    work = read_image_work(store, fingerprint, options.datasets, options.where)
    plan = plan_images(work, file_statuses(work), retry_failed=options.retry_failed)
    names = [load_set(store, name)[0].set_name for name in options.description_sets]
    return plan, read_description_work(store, fingerprint, names)


def _load(
    source: BackboneSource, options: EmbedOptions, known: Collection[str]
) -> "Backbone":
    keep_freed_memory()
    let_threads_sleep()
    return load_backbone(
        source,
        precision=options.precision,
        output_dtype=options.output_dtype,
        device=options.device,
        known=known,
    )


def _tell_of_idle_accelerators(
    backbone: "Backbone", progress: ProgressCallback
) -> None:
    import torch

    kind, usable = backbone.device.type, torch.cuda.device_count()
    warning = idle_accelerator(kind, usable, count_installed())
    if warning:
        progress(Progress("warning", 0, 0, warning))


def _embed_texts(
    writer: StoreWriter,
    backbone: "Backbone",
    texts: pa.Table,
    summary: EmbedSummary,
    progress: ProgressCallback,
) -> None:
    with ShardSink(writer, backbone.spec, "text") as sink:
        for start in range(0, len(texts), _TEXT_BATCH):
            batch = texts.slice(start, _TEXT_BATCH)
            sentences = batch["text"].to_pylist()
            digests = batch["text_digest"].to_pylist()
            lengths = measure_texts(
                backbone.tokenizer,
                sentences,
                digests,
                chunked="long" in backbone.spec.tokenizer,
            )
            writer.add_text_lengths(backbone.spec.fingerprint, lengths)
            cut = lengths["truncated"].to_pylist()
            summary.descriptions_cut += [
                text for text, flag in zip(sentences, cut, strict=True) if flag
            ]
            sink.add(digests, backbone.encode_texts(sentences))
            summary.descriptions_encoded += len(batch)
            progress(Progress("descriptions", summary.descriptions_encoded, len(texts)))


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

    def encode(files: Sequence[ReadImage]) -> Encoded:
        encoded = encode_contents(files, backbone.encode_images, sink.has)
        return replace(encoded, vectors=backbone.narrow(encoded.vectors))

    on_processor = backbone.device.type == "cpu"
    usual_batch = _PROCESSOR_BATCH if on_processor else _ACCELERATOR_BATCH
    pipeline = Arrangement(1, usable_cores(), _ACCELERATOR_LOOKAHEAD, options.workers)
    batches = encode_images(
        plan.to_read,
        read,
        encode,
        plan_lanes(usable_cores(), options.workers) if on_processor else [pipeline],
        batch_size=options.batch_size or usual_batch,
        cut_finer=options.batch_size is None,
        set_threads=backbone.use_threads,
    )
    started = time.perf_counter()
    done = 0
    try:
        with sink:  # what is encoded is kept, also on Ctrl-C
            for batch, arrangement in batches:
                _hand_on(batch, sink, summary, backbone.spec.output_dtype)
                summary.read_seconds += batch.read_seconds / arrangement.lanes
                summary.forward_seconds += batch.forward_seconds / arrangement.lanes
                summary.write_seconds = sink.waited_seconds
                summary.image_seconds = time.perf_counter() - started
                done += len(batch.read)
                note = (
                    f"limit: {summary.limiting_stage}, "
                    f"{summary.efficiency:.0%} of forward"
                )
                progress(Progress("images", done, len(plan.to_read), note))
    finally:
        batches.close()
        backbone.use_threads(usable_cores())
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
    sink.note([read.file for read in batch.read if read.file is not None], failures)


def _encode_failure(image: ImageItem, key: str, error: str) -> ItemFailure:
    path = os.path.join(image.root, image.path)  # noqa: PTH118 - as stored
    return ItemFailure(image.image_id, path, "encode", error, key)


def _finish(
    writer: StoreWriter, plan: ImagePlan, summary: EmbedSummary
) -> EmbedSummary:
    writer.note([], plan.missing)
    writer.commit()
    summary.images_skipped = plan.n_encoded
    summary.images_refused = plan.n_refused
    summary.images_failed += len(plan.missing)
    return summary
