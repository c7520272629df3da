"""What goes out: a table whose vectors come block by block."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa

from retune.store.errors import ConfigurationError
from retune.store.queries.outgoing import OutgoingImages
from retune.store.vectors.shards import Vectors

from .contract import BLOCK_ROWS

__all__ = ["VECTORS", "OutgoingTable"]

#: The column of the vectors.
VECTORS = "embedding"


@dataclass(frozen=True)
class OutgoingTable:
    """N rows of columns, with vectors that are read when they are written.

    Attributes:
        columns: Everything but the vectors, N rows; the first column is `image_id`.
        source: Where the vectors come from.
        dim: D.
        dtype: ``float16`` or ``float32``.
        notes: Kept in files that have room for them: whose vectors these are.
    """

    columns: pa.Table
    source: OutgoingImages
    dim: int
    dtype: str
    notes: dict[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return int(self.columns.num_rows)

    @property
    def schema(self) -> pa.Schema:
        """Of the columns and the vectors, which are lists of D numbers."""
        item = pa.float16() if self.dtype == "float16" else pa.float32()
        vectors = pa.field(VECTORS, pa.list_(item, self.dim), nullable=False)
        return self.columns.schema.append(vectors).with_metadata(self.notes)

    def vectors(self) -> Iterator[Vectors]:
        """Blocks of vectors in order.

        Raises:
            ConfigurationError: A number is too large for `dtype`.
            StoreCorruptError: A shard is missing or damaged.
        """
        for block in self.source.blocks(BLOCK_ROWS):
            with np.errstate(over="ignore"):
                converted = block.astype(self.dtype, copy=False)
            if converted.dtype != block.dtype and not np.isfinite(converted).all():
                raise ConfigurationError(
                    f"some numbers are too large for {self.dtype}",
                    "Write `dtype` float32.",
                )
            yield converted

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Blocks of rows in order, as Arrow has them."""
        at = 0
        for block in self.vectors():
            part = self.columns.slice(at, len(block)).combine_chunks()
            at += len(block)
            flat = pa.array(np.ascontiguousarray(block).reshape(-1))
            lists = pa.FixedSizeListArray.from_arrays(flat, self.dim)
            arrays = [column.chunk(0) for column in part.columns]
            yield pa.RecordBatch.from_arrays([*arrays, lists], schema=self.schema)

    def only(self, split: str) -> "OutgoingTable":
        """The rows of one split."""
        chosen = self.source.only(split)
        kept = pa.compute.equal(self.source.images["split"], split)
        return replace(self, columns=self.columns.filter(kept), source=chosen)
