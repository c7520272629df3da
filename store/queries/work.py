"""What `embed` has to know before it starts."""

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..catalog import has_table, scalar
from ..feature_store import FeatureStore
from .labelled import checked_condition

__all__ = [
    "find_encoder_of_source",
    "read_dataset_findings",
    "read_description_work",
    "read_fingerprints",
    "read_image_work",
    "read_known_keys",
]

Keys = npt.NDArray[np.bytes_]
#: Images that are looked at together.
_PART_ROWS = 32_768


def find_encoder_of_source(store: FeatureStore, source_digest: str) -> str | None:
    """The fingerprint that weights with this digest led to before, if any."""
    rows = store.rows(
        "SELECT fingerprint FROM encoder_sources WHERE source_digest = ?",
        [source_digest],
    )
    return str(rows[0][0]) if rows else None


def read_fingerprints(store: FeatureStore) -> set[str]:
    """Fingerprints of the store's encoders."""
    rows = store.rows("SELECT fingerprint FROM encoders")
    return {str(fingerprint) for (fingerprint,) in rows}


def read_image_work(
    store: FeatureStore,
    known_keys: Keys,
    datasets: Sequence[str] | None,
    where: str | None = None,
) -> Iterator[pa.Table]:
    """Every image with what is known of its file, some at a time.

    The catalog is let go in between, and rows are in the order of image_id within each
    part: sorting all of them would take more memory than what is to be done.

    Args:
        store: Where to look.
        known_keys: Contents that have a vector; see `read_known_keys`.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.

    Yields:
        Columns `image_id`, `root`, `path`, `content_digest`, `size_bytes`, `mtime_ns`
        (the last three null before the file was first read), `inside` (the file must
        lie in `root`), `encoded` (content has a vector) and `failed` (content was
        refused before).

    Raises:
        QueryError: `where` is not a valid condition.
    """
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
        inside, links = "false", ""
        if has_table(connection, "dataset_links"):  # older stores lack it
            inside = "NOT coalesce(follow_links, true)"
            links = "LEFT JOIN dataset_links USING (dataset)"
        n_rows = scalar(connection, "SELECT coalesce(max(rowid), -1) + 1 FROM images")
    refused = _read_keys(
        store,
        """SELECT DISTINCT content_digest FROM failures
        WHERE content_digest IS NOT NULL AND stage = 'decode'""",
        [],
    )
    for start in range(0, n_rows, _PART_ROWS):
        # Straight from the catalog: as an answer of `sql`, rows would be there twice.
        with store.catalog.read() as connection:
            part = connection.sql(
                f"""SELECT image_id, root, path, content_digest, size_bytes,
                    mtime_ns, {inside} AS inside
                FROM (SELECT * FROM images WHERE {condition}
                    AND rowid >= $start AND rowid < $end)
                JOIN datasets USING (dataset) {links}
                WHERE $datasets::VARCHAR[] IS NULL OR
                    list_contains($datasets, dataset)
                ORDER BY image_id""",
                params={
                    "start": start,
                    "end": start + _PART_ROWS,
                    "datasets": datasets and list(datasets),
                },
            ).to_arrow_table()
        keys = np.array(part["content_digest"].fill_null("").to_pylist(), dtype="S32")
        root = part["root"].combine_chunks().dictionary_encode()
        part = part.set_column(1, "root", root)
        part = part.append_column("encoded", pa.array(_among(keys, known_keys)))
        yield part.append_column("failed", pa.array(_among(keys, refused)))


def _among(keys: Keys, known: Keys) -> npt.NDArray[np.bool_]:
    """Which keys are in a sorted array.

    >>> _among(np.array([b"a", b"c"]), np.array([b"a", b"b"])).tolist()
    [True, False]
    """
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    position = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    is_member: npt.NDArray[np.bool_] = known[position] == keys
    return is_member


def read_known_keys(store: FeatureStore, fingerprint: str, modality: str) -> Keys:
    """Sorted content digests that already have a vector, shape (n,), 32 bytes each."""
    return _read_keys(
        store,
        "SELECT item_id FROM features WHERE fingerprint = ? AND modality = ?",
        [fingerprint, modality],
    )


def _read_keys(store: FeatureStore, query: str, values: Sequence[str]) -> Keys:
    """The digests that a query gives, sorted; no more than them is in memory."""
    with store.catalog.read() as connection:
        n_keys = scalar(connection, f"SELECT count(*) FROM ({query})", values)
        keys = np.empty(n_keys, dtype="S32")
        answer = connection.sql(query, params=list(values))
        start = 0
        for part in answer.to_arrow_reader(_PART_ROWS):
            end = start + len(part)
            keys[start:end] = part.column(0).to_pylist()
            start = end
    keys.sort()
    return keys


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


def read_dataset_findings(store: FeatureStore) -> list[str]:
    """Findings of the datasets, in their order."""
    rows = store.rows(
        """SELECT finding FROM dataset_findings
        GROUP BY finding ORDER BY min(position), finding"""
    )
    return [str(finding) for (finding,) in rows]
