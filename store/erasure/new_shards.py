"""Shards without some vectors, written beside those that they replace."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..fingerprint import EncoderSpec
from ..vectors.places import ShardPlace, read_places, read_shard_keys
from ..vectors.reader import VectorReader
from ..vectors.shards import ShardHeader, publish_shard

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
    specs = dict(
        connection.execute("SELECT fingerprint, spec FROM encoders").fetchall()
    )
    connection.unregister("wanted_items")
    shards = sorted(read_places(connection).items(), key=lambda one: one[1].path)
    for shard_id, shard in shards:
        if (shard.fingerprint, shard.modality) not in holding:
            continue
        gone = np.isin(read_shard_keys(root / shard.path, shard), wanted)
        if gone.any():
            encoder = EncoderSpec.from_json(specs[shard.fingerprint])
            yield _rewritten(root, staging, shard_id, shard, encoder, gone)


def _rewritten(
    root: Path,
    staging: Path,
    shard_id: str,
    shard: ShardPlace,
    encoder: EncoderSpec,
    gone: npt.NDArray[np.bool_],
) -> RewrittenShard:
    # Every block is checked: a flipped bit must not be given a new checksum.
    keys, vectors = VectorReader(root, {}).whole([shard])
    new = None
    if not gone.all():
        new = publish_shard(
            staging, encoder, shard.modality, keys[~gone], vectors[~gone]
        )
    return RewrittenShard(shard_id, shard.path, new, np.array(vectors[gone]))
