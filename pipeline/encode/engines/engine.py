"""What `embed` asks of an engine, and the engine that is this process."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import EncoderSpec, StoreWriter

from ...progress import ProgressCallback
from ..backbones.long_texts import measure_texts
from ..images.reading import ImageItem
from ..options import EmbedOptions, EmbedSummary
from ..stage.sink import ShardSink
from ..stage.stage import embed_images

if TYPE_CHECKING:
    from ..backbones.contract import Backbone

__all__ = ["Engine", "LocalEngine"]


class Engine(Protocol):
    """Encodes sentences and images with one backbone, wherever it runs."""

    @property
    def spec(self) -> EncoderSpec:
        """What makes the vectors comparable."""

    @property
    def device(self) -> str:
        """Where the backbone runs, for a person."""

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D)."""

    def measure_texts(self, texts: Sequence[str], digests: Sequence[str]) -> pa.Table:
        """How long sentences are; see `retune.pipeline.encode.backbones.long_texts`."""

    def embed_images(
        self,
        writer: StoreWriter,
        items: Sequence[ImageItem],
        known_keys: npt.NDArray[np.bytes_],
        summary: EmbedSummary,
        progress: ProgressCallback,
    ) -> None:
        """Encode images and commit what is new.

        Args:
            writer: Writer of the store.
            items: What to read, in this order.
            known_keys: Sorted digests of contents that have a vector, 32 bytes each.
            summary: Counts and times are added to it.
            progress: Told as the work goes on.
        """


class LocalEngine:
    """Encodes in this process.

    Args:
        backbone: Loaded.
        options: Batch size, decoding threads, size of a shard.
    """

    def __init__(self, backbone: "Backbone", options: EmbedOptions) -> None:
        self._backbone = backbone
        self._options = options

    @property
    def spec(self) -> EncoderSpec:
        """What makes the vectors comparable."""
        return self._backbone.spec

    @property
    def device(self) -> str:
        """Where the backbone runs: ``cpu``, ``cuda:0``."""
        return str(self._backbone.device)

    def encode_texts(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Encode sentences into shape (B, D)."""
        return self._backbone.encode_texts(texts)

    def measure_texts(self, texts: Sequence[str], digests: Sequence[str]) -> pa.Table:
        """See `Engine.measure_texts`."""
        return measure_texts(self._backbone, texts, digests)

    def embed_images(
        self,
        writer: StoreWriter,
        items: Sequence[ImageItem],
        known_keys: npt.NDArray[np.bytes_],
        summary: EmbedSummary,
        progress: ProgressCallback,
    ) -> None:
        """See `Engine.embed_images`.

        Raises:
            BackboneError: The backbone fails on every image of a batch.
            StoreWriteError: The disk refused a shard.
        """
        sink = ShardSink(
            writer,
            self.spec,
            "image",
            shard_rows=self._options.shard_rows,
            flush_seconds=self._options.flush_seconds,
        )
        embed_images(
            sink, self._backbone, items, known_keys, self._options, summary, progress
        )
