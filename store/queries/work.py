"""What `embed` has to know before it starts."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..feature_store import FeatureStore
from .labelled import checked_condition

__all__ = [
    "count_dataset_findings",
    "find_encoder_of_source",
    "read_description_work",
    "read_fingerprints",
    "read_image_work",
    "read_known_keys",
]


def find_encoder_of_source(store: FeatureStore, source_digest: str) -> str | None:
    """The fingerprint that weights with this digest led to before, if any."""
    rows = store.sql(
        "SELECT fingerprint FROM encoder_sources WHERE source_digest = ?",
        [source_digest],
    ).fetchall()
    return str(rows[0][0]) if rows else None


def read_fingerprints(store: FeatureStore) -> set[str]:
    """Fingerprints of the store's encoders."""
    rows = store.sql("SELECT fingerprint FROM encoders").fetchall()
    return {str(fingerprint) for (fingerprint,) in rows}


def read_image_work(
    store: FeatureStore,
    fingerprint: str,
    datasets: Sequence[str] | None,
    where: str | None = None,
) -> pa.Table:
    """Every image with what is known of its file, ordered by image_id.

    Args:
        store: Where to look.
        fingerprint: Of the encoder.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.

    Returns:
        Columns `image_id`, `dataset`, `root`, `path`, `content_digest`, `size_bytes`,
        `mtime_ns` (the last three null before the file was first read), `encoded`
        (content has a vector of this encoder) and `failed` (content was refused
        before).

    Raises:
        QueryError: `where` is not a valid condition.
    """
    # Straight from the catalog: as an answer of `sql`, all rows would be there twice.
    with store.catalog.read() as connection:
        return connection.sql(
            f"""SELECT image_id, dataset, root, path, content_digest, size_bytes,
                mtime_ns,
                content_digest IS NOT NULL AND content_digest IN (
                    SELECT item_id FROM features
                    WHERE fingerprint = $fingerprint AND modality = 'image'
                ) AS encoded,
                content_digest IS NOT NULL AND content_digest IN (
                    SELECT content_digest FROM failures
                    WHERE content_digest IS NOT NULL AND stage = 'decode'
                ) AS failed
            FROM (SELECT * FROM images WHERE {checked_condition(connection, where)})
            JOIN datasets USING (dataset)
            WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)
            ORDER BY image_id""",
            params={
                "fingerprint": fingerprint,
                "datasets": datasets and list(datasets),
            },
        ).to_arrow_table()


def read_known_keys(
    store: FeatureStore, fingerprint: str, modality: str
) -> npt.NDArray[np.bytes_]:
    """Sorted content digests that already have a vector, shape (n,), 32 bytes each."""
    keys = store.sql(
        """SELECT item_id FROM features WHERE fingerprint = ? AND modality = ?
        ORDER BY item_id""",
        [fingerprint, modality],
    ).fetchnumpy()["item_id"]
    return np.asarray(keys, dtype="S32")


def read_description_work(
    store: FeatureStore, fingerprint: str, set_names: Sequence[str]
) -> pa.Table:
    """Sentences of these sets without a vector: columns `text`, `text_digest`."""
    return store.sql(
        """SELECT any_value(text) AS text, text_digest FROM descriptions
        WHERE list_contains(?::VARCHAR[], set_name) AND text_digest NOT IN
            (SELECT item_id FROM features WHERE fingerprint = ? AND modality = 'text')
        GROUP BY text_digest ORDER BY text_digest""",
        [list(set_names), fingerprint],
    ).to_arrow_table()


def count_dataset_findings(
    store: FeatureStore, datasets: Sequence[str] | None = None
) -> dict[str, int]:
    """Findings of the datasets, in their order, with the number of positive labels."""
    rows = store.sql(
        """SELECT finding, count(*) FILTER (state = 'positive')
        FROM dataset_findings LEFT JOIN (SELECT dataset, finding, state FROM labels
            JOIN images USING (image_id)) USING (dataset, finding)
        WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)
        GROUP BY finding ORDER BY min(position), finding""",
        {"datasets": datasets and list(datasets)},
    ).fetchall()
    return {str(name): int(count) for name, count in rows}
