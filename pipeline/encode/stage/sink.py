"""Gathering encoded rows until they make a shard, and writing it in the background."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from threading import Lock
from types import TracebackType
from typing import Protocol, Self

import numpy as np
import numpy.typing as npt

from retune.store import EncoderSpec, FileState, ItemFailure
from retune.store.errors import BackboneError, DatasetError, StoreError, StoreWriteError
from retune.store.vectors.shards import KEY_DTYPE, Keys, Vectors

from .digest_set import DigestSet

__all__ = [
    "COMMIT_PATIENCE_SECONDS",
    "COMMIT_SECONDS",
    "ShardSink",
    "ShardWriter",
]

#: Readers may hold the catalog; encoding goes on and the commit is tried again later.
COMMIT_PATIENCE_SECONDS = 2.0
#: A commit costs about as much as writing a shard, so that shards which follow each
#: other faster than this share one.
COMMIT_SECONDS = 2.0


class ShardWriter(Protocol):
    """What a sink asks of whatever writes for it; see `retune.store.StoreWriter`."""

    def publish(
        self, spec: EncoderSpec, modality: str, keys: Keys, vectors: Vectors
    ) -> None:
        """Put vectors safely on the disk."""

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        """Remember what is to be committed with them."""

    def commit(self, patience_seconds: float | None = None) -> bool:
        """Make it visible; False if it has to be tried again."""


class ShardSink:
    """Collects vectors of one modality and publishes them shard by shard.

    Threads of the sink's own write, so that encoding goes on meanwhile; at most as many
    shards are being written as there are threads while the next fills. What files
    looked like and what failed is committed together with, never before, the vectors
    that were made of them.

    Use it as a context manager. On leaving, everything is published and committed, also
    after Ctrl-C, a failure of the backbone or of a file that is imported: what came
    before is kept.

    Args:
        writer: Writer of the store; nobody else may use it while the sink is open.
        spec: The encoder.
        modality: ``image`` or ``text``.
        shard_rows: Publish when so many vectors have come together.
        flush_seconds: Publish at the latest after this time.
        commit_seconds: Commit again after this time.
        remember: False where nobody asks `has`.
        writers: Threads that write. With two, one prepares a shard while the disk is
            busy with that of the other.

    Attributes:
        waited_seconds: How long the caller was held up by writing.
    """

    def __init__(
        self,
        writer: ShardWriter,
        spec: EncoderSpec,
        modality: str,
        *,
        shard_rows: int = 16_384,
        flush_seconds: float = 60.0,
        commit_seconds: float = COMMIT_SECONDS,
        remember: bool = True,
        writers: int = 1,
    ) -> None:
        self._writer = writer
        self._spec = spec
        self._modality = modality
        self._shard_rows = shard_rows
        self._flush_seconds = flush_seconds
        self._commit_seconds = commit_seconds
        self._seen = DigestSet()
        self._remember = remember
        self._writers = writers
        self._pool = ThreadPoolExecutor(writers, thread_name_prefix="write")
        self._writing: deque[Future[None]] = deque()
        self._committing = Lock()
        self._committed_at = -float("inf")
        self.waited_seconds: float = 0.0
        self._clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error_type is None or issubclass(
                error_type, (KeyboardInterrupt, BackboneError, DatasetError)
            ):
                self.flush()
                self._wait(0)
                self._writer.commit(COMMIT_PATIENCE_SECONDS)
        finally:
            self._pool.shutdown(wait=True)

    def _clear(self) -> None:
        self._keys: list[npt.NDArray[np.bytes_]] = []
        self._n_rows = 0
        self._vectors: list[Vectors] = []
        self._files: list[FileState] = []
        self._failures: list[ItemFailure] = []
        self._since = time.monotonic()

    def has(self, key: str) -> bool:
        """Whether this sink was given a vector for this content."""
        return key in self._seen

    def add(self, keys: Keys, vectors: Vectors) -> None:
        """Take vectors, shape (n, D), for n contents that the sink does not have."""
        if self._remember:
            self._seen.add(k if isinstance(k, str) else k.decode() for k in keys)
        self._keys.append(np.asarray(keys, dtype=KEY_DTYPE))
        self._n_rows += len(keys)
        self._vectors.append(vectors)

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        """Take what is to be committed with the vectors; publish if it is time.

        Raises:
            StoreWriteError: The disk refused a shard.
        """
        self._files.extend(files)
        self._failures.extend(failures)
        due = time.monotonic() - self._since >= self._flush_seconds
        if due or self._n_rows >= self._shard_rows:
            self.flush()

    def flush(self) -> None:
        """Begin to publish what has come together, once a thread is free.

        Raises:
            StoreWriteError: The disk refused a shard before.
        """
        self._wait(self._writers - 1)
        self._writing.append(
            self._pool.submit(
                self._write, self._keys, self._vectors, self._files, self._failures
            )
        )
        self._clear()

    def _wait(self, n_left: int) -> None:
        """Wait until so few shards are being written; raise what befell one."""
        started = time.perf_counter()
        while len(self._writing) > n_left:
            self._writing.popleft().result()
        self.waited_seconds += time.perf_counter() - started

    def _write(
        self,
        keys: Sequence[npt.NDArray[np.bytes_]],
        vectors: Sequence[Vectors],
        files: Sequence[FileState],
        failures: Sequence[ItemFailure],
    ) -> None:
        try:
            if vectors:
                whole = vectors[0] if len(vectors) == 1 else np.concatenate(vectors)
                self._writer.publish(
                    self._spec, self._modality, np.concatenate(keys), whole
                )
        except StoreWriteError:
            # The failed write is what is reported.
            with suppress(StoreError), self._committing:
                self._writer.commit(COMMIT_PATIENCE_SECONDS)
            raise
        self._writer.note(files, failures)
        with self._committing:
            if time.monotonic() - self._committed_at >= self._commit_seconds:
                self._writer.commit(COMMIT_PATIENCE_SECONDS)
                self._committed_at = time.monotonic()
