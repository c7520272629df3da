"""Images as somebody else may name them."""

from collections.abc import Sequence

import pyarrow as pa

from ..errors import ConfigurationError
from ..feature_store import FeatureStore

__all__ = ["read_image_names"]


def read_image_names(
    store: FeatureStore, datasets: Sequence[str] | None = None
) -> pa.Table:
    """Every image with all that can name it, ordered by image_id.

    Args:
        store: Where to look.
        datasets: Only these; None for all.

    Returns:
        Columns `image_id`, `path`, `root`, `content_digest`; the last is null before
        the image's file was first read.

    Raises:
        ConfigurationError: A dataset is unknown, or there are no images.
    """
    with store.catalog.read() as connection:
        rows = connection.execute("SELECT dataset FROM datasets").fetchall()
        known = sorted(name for (name,) in rows)
        unknown = sorted(set(datasets or ()) - set(known))
        if unknown:
            raise ConfigurationError(
                f"the store has no dataset {', '.join(unknown)}; it has: "
                f"{', '.join(known) or 'none'}",
                "Ingest it first, or choose one of these.",
            )
        table = connection.sql(
            """SELECT image_id, path, root, content_digest
            FROM images JOIN datasets USING (dataset)
            WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)
            ORDER BY image_id""",
            params={"datasets": datasets and list(datasets)},
        ).to_arrow_table()
    if not len(table):
        raise ConfigurationError(
            f"the store {store.path} has no images yet",
            "Run `retune-cli ingest` first: it tells which images there are. The "
            "image files need not exist.",
        )
    return table
