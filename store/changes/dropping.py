"""Taking an encoder out of a store: its rows, then its files."""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ..catalog import has_table, scalar
from ..errors import StoreWriteError
from ..schema import create_table

__all__ = ["DROPPED_TAG", "DroppedEncoder", "drop_encoder_rows", "remove_shards"]

#: What runs are tagged with whose vectors are gone.
DROPPED_TAG = "backbone-dropped"


@dataclass(frozen=True)
class DroppedEncoder:
    """What a drop took out.

    Attributes:
        n_images: Vectors of images.
        n_texts: Vectors of sentences.
        n_bytes: Given back to the disk.
        runs: Ids of runs that were made of its vectors; they are tagged.
    """

    n_images: int
    n_texts: int
    n_bytes: int
    runs: tuple[str, ...]


def drop_encoder_rows(
    connection: duckdb.DuckDBPyConnection, fingerprint: str
) -> DroppedEncoder:
    """Remove an encoder's rows within the caller's transaction; runs are tagged."""

    def count(modality: str) -> int:
        return scalar(
            connection,
            "SELECT count(*) FROM features WHERE fingerprint = ? AND modality = ?",
            [fingerprint, modality],
        )

    n_bytes = scalar(
        connection,
        "SELECT coalesce(sum(bytes), 0)::BIGINT FROM shards WHERE fingerprint = ?",
        [fingerprint],
    )
    rows = connection.execute(
        "SELECT run_id FROM runs WHERE fingerprint = ? ORDER BY run_id", [fingerprint]
    ).fetchall()
    dropped = DroppedEncoder(
        count("image"), count("text"), n_bytes, tuple(run_id for (run_id,) in rows)
    )
    if has_table(connection, "shard_checksums"):
        connection.execute(
            """DELETE FROM shard_checksums WHERE shard_id IN
                (SELECT shard_id FROM shards WHERE fingerprint = ?)""",
            [fingerprint],
        )
    for table in (
        "features", "shards", "encoders", "encoder_sources", "trained_on",
        "text_lengths", "encodings",
    ):  # fmt: skip
        if has_table(connection, table):
            connection.execute(
                f"DELETE FROM {table} WHERE fingerprint = ?", [fingerprint]
            )
    connection.execute(create_table("run_tags"))
    connection.execute(
        """INSERT INTO run_tags SELECT run_id, $tag FROM runs
        WHERE fingerprint = $fingerprint AND run_id NOT IN
            (SELECT run_id FROM run_tags WHERE tag = $tag)""",
        {"tag": DROPPED_TAG, "fingerprint": fingerprint},
    )
    return dropped


def remove_shards(root: Path, fingerprint: str) -> None:
    """Delete an encoder's shards once its rows are gone.

    Until the folder has another name, a crash leaves shards that the next writer would
    enter again: the drop is then undone, and is repeated.

    Raises:
        StoreWriteError: The disk refused.
    """
    folder = root / "features" / fingerprint
    if not folder.is_dir():
        return
    aside = folder.with_name(f"dropped-{uuid.uuid4().hex}")
    try:
        folder.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise StoreWriteError(
            f"cannot remove {folder}: {error.strerror}", "Remove it by hand."
        ) from error
