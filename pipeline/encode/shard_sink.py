"""Gathering encoded rows until they make a shard."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from retune.store import EncoderSpec, FileState, ItemFailure, StoreWriter

__all__ = ["ShardSink", "storable"]

#: Readers may hold the catalog; encoding goes on and the commit is tried again later.
_COMMIT_PATIENCE_SECONDS = 2.0


def storable(
    vectors: npt.NDArray[np.float32], output_dtype: str
) -> npt.NDArray[np.bool_]:
    """Which rows can be stored: finite in the stored type, and not zero.

    >>> storable(np.array([[1, 2], [0, 0], [1e9, 1]], dtype=np.float32), "float16")
    array([ True, False, False])
    """
    with np.errstate(over="ignore"):
        stored = vectors.astype(output_dtype)
    fine: npt.NDArray[np.bool_] = np.isfinite(stored).all(axis=1) & stored.any(axis=1)
    return fine


class ShardSink:
    """Collects vectors of one modality and publishes them shard by shard.

    What files looked like and what failed is committed together with, never before,
    the vectors that were made of them.

    Args:
        writer: Of the store.
        spec: The encoder.
        modality: ``image`` or ``text``.
        shard_rows: Publish when so many vectors have come together.
        flush_seconds: Publish at the latest after this time.
    """

    def __init__(
        self,
        writer: StoreWriter,
        spec: EncoderSpec,
        modality: str,
        *,
        shard_rows: int = 16_384,
        flush_seconds: float = 60.0,
    ) -> None:
        self._writer = writer
        self._spec = spec
        self._modality = modality
        self._shard_rows = shard_rows
        self._flush_seconds = flush_seconds
        self._seen: set[str] = set()
        self._clear()

    def _clear(self) -> None:
        self._keys: list[str] = []
        self._vectors: list[npt.NDArray[np.float32]] = []
        self._files: list[FileState] = []
        self._failures: list[ItemFailure] = []
        self._since = time.monotonic()

    def has(self, key: str) -> bool:
        """Whether this sink was given a vector for this content."""
        return key in self._seen

    def add(self, keys: Sequence[str], vectors: npt.NDArray[np.float32]) -> None:
        """Take vectors, shape (n, D), for n contents that the sink does not have."""
        self._seen.update(keys)
        self._keys.extend(keys)
        self._vectors.append(vectors)

    def note(self, files: Sequence[FileState], failures: Sequence[ItemFailure]) -> None:
        """Take what is to be committed with the vectors; publish if it is time."""
        self._files.extend(files)
        self._failures.extend(failures)
        due = time.monotonic() - self._since >= self._flush_seconds
        if due or len(self._keys) >= self._shard_rows:
            self.flush()

    def flush(self) -> None:
        """Publish what has come together and try to commit it.

        Raises:
            StoreWriteError: The disk refused.
        """
        if self._keys:
            vectors = np.concatenate(self._vectors)
            self._writer.publish(self._spec, self._modality, self._keys, vectors)
        self._writer.note(self._files, self._failures)
        self._clear()
        self._writer.commit(_COMMIT_PATIENCE_SECONDS)
