"""Versions of a dataset's labels: the last is in `labels`, others in `old_labels`."""

import hashlib
from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..catalog import scalar, utc_now

__all__ = ["labels_digest", "open_version"]


def labels_digest(
    image_ids: pa.ChunkedArray, findings: Sequence[str], states: npt.NDArray[np.int8]
) -> str:
    """BLAKE2b, 16 bytes in hex, of all that a version of labels says.

    The order of the images does not matter.

    Args:
        image_ids: N, all different.
        findings: K names.
        states: Shape (N, K).
    """
    digest = hashlib.blake2b(digest_size=16)
    digest.update("\0".join(findings).encode())
    order = pc.sort_indices(image_ids)
    digest.update("\0".join(["", *image_ids.take(order).to_pylist()]).encode())
    digest.update(np.ascontiguousarray(states[order.to_numpy()]).tobytes())
    return digest.hexdigest()


def open_version(
    connection: duckdb.DuckDBPyConnection, dataset: str, digest: str, n_images: int
) -> tuple[int, bool]:
    """Make room for labels that are about to be entered.

    If they are those that are there, nothing changes. Otherwise the labels that are
    there move to `old_labels`, and a version is entered for the new ones.

    Returns:
        The version, and whether its labels must be entered.
    """
    known = connection.execute(
        """SELECT version, digest FROM label_versions WHERE dataset = ?
        ORDER BY version DESC LIMIT 1""",
        [dataset],
    ).fetchall()
    version, before = known[0] if known else (0, None)
    if before == digest:
        return version, False
    mine = "image_id IN (SELECT image_id FROM images WHERE dataset = ?)"
    n_labels = scalar(
        connection, f"SELECT count(*) FROM labels WHERE {mine}", [dataset]
    )
    if n_labels and not known:  # of a store from before versions were kept
        version = 1
        connection.execute(
            """INSERT INTO label_versions
            SELECT dataset, 1, NULL, ingested_at, n_images FROM datasets
            WHERE dataset = ?""",
            [dataset],
        )
    connection.execute(
        f"""INSERT INTO old_labels
        SELECT ?, ?, image_id, finding, state FROM labels WHERE {mine}""",
        [dataset, version, dataset],
    )
    connection.execute(f"DELETE FROM labels WHERE {mine}", [dataset])
    connection.execute(
        "INSERT INTO label_versions VALUES (?, ?, ?, ?, ?)",
        [dataset, version + 1, digest, utc_now(), n_images],
    )
    return version + 1, True
