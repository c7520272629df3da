"""Encoding on the workers of a Ray cluster.

Ray places the workers, restarts one that died and repeats its unit; none of that is
done here. Workers read images and write shards into the store's folder, which all
machines must share under the same path. Only this process, the driver, writes to the
catalog. If it dies, its workers die with it, and the next `embed` adopts the shards
that they had finished.
"""

import importlib
import os
import socket
import time
import uuid
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import EncoderSpec, FileState, ItemFailure, StoreWriter
from retune.store.errors import (
    BackboneError,
    ConfigurationError,
    FingerprintMismatchError,
    RetuneError,
)
from retune.store.vectors.shards import Keys, Vectors, publish_shard

from ...progress import Progress, ProgressCallback
from ..backbones.long_texts import measure_texts
from ..backbones.source import BackboneSource
from ..images.reading import ImageItem
from ..options import EmbedOptions, EmbedSummary
from ..stage.sink import COMMIT_PATIENCE_SECONDS, COMMIT_SECONDS, ShardSink
from ..stage.stage import embed_images
from .loading import load_to_embed
from .work_units import WorkUnit, plan_units

__all__ = ["RayEngine"]

#: Times that a unit is repeated because its worker died.
_RETRIES = 3
_KNOCK_SECONDS = 10.0
_FOREVER_SECONDS = float("inf")
_INSTALL_HINT = "Install it: pip install 'retune-cli[ray]'."


@dataclass
class _UnitCollector:
    """Has what a sink asks of a store's writer, and writes one shard, no catalog."""

    root: Path
    shard_id: str
    paths: list[str] = field(default_factory=list)
    files: list[FileState] = field(default_factory=list)
    failures: list[ItemFailure] = field(default_factory=list)

    def publish(
        self, spec: EncoderSpec, modality: str, keys: Keys, vectors: Vectors
    ) -> None:
        names = np.asarray(keys, dtype="S32")
        header = publish_shard(self.root, spec, modality, names, vectors, self.shard_id)
        self.paths.append(header.path.relative_to(self.root).as_posix())

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        self.files.extend(files)
        self.failures.extend(failures)

    def commit(self, patience_seconds: float | None = None) -> bool:
        """The driver commits."""
        del patience_seconds
        return True


@dataclass(frozen=True)
class _UnitResult:
    """What a worker tells the driver: no vectors, these are in the shared folder."""

    n_items: int
    paths: tuple[str, ...]
    files: tuple[FileState, ...]
    failures: tuple[ItemFailure, ...]
    summary: EmbedSummary


class EncodingWorker:
    """A Ray actor: one backbone on one GPU or on some cores."""

    def __init__(
        self,
        root: Path,
        source: BackboneSource,
        options: EmbedOptions,
        known: Collection[str],
        cores: int,
    ) -> None:
        self._root, self._cores = root, cores
        self._options = replace(options, workers=cores)
        self._backbone = load_to_embed(source, options, known)

    def describe(self) -> tuple[EncoderSpec, str]:
        """The encoder, and where it runs."""
        return self._backbone.spec, str(self._backbone.device)

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D)."""
        return self._backbone.encode_texts(texts)

    def measure_texts(self, texts: Sequence[str], digests: Sequence[str]) -> pa.Table:
        """How long sentences are."""
        return measure_texts(self._backbone, texts, digests)

    def encode_unit(
        self, unit: WorkUnit, known_keys: npt.NDArray[np.bytes_]
    ) -> _UnitResult:
        """Read and encode a unit's images and write its shard."""
        collector, summary = _UnitCollector(self._root, unit.shard_id), EmbedSummary()
        sink = ShardSink(
            collector,
            self._backbone.spec,
            "image",
            shard_rows=len(unit.items) + 1,  # at the end, whole
            flush_seconds=_FOREVER_SECONDS,
        )
        embed_images(
            sink,
            self._backbone,
            unit.items,
            known_keys,
            self._options,
            summary,
            cores=self._cores,
        )
        return _UnitResult(
            len(unit.items),
            tuple(collector.paths),
            tuple(collector.files),
            tuple(collector.failures),
            summary,
        )


class RayEngine:
    """Encodes on a Ray cluster, or on a Ray that is started on this machine.

    Args:
        root: The store's folder.
        source: Source of the backbone; each worker loads it.
        options: How to encode; `num_gpus`, `address` and `workers` shape the cluster's
            part.
        known: Fingerprints of vectors that are there already.

    Raises:
        ConfigurationError: Ray is not installed, cannot be reached, or has too few
            GPUs or cores.
        BackboneError: A worker cannot load the backbone.
        FingerprintMismatchError: Workers disagree on the backbone.
    """

    def __init__(
        self,
        root: Path,
        source: BackboneSource,
        options: EmbedOptions,
        known: Collection[str],
    ) -> None:
        self._options = options
        self._ray = _connect(options)
        try:
            with _explained(self._ray):
                self._start(root.resolve(), source, known)
        except BaseException:
            self.close()
            raise

    def _start(
        self, root: Path, source: BackboneSource, known: Collection[str]
    ) -> None:
        options, ray = self._options, self._ray
        n_workers = options.num_gpus or options.workers
        cores = max(1, options.workers // n_workers)
        _check_resources(ray.cluster_resources(), n_workers, cores, options.num_gpus)
        worker_class = ray.remote(EncodingWorker).options(
            num_cpus=cores,
            num_gpus=1 if options.num_gpus else 0,
            max_restarts=-1,
            max_task_retries=_RETRIES,
        )
        first = worker_class.remote(root, source, options, known, cores)
        spec: EncoderSpec
        spec, self._device = ray.get(first.describe.remote())
        self._spec = spec
        # What the first worker chose holds for all.
        chosen = replace(options, precision=self._spec.precision)
        others = [
            worker_class.remote(root, source, chosen, known, cores)
            for _ in range(n_workers - 1)
        ]
        for spec, device in ray.get([one.describe.remote() for one in others]):
            if spec.fingerprint != self._spec.fingerprint:
                raise FingerprintMismatchError(
                    f"workers disagree on '{source.name}': {self._spec.fingerprint} "
                    f"({self._device}) and {spec.fingerprint} ({device})",
                    "Weights and library versions must be the same on all machines.",
                )
        self._workers = [first, *others]

    @property
    def spec(self) -> EncoderSpec:
        """What makes the vectors comparable."""
        return self._spec

    @property
    def device(self) -> str:
        """Where the backbone runs, and how many times."""
        return f"ray: {len(self._workers)} x {self._device}"

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D), on one worker."""
        with _explained(self._ray):
            vectors: npt.NDArray[np.float32] = self._ray.get(
                self._workers[0].encode_texts.remote(list(texts))
            )
        return vectors

    def measure_texts(self, texts: Sequence[str], digests: Sequence[str]) -> pa.Table:
        """See `Engine.measure_texts`."""
        with _explained(self._ray):
            return self._ray.get(
                self._workers[0].measure_texts.remote(list(texts), list(digests))
            )

    def embed_images(
        self,
        writer: StoreWriter,
        items: Sequence[ImageItem],
        known_keys: npt.NDArray[np.bytes_],
        summary: EmbedSummary,
        progress: ProgressCallback,
    ) -> None:
        """See `Engine.embed_images`; units are committed as they are done.

        Raises:
            BackboneError: A worker fails, or dies again and again.
            StoreCorruptError: A worker's shard cannot be read here.
            StoreWriteError: The disk refused.
        """
        units = plan_units(
            items,
            uuid.uuid4().hex[:8],
            shard_rows=self._options.shard_rows,
            workers=len(self._workers),
        )
        started, done = time.perf_counter(), 0
        committed_at = -float("inf")  # the first unit is committed at once
        with _explained(self._ray):
            known = self._ray.put(known_keys)
            results = self._ray.util.ActorPool(self._workers).map_unordered(
                lambda worker, unit: worker.encode_unit.remote(unit, known), units
            )
            try:
                for result in results:
                    _take(writer, result)
                    if time.perf_counter() - committed_at >= COMMIT_SECONDS:
                        writer.commit(COMMIT_PATIENCE_SECONDS)
                        committed_at = time.perf_counter()
                    _add(summary, result.summary, len(self._workers))
                    summary.image_seconds = time.perf_counter() - started
                    done += result.n_items
                    note = f"{len(self._workers)} workers, limit: "
                    note += summary.limiting_stage
                    progress(Progress("images", done, len(items), note))
            finally:  # what is done is kept, also after Ctrl-C
                writer.commit(COMMIT_PATIENCE_SECONDS)

    def close(self) -> None:
        """Let the workers go; a Ray that was started here ends."""
        self._ray.shutdown()


def _take(writer: StoreWriter, result: _UnitResult) -> None:
    for path in result.paths:
        writer.add_published(path)
    writer.note(result.files, result.failures)


def _add(summary: EmbedSummary, part: EmbedSummary, n_workers: int) -> None:
    """Counts add up; times are those of one worker among several."""
    counts = ("images_encoded", "images_matched", "images_failed", "images_with_text")
    for name in counts:
        setattr(summary, name, getattr(summary, name) + getattr(part, name))
    for name in ("read_seconds", "forward_seconds", "write_seconds"):
        share = getattr(part, name) / n_workers
        setattr(summary, name, getattr(summary, name) + share)


def _connect(options: EmbedOptions) -> Any:
    # Ray would tell its makers that it was used.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        ray: Any = importlib.import_module("ray")  # an extra: it may be absent
    except ImportError as error:
        raise ConfigurationError("`engine` ray needs Ray", _INSTALL_HINT) from error
    own = {
        "num_cpus": max(options.workers, options.num_gpus),
        "include_dashboard": False,
    }
    try:
        _knock(options.address)
        ray.init(
            address=options.address,
            log_to_driver=False,
            logging_level="error",
            **({} if options.address else own),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = options.address or "this machine"
        raise ConfigurationError(
            f"no Ray at {where}: {error}",
            "Start one with `ray start --head` and give its `address`, or leave "
            "`address` out. If it asks for a token, set RAY_AUTH_MODE=token here, too.",
        ) from error
    return ray


def _knock(address: str | None) -> None:
    """Fail at once where Ray would try for minutes: nobody listens there.

    Raises:
        OSError: The address cannot be reached.
    """
    host, _, port = (address or "").removeprefix("ray://").rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), _KNOCK_SECONDS).close()


def _check_resources(
    there: dict[str, float], n_workers: int, cores: int, num_gpus: int
) -> None:
    """Refuse what Ray would wait for without end.

    >>> _check_resources({"CPU": 4.0}, 2, 2, 0)
    """
    has_cpus, has_gpus = there.get("CPU", 0), there.get("GPU", 0)
    if num_gpus > has_gpus:
        raise ConfigurationError(
            f"`num_gpus` {num_gpus}: Ray has {has_gpus:.0f} GPUs",
            "Ask for fewer; without `num_gpus` the processors encode.",
        )
    if n_workers * cores > has_cpus:
        raise ConfigurationError(
            f"{n_workers} workers of {cores} cores each: Ray has {has_cpus:.0f} cores",
            "Ask for fewer with `workers`.",
        )


@contextmanager
def _explained(ray: Any) -> Iterator[None]:
    """Turn what Ray raises into the errors of this project."""
    try:
        yield
    except ray.exceptions.RayTaskError as error:
        if isinstance(error.cause, RetuneError):
            raise error.cause from error
        raise BackboneError(
            f"a worker failed: {error.cause!r}",
            "What was committed is kept; the same command goes on from there.",
        ) from error
    except ray.exceptions.RayError as error:
        reason = next(iter(str(error).splitlines()), type(error).__name__)
        raise BackboneError(
            f"a worker died and could not be replaced: {reason}",
            "Is its memory large enough (`batch_size`)? What was committed is kept; "
            "the same command goes on from there.",
        ) from error
