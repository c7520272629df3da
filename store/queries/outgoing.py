"""Images with their vectors, block by block, on their way out of a store."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from ..errors import ConfigurationError
from ..feature_store import FeatureStore
from ..vectors.places import read_places
from ..vectors.reader import VectorReader
from ..vectors.shards import Vectors
from .labelled import checked_condition

__all__ = ["IMAGE_COLUMNS", "OutgoingImages", "read_long_labels", "read_outgoing"]

#: What is known of an image, in this order.
IMAGE_COLUMNS = (
    "image_id", "dataset", "path", "patient_id", "study_id", "view", "sex", "age",
    "split", "content_digest",
)  # fmt: skip


@dataclass(frozen=True)
class OutgoingImages:
    """N images that have a vector of one encoder, ordered by image_id.

    Attributes:
        images: Columns of `IMAGE_COLUMNS` and, if asked for, one per finding, N rows.
        reader: Reader of the shards.
        places: Columns `shard_id` and `row`, N rows.
    """

    images: pa.Table
    reader: VectorReader
    places: pa.Table

    def blocks(self, n_rows: int) -> Iterator[Vectors]:
        """The vectors in order, at most `n_rows` at a time.

        Raises:
            StoreCorruptError: A shard is missing or damaged.
        """
        for start in range(0, len(self.places), n_rows):
            part = self.places.slice(start, n_rows).combine_chunks()
            shards = pc.dictionary_encode(part["shard_id"].combine_chunks())
            yield self.reader.gather(
                shards.dictionary.to_pylist(),
                shards.indices.to_numpy(),
                part["row"].to_numpy(),
            )

    def only(self, split: str) -> "OutgoingImages":
        """Those of one split."""
        chosen = pc.equal(self.images["split"], split)
        return OutgoingImages(
            self.images.filter(chosen), self.reader, self.places.filter(chosen)
        )


def read_outgoing(
    store: FeatureStore,
    fingerprint: str,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
    split: str | None = None,
    labels: bool = False,
) -> OutgoingImages:
    """Read which images go out; their vectors are read later.

    Args:
        store: Where to read.
        fingerprint: Fingerprint of the encoder.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        split: Only this one; None for all.
        labels: A column per finding: 1, 0, −1 (uncertain), null where unknown.

    Raises:
        ConfigurationError: No image fits.
        QueryError: `where` is no condition.
    """
    columns = ", ".join(f"chosen.{name}" for name in IMAGE_COLUMNS)
    wide = "label_matrix.* EXCLUDE (image_id)," if labels else ""
    join = "LEFT JOIN label_matrix USING (image_id)" if labels else ""
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
        table = connection.sql(
            f"""SELECT {columns}, {wide} features.shard_id AS "shard id",
                features."row" AS "row number"
            FROM (FROM images WHERE {condition}) AS chosen
            JOIN features ON features.item_id = chosen.content_digest {join}
            WHERE features.modality = 'image' AND features.fingerprint = $fingerprint
            AND ($datasets::VARCHAR[] IS NULL
                OR list_contains($datasets::VARCHAR[], dataset))
            AND ($split::VARCHAR IS NULL OR split = $split)
            ORDER BY chosen.image_id""",
            params={
                "fingerprint": fingerprint,
                "datasets": datasets and list(datasets),
                "split": split,
            },
        ).to_arrow_table()
        shards = read_places(connection, fingerprint, "image")
    if not len(table):
        raise ConfigurationError(
            f"no image of the store {store.path} fits: it must have a vector of "
            f"{fingerprint}"
            + (f", be in the split {split}" if split else "")
            + (f" and fulfil {where}" if where else ""),
            "`retune-cli status` shows datasets and what is encoded.",
        )
    # Names with a blank are those of no column and of no finding that is spelled so.
    places = pa.table({"shard_id": table["shard id"], "row": table["row number"]})
    images = table.drop_columns(["shard id", "row number"])
    return OutgoingImages(images, VectorReader(store.path, shards), places)


def read_long_labels(store: FeatureStore, image_ids: pa.Array) -> pa.Table:
    """One row per image and finding: `image_id`, `finding`, `state`.

    Args:
        store: Where to read.
        image_ids: Ids of these images.
    """
    with store.catalog.read() as connection:
        connection.register("wanted", pa.table({"image_id": image_ids}))
        labels: pa.Table = connection.sql(
            """SELECT image_id, finding, state FROM labels
            WHERE image_id IN (SELECT image_id FROM wanted)
            ORDER BY image_id, finding"""
        ).to_arrow_table()
        return labels
