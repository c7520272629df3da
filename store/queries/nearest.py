"""Which images of a store lie nearest to a direction: exact, filtered first."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import ConfigurationError
from ..feature_store import FeatureStore
from ..vectors.places import read_places
from ..vectors.scan import ShardRows, read_row, scan_cosines
from .bulk import rows_of_partly_used
from .labelled import check_datasets, checked_condition

__all__ = [
    "RankedVectors",
    "VectorPositions",
    "rank_vectors",
    "read_ranked_images",
    "read_vector_of",
]

_COLUMNS = "image_id, dataset, path, patient_id, study_id, view, sex, age, split"


@dataclass(frozen=True)
class RankedVectors:
    """Vectors of images with their similarity to one direction.

    Attributes:
        shard_ids: The shards that they lie in.
        starts: Where each shard's vectors begin, shape (S + 1,).
        rows: Row in its shard of each vector, per shard; None: all of its rows.
        similarity: Shape (n,), float32.
    """

    shard_ids: tuple[str, ...]
    starts: npt.NDArray[np.int64]
    rows: tuple[npt.NDArray[np.int64] | None, ...]
    similarity: npt.NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.similarity)

    def best(self, most: int) -> npt.NDArray[np.int64]:
        """Places of the most similar vectors, shape (min(most, n),), best first.

        Equal similarities are in the order of the shards.
        """
        n = len(self.similarity)
        if most >= n:
            chosen = np.arange(n)
        else:
            chosen = np.argpartition(-self.similarity, most - 1)[:most]
        order = np.lexsort((chosen, -self.similarity[chosen]))
        return chosen[order].astype(np.int64)

    def positions(self, chosen: npt.NDArray[np.int64]) -> "VectorPositions":
        """Where the vectors lie that `best` chose, in the same order."""
        shards = np.searchsorted(self.starts, chosen, side="right") - 1
        within = chosen - self.starts[shards]
        rows = [
            row if (known := self.rows[shard]) is None else int(known[row])
            for shard, row in zip(shards.tolist(), within.tolist(), strict=True)
        ]
        return VectorPositions(
            [self.shard_ids[shard] for shard in shards],
            rows,
            self.similarity[chosen].tolist(),
        )


@dataclass(frozen=True)
class VectorPositions:
    """Where some vectors lie, and how similar each is.

    Lists, and no Arrow arrays: to make an array of a list, Arrow imports pandas, which
    takes longer than comparing 200,000 vectors.

    Attributes:
        shard_ids: The shard of each.
        rows: The row in its shard of each.
        similarity: Similarity of each.
    """

    shard_ids: list[str]
    rows: list[int]
    similarity: list[float]


def rank_vectors(
    store: FeatureStore,
    fingerprint: str,
    direction: npt.NDArray[np.float32],
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> RankedVectors:
    """Compare the images of an encoder with a direction, every one of them.

    The catalog is asked first which images count, and is let go before vectors are
    read. Blocks without such an image are not read.

    Args:
        store: Where to look.
        fingerprint: Fingerprint of the encoder.
        direction: Shape (D,); the similarity is the cosine times its length.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.

    Raises:
        ConfigurationError: A dataset is unknown.
        QueryError: `where` is not a valid condition.
        StoreCorruptError: A shard is missing or damaged.
    """
    with store.catalog.read() as connection:
        check_datasets(connection, datasets)
        places = read_places(connection, fingerprint, "image")
        if datasets is None and where is None:
            known = rows_of_partly_used(connection, fingerprint, "image", places)
            chosen = {shard_id: known.get(shard_id) for shard_id in places}
        else:
            condition = checked_condition(connection, where)
            chosen = dict(_chosen_rows(connection, fingerprint, datasets, condition))
    wanted = {
        shard_id: ShardRows(
            places[shard_id], None if rows is None else rows.astype(np.int64)
        )
        for shard_id, rows in chosen.items()
    }
    similarity = scan_cosines(store.path, list(wanted.values()), direction)
    return RankedVectors(
        tuple(wanted),
        np.cumsum([0, *(len(one) for one in wanted.values())]),
        tuple(one.rows for one in wanted.values()),
        similarity,
    )


def _chosen_rows(
    connection: duckdb.DuckDBPyConnection,
    fingerprint: str,
    datasets: Sequence[str] | None,
    condition: str,
) -> list[tuple[str, npt.NDArray[np.int64]]]:
    """The rows of each shard that belong to images that fit, ascending."""
    connection.execute(
        """CREATE TEMP TABLE shard_numbers AS SELECT shard_id,
            (row_number() OVER (ORDER BY shard_id) - 1)::INTEGER AS number
        FROM shards WHERE fingerprint = ? AND modality = 'image'""",
        [fingerprint],
    )
    names = connection.execute(
        "SELECT shard_id FROM shard_numbers ORDER BY number"
    ).fetchall()
    numbers = connection.execute(
        f"""SELECT number, "row" FROM features JOIN shard_numbers USING (shard_id)
        WHERE modality = 'image' AND fingerprint = $fingerprint AND item_id IN (
            SELECT content_digest FROM images WHERE {condition}
            AND ($datasets::VARCHAR[] IS NULL
                OR list_contains($datasets::VARCHAR[], dataset)))
        ORDER BY number, "row" """,
        {"fingerprint": fingerprint, "datasets": datasets and list(datasets)},
    ).fetchnumpy()
    number = np.asarray(numbers["number"])
    rows = np.asarray(numbers["row"]).astype(np.int64)
    ends = np.searchsorted(number, np.arange(len(names) + 1))
    return [
        (name, rows[start:end])
        for (name,), start, end in zip(names, ends[:-1], ends[1:], strict=True)
        if end > start
    ]


def read_ranked_images(
    store: FeatureStore,
    ranked: VectorPositions,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> pa.Table:
    """The images of some vectors, the most similar first.

    An image file that lies in the store twice is two images with one vector. A vector
    whose image is no longer in the catalog has none.

    Args:
        store: Where to look.
        ranked: Where the vectors lie, as `RankedVectors.positions` says it.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.

    Returns:
        Columns of `images`, `content_digest`, `similarity` and `positive`: the findings
        whose label is positive, in order.
    """
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
        return connection.sql(
            f"""WITH ranked AS (
                SELECT unnest($shard_ids) AS shard_id, unnest($rows) AS "row",
                    unnest($similarity)::FLOAT AS similarity
            ), items AS (
                SELECT item_id, similarity FROM features
                JOIN ranked USING (shard_id, "row") WHERE modality = 'image'
            ), found AS (
                SELECT {_COLUMNS}, content_digest, similarity
                FROM (FROM images WHERE {condition})
                JOIN items ON item_id = content_digest
                WHERE $datasets::VARCHAR[] IS NULL
                    OR list_contains($datasets::VARCHAR[], dataset)
            ), positives AS (
                SELECT image_id, list(finding ORDER BY finding) AS positive FROM labels
                WHERE state = 'positive' AND image_id IN (SELECT image_id FROM found)
                GROUP BY image_id
            )
            SELECT found.*, coalesce(positive, []) AS positive
            FROM found LEFT JOIN positives USING (image_id)
            ORDER BY similarity DESC, image_id""",
            params={"datasets": datasets and list(datasets), **vars(ranked)},
        ).to_arrow_table()


def read_vector_of(
    store: FeatureStore, fingerprint: str, image_id: str
) -> npt.NDArray[np.float32] | None:
    """The vector of an image, shape (D,); None if the store has no such image.

    Raises:
        ConfigurationError: The image has no vector of this encoder yet.
        StoreCorruptError: Its shard is missing or damaged.
    """
    with store.catalog.read() as connection:
        digests = connection.execute(
            "SELECT content_digest FROM images WHERE image_id = ? LIMIT 1", [image_id]
        ).fetchall()
        if not digests:
            return None
        rows = connection.execute(
            """SELECT shard_id, "row" FROM features
            WHERE modality = 'image' AND fingerprint = ? AND item_id = ? LIMIT 1""",
            [fingerprint, digests[0][0]],
        ).fetchall()
        places = read_places(connection, fingerprint, "image")
    if not rows or rows[0][0] not in places:
        raise ConfigurationError(
            f"the image {image_id} has no vector of {fingerprint} yet",
            "Run `retune-cli embed`.",
        )
    shard_id, row = rows[0]
    return read_row(store.path, places[shard_id], int(row))
