"""How pictures are shown, and why some are not."""

import pyarrow as pa

from ..catalog import scalar
from ..feature_store import FeatureStore
from ..fingerprint import EncoderSpec

__all__ = ["count_last_failures", "read_encoders_of", "read_undisplayed"]


def read_encoders_of(store: FeatureStore, backbone: str) -> list[EncoderSpec]:
    """Encoders of a backbone that made vectors of images."""
    rows = store.rows(
        """SELECT spec FROM encoders WHERE backbone = ? AND fingerprint IN
            (SELECT fingerprint FROM shards WHERE modality = 'image')""",
        [backbone],
    )
    return [EncoderSpec.from_json(spec) for (spec,) in rows]


def read_undisplayed(store: FeatureStore, fingerprint: str) -> pa.Table:
    """A file of each content that has a vector and no row in `image_display`.

    Returns:
        Columns `image_id`, `root`, `path`, `content_digest`, `size_bytes` and
        `mtime_ns`.
    """
    with store.catalog.read() as connection:
        kept = scalar(
            connection,
            "SELECT count(*) FROM information_schema.tables "
            "WHERE table_name = 'image_display'",
        )
    known = "(SELECT content_digest FROM image_display)" if kept else "('')"
    return store.sql(
        f"""SELECT min(image_id) AS image_id, arg_min(root, image_id) AS root,
            arg_min(path, image_id) AS path, content_digest,
            arg_min(size_bytes, image_id) AS size_bytes,
            arg_min(mtime_ns, image_id) AS mtime_ns
        FROM images JOIN datasets USING (dataset)
        WHERE content_digest NOT IN {known} AND content_digest IN
            (SELECT item_id FROM features
             WHERE fingerprint = ? AND modality = 'image')
        GROUP BY content_digest ORDER BY image_id""",
        [fingerprint],
    ).to_arrow_table()


def count_last_failures(store: FeatureStore, most: int = 3) -> list[tuple[str, int]]:
    """The most frequent reasons why images could not be used, with their numbers.

    Args:
        store: With failures; the last of each image counts.
        most: Reasons to give.
    """
    rows = store.rows(
        """SELECT error, count(*) AS n FROM
            (SELECT image_id, arg_max(error, attempt) AS error
             FROM failures GROUP BY image_id)
        GROUP BY error ORDER BY n DESC, error LIMIT ?""",
        [most],
    )
    return [(str(error), int(count)) for error, count in rows]
