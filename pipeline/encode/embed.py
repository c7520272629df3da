"""The one-time stage: every image and every description becomes a vector."""

from contextlib import AbstractContextManager, ExitStack
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING

import pyarrow as pa

from retune.store import FeatureStore, StoreWriter
from retune.store.errors import ConfigurationError
from retune.store.queries.work import (
    find_encoder_of_source,
    read_dataset_findings,
    read_description_work,
    read_fingerprints,
    read_image_work,
    read_known_keys,
)

from ..datasets.contamination import TrainedOn
from ..descriptions.named_sets import load_set
from ..findings import FINDINGS
from ..healed import tell_healed
from ..progress import Progress, ProgressCallback, silent
from .backbones.accelerators import count_installed, idle_accelerator
from .backbones.long_texts import adopt_images, of_source
from .backbones.source import BackboneSource, source_of
from .backbones.trained_on import trained_on_of
from .concatenation import extend_concatenations
from .engines.engine import Engine, LocalEngine
from .engines.loading import load_to_embed
from .images.picture import PIXEL_RULES
from .options import EmbedOptions, EmbedSummary
from .pixel_rules import pixel_rules
from .plan import ImagePlan, plan_work
from .reopened import encoder_spec
from .stage.sink import ShardSink

if TYPE_CHECKING:
    from .backbones.contract import Backbone

__all__ = ["EmbedOptions", "EmbedSummary", "embed", "embed_with"]

_ENGINES = ("local", "ray")
_TEXT_BATCH = 128
#: Missing files that are entered together.
_FAILURES_TOGETHER = 65_536


def embed(
    store: FeatureStore,
    options: EmbedOptions,
    progress: ProgressCallback = silent,
) -> EmbedSummary:
    """Encode whatever of a store has no vector of the chosen backbone yet.

    Finished shards are committed as they come, so an interrupted call loses at most
    the shard in hand, and a repeated one does only what is missing.

    On a processor it is a third faster where `memory.keep_freed_memory` was called
    before numpy and torch were imported, as the command does.

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
    if options.engine not in _ENGINES:
        raise ConfigurationError(
            f"unknown engine '{options.engine}'", f"Use {' or '.join(_ENGINES)}."
        )
    source = _source(options, PIXEL_RULES)
    with _writer(store, options, progress) as writer, ExitStack() as until_done:
        tell_healed(writer.reconciled, progress)
        rules = pixel_rules(store, writer, options.backbone, progress)
        if rules != PIXEL_RULES:
            source = _source(options, rules)
        _add_descriptions(store, writer, options)
        known = find_encoder_of_source(store, source.digest) if source.digest else None
        trained_on = trained_on_of(source)
        if known is not None:
            writer.add_trained_on(known, trained_on.to_table())
            plan, texts = _plan(store, known, options)
            if not plan.to_read and not len(texts):
                return _finish(store, writer, plan, EmbedSummary(known))
        progress(Progress(f"loading {options.backbone}", 0, 0))
        engine: Engine
        fingerprints = read_fingerprints(store)
        if options.engine == "ray":
            from .engines.ray_engine import RayEngine

            engine = RayEngine(store.path, source, options, fingerprints)
            until_done.callback(engine.close)
        else:
            backbone = load_to_embed(source, options, fingerprints)
            engine = LocalEngine(backbone, options)
            _tell_of_idle_accelerators(engine.device, progress)
        return _encode_missing(
            store, writer, engine, source.digest, trained_on, options, progress
        )


def _source(options: EmbedOptions, rules: int) -> BackboneSource:
    source = source_of(
        options.backbone,
        precision=options.precision,
        output_dtype=options.output_dtype,
        decode=options.decode,
        pixels=rules,
        pooling=options.pooling,
        layer=options.layer,
        allow_pickle=options.allow_pickle,
    )
    return of_source(source, options.long)


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
        tell_healed(writer.reconciled, progress)
        _add_descriptions(store, writer, options)
        engine = LocalEngine(backbone, options)
        return _encode_missing(store, writer, engine, None, None, options, progress)


def _writer(
    store: FeatureStore, options: EmbedOptions, progress: ProgressCallback
) -> AbstractContextManager[StoreWriter]:
    def tell(owner: str) -> None:
        progress(Progress(f"waiting for {owner}", 0, 0))

    return store.writer("embed", tell if options.wait else None)


def _encode_missing(
    store: FeatureStore,
    writer: StoreWriter,
    engine: Engine,
    source_digest: str | None,
    trained_on: TrainedOn | None,
    options: EmbedOptions,
    progress: ProgressCallback,
) -> EmbedSummary:
    fingerprint = engine.spec.fingerprint
    writer.add_encoder(
        engine.spec, source_digest or f"loaded:{fingerprint}", engine.device
    )
    if trained_on is not None:
        writer.add_trained_on(fingerprint, trained_on.to_table())
    adopt_images(store, writer, engine.spec)
    plan, texts = _plan(store, fingerprint, options)
    summary = EmbedSummary(fingerprint)
    _embed_texts(writer, engine, texts, summary, progress)
    known_keys = read_known_keys(store, fingerprint, "image")
    try:
        engine.embed_images(writer, plan.to_read, known_keys, summary, progress)
    except KeyboardInterrupt:
        _note_rate(writer, engine, summary)
        raise
    _note_rate(writer, engine, summary)
    return _finish(store, writer, plan, summary)


def _note_rate(writer: StoreWriter, engine: Engine, summary: EmbedSummary) -> None:
    """Enter how long it took, for a choice among backbones."""
    if summary.images_encoded:
        writer.add_encoding(
            summary.fingerprint,
            summary.images_encoded,
            summary.image_seconds,
            engine.device,
        )


def _add_descriptions(
    store: FeatureStore, writer: StoreWriter, options: EmbedOptions
) -> None:
    """Enter the sets' sentences for all findings that are known or in the datasets."""
    findings = list(dict.fromkeys([*FINDINGS, *read_dataset_findings(store)]))
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
    known_keys = read_known_keys(store, fingerprint, "image")
    work = read_image_work(store, known_keys, options.datasets, options.where)
    plan = plan_work(work, retry_failed=options.retry_failed)
    names = [load_set(store, name)[0].set_name for name in options.description_sets]
    if encoder_spec(store, fingerprint).image_only:
        names = []
    return plan, read_description_work(store, fingerprint, names)


def _tell_of_idle_accelerators(device: str, progress: ProgressCallback) -> None:
    import torch

    device_type = device.partition(":")[0]
    warning = idle_accelerator(
        device_type, torch.cuda.device_count(), count_installed()
    )
    if warning:
        progress(Progress("warning", 0, 0, warning))


def _embed_texts(
    writer: StoreWriter,
    engine: Engine,
    texts: pa.Table,
    summary: EmbedSummary,
    progress: ProgressCallback,
) -> None:
    with ShardSink(writer, engine.spec, "text") as sink:
        for start in range(0, len(texts), _TEXT_BATCH):
            batch = texts.slice(start, _TEXT_BATCH)
            sentences, digests = (
                batch[name].to_pylist() for name in ("text", "text_digest")
            )
            lengths = engine.measure_texts(sentences, digests)
            writer.add_text_lengths(engine.spec.fingerprint, lengths)
            cut = lengths["truncated"].to_pylist()
            summary.descriptions_cut += [
                text for text, flag in zip(sentences, cut, strict=True) if flag
            ]
            sink.add(digests, engine.encode_texts(sentences))
            summary.descriptions_encoded += len(batch)
            progress(Progress("descriptions", summary.descriptions_encoded, len(texts)))


def _finish(
    store: FeatureStore, writer: StoreWriter, plan: ImagePlan, summary: EmbedSummary
) -> EmbedSummary:
    missing = iter(plan.missing)
    while some := list(islice(missing, _FAILURES_TOGETHER)):
        writer.note([], some)
        writer.commit()
    writer.commit()
    extend_concatenations(store, writer, summary.fingerprint)
    summary.images_skipped = plan.n_encoded
    summary.images_refused = plan.n_refused
    summary.images_failed += len(plan.missing)
    return summary
