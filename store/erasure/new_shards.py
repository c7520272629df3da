"""Shards without some vectors, written beside those that they replace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..vectors.shards import (
    ShardHeader,
    map_embedding,
    publish_shard,
    read_header,
    read_keys,
)

__all__ = ["RewrittenShard", "rewrite_shards"]


@dataclass(frozen=True)
class RewrittenShard:
    """A shard that held vectors of erased patients.

    Attributes:
        shard_id: Id of the old one.
        path: Path of the old one, relative to the store.
        new: The one that takes its place; None if no vector is left.
        vectors: Those that go, shape (n, D), as they were stored.
    """

    shard_id: str
    path: str
    new: ShardHeader | None
    vectors: npt.NDArray[np.floating]


def rewrite_shards(
    connection: duckdb.DuckDBPyConnection,
    root: Path,
    staging: Path,
    digests: Sequence[str],
) -> Iterator[RewrittenShard]:
    """Write each shard that holds one of some items anew, without them.

    Args:
        connection: For reading.
        root: The store's folder.
        staging: Under which new shards are laid down as they will lie in the store.
        digests: Keys of the items.

    Raises:
        StoreCorruptError: A shard cannot be read.
        StoreWriteError: The disk refused.
    """
    # Copies of one item may lie in two shards; the catalog knows of one, so that keys
    # themselves are asked.
    wanted = np.array(sorted(digests), dtype="S32")
    connection.register("wanted_items", pa.table({"item_id": list(digests)}))
    holding = connection.execute(
        """SELECT DISTINCT fingerprint, modality FROM features
        SEMI JOIN wanted_items USING (item_id)"""
    ).fetchall()
    shards = connection.execute(
        "SELECT shard_id, path, fingerprint, modality FROM shards ORDER BY path"
    ).fetchall()
    connection.unregister("wanted_items")
    for shard_id, path, *encoder_modality in shards:
        if tuple(encoder_modality) not in holding:
            continue
        keys = read_keys(root / path)
        gone = np.isin(keys, wanted)
        if gone.any():
            yield _rewritten(root, staging, shard_id, path, keys, gone)


def _rewritten(
    root: Path,
    staging: Path,
    shard_id: str,
    path: str,
    keys: npt.NDArray[np.bytes_],
    gone: npt.NDArray[np.bool_],
) -> RewrittenShard:
    header = read_header(root / path)
    vectors = map_embedding(header)
    new = None
    if not gone.all():
        new = publish_shard(
            staging, header.encoder, header.modality, keys[~gone], vectors[~gone]
        )
    return RewrittenShard(shard_id, path, new, np.array(vectors[gone]))
