"""Rows that a writer enters into the catalog; each function within its transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..catalog import scalar, utc_now
from ..errors import ConfigurationError
from ..label_states import STATE_NAMES, UNLABELLED
from ..schema import ADD_COLUMNS, create_table, label_matrix_sql, quoted

__all__ = [
    "DatasetChange",
    "FileState",
    "ItemFailure",
    "add_image_columns",
    "check_key",
    "enter_stand_ins",
    "insert_failures",
    "refuse_other_sentences",
    "replace_images",
    "replace_labels",
    "update_files",
]


@dataclass(frozen=True)
class DatasetChange:
    """What an ingest changed: numbers of images."""

    n_images: int
    added: int
    removed: int
    n_findings: int
    label_version: int = 1
    labels_changed: bool = True


@dataclass(frozen=True)
class FileState:
    """What a file looked like when it was read.

    Attributes:
        image_id: Id of the image.
        content_digest: Digest of its bytes.
        size_bytes: Their number.
        mtime_ns: When it was last changed.
        display: What was done to show it; None if it was not decoded.
        burned_in_text: Whether the picture seems to have words in it.
    """

    image_id: str
    content_digest: str
    size_bytes: int
    mtime_ns: int
    display: str | None = None
    burned_in_text: bool = False


@dataclass(frozen=True)
class ItemFailure:
    """One image that could not be used.

    Attributes:
        image_id: Which image.
        path: The file that was tried.
        stage: ``read`` or ``decode`` or ``encode``.
        error: What went wrong, for a person.
        content_digest: Digest of the bytes that failed; None if they could not be read.
    """

    image_id: str
    path: str
    stage: str
    error: str
    content_digest: str | None


def check_key(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    key_check: str | None,
    *,
    is_known: bool,
) -> None:
    """Enter which key made a dataset's ids; another one would make other patients."""
    rows = connection.execute(
        "SELECT key_check FROM pseudonym_keys WHERE dataset = ?", [dataset]
    ).fetchall()
    before = rows[0][0] if rows else None
    if is_known and before != key_check:
        raise ConfigurationError(
            f"the ids of the dataset '{dataset}' were made "
            + ("without a key" if before is None else "with another key"),
            "Ingest it as before, or under another name (`dataset`).",
        )
    if key_check is not None and before is None:
        connection.execute(
            "INSERT INTO pseudonym_keys VALUES (?, ?)", [dataset, key_check]
        )


def replace_images(
    connection: duckdb.DuckDBPyConnection, dataset: str, images: pa.Table
) -> DatasetChange:
    """Swap a dataset's image rows, carrying over what is known of each file.

    Columns that `images` does not have yet become columns of text.
    """
    add_image_columns(connection, images.column_names)
    connection.register("incoming_images", images)
    connection.execute(
        """CREATE TEMP TABLE merged_images AS
        SELECT new.*, old.content_digest, old.size_bytes, old.mtime_ns
        FROM incoming_images AS new
        LEFT JOIN images AS old ON old.image_id = new.image_id"""
    )
    added = scalar(
        connection,
        "SELECT count(*) FROM incoming_images ANTI JOIN images USING (image_id)",
    )
    removed = scalar(
        connection,
        """SELECT count(*) FROM images ANTI JOIN incoming_images USING (image_id)
        WHERE dataset = ?""",
        [dataset],
    )
    connection.execute("DELETE FROM images WHERE dataset = ?", [dataset])
    connection.execute("INSERT INTO images BY NAME FROM merged_images")
    connection.execute("DROP TABLE merged_images")
    return DatasetChange(len(images), added, removed, 0)


def add_image_columns(
    connection: duckdb.DuckDBPyConnection, names: Sequence[str]
) -> None:
    """Make columns of `images` that are not there: later ones, and kept ones."""
    for statement in ADD_COLUMNS:
        connection.execute(statement)
    for name in names:
        connection.execute(
            f"ALTER TABLE images ADD COLUMN IF NOT EXISTS {quoted(name)} VARCHAR"
        )


def replace_labels(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    images: pa.Table,
    findings: Sequence[str],
    states: npt.NDArray[np.int8],
) -> None:
    """Enter one row per labelled cell, without a Python loop over rows."""
    n_findings = states.shape[1]
    codes = sorted(STATE_NAMES)
    cells = states.reshape(-1)
    labelled = np.flatnonzero(cells != UNLABELLED)
    labels = {
        "image_id": pa.DictionaryArray.from_arrays(
            (labelled // max(n_findings, 1)).astype(np.int32),
            images["image_id"].combine_chunks(),
        ),
        "finding": pa.DictionaryArray.from_arrays(
            (labelled % max(n_findings, 1)).astype(np.int32),
            pa.array(list(findings), pa.string()),
        ),
        "state": pa.DictionaryArray.from_arrays(
            np.searchsorted(codes, cells[labelled]).astype(np.int32),
            pa.array([STATE_NAMES[code] for code in codes]),
        ),
    }
    connection.register("incoming_labels", pa.table(labels))
    connection.execute("INSERT INTO labels SELECT * FROM incoming_labels")
    connection.execute("DELETE FROM dataset_findings WHERE dataset = ?", [dataset])
    connection.executemany(
        "INSERT INTO dataset_findings VALUES (?, ?, ?)",
        [[dataset, finding, order] for order, finding in enumerate(findings)],
    )
    names = connection.execute(
        """SELECT finding FROM dataset_findings
        GROUP BY finding ORDER BY min(position), finding"""
    ).fetchall()
    connection.execute(label_matrix_sql(name for (name,) in names))


def update_files(
    connection: duckdb.DuckDBPyConnection, files: Sequence[FileState]
) -> None:
    """Tell each image what its file held when it was read, and how it is shown."""
    if not files:
        return
    schema = pa.schema(
        [
            ("image_id", pa.string()), ("content_digest", pa.string()),
            ("size_bytes", pa.int64()), ("mtime_ns", pa.int64()),
            ("display", pa.string()), ("burned_in_text", pa.bool_()),
        ]
    )  # fmt: skip
    table = pa.Table.from_pylist([vars(file) for file in files], schema)
    connection.register("incoming_files", table)
    if any(file.display is not None for file in files):
        connection.execute(create_table("image_display"))  # older stores lack it
        connection.execute(
            """INSERT INTO image_display
            SELECT content_digest, any_value(display) FROM incoming_files
            WHERE display IS NOT NULL AND content_digest NOT IN
                (SELECT content_digest FROM image_display)
            GROUP BY content_digest"""
        )
    if any(file.burned_in_text for file in files):
        connection.execute(create_table("burned_in_text"))  # older stores lack it
        connection.execute(
            """INSERT INTO burned_in_text
            SELECT DISTINCT content_digest FROM incoming_files WHERE burned_in_text
            AND content_digest NOT IN (SELECT content_digest FROM burned_in_text)"""
        )
    _move_vectors(connection)
    connection.execute(
        """UPDATE images SET content_digest = new.content_digest,
            size_bytes = new.size_bytes, mtime_ns = new.mtime_ns
        FROM incoming_files AS new WHERE images.image_id = new.image_id"""
    )


def _move_vectors(connection: duckdb.DuckDBPyConnection) -> None:
    """Vectors of images that had no file when they were imported follow the content.

    Such an image has a stand-in for its content digest and no size. When its file is
    read at last, the rows of its vectors get the digest of what the file holds.
    """
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moved AS
        SELECT images.content_digest AS before, any_value(new.content_digest) AS after
        FROM images JOIN incoming_files AS new USING (image_id)
        WHERE images.content_digest IS NOT NULL AND images.size_bytes IS NULL
            AND images.content_digest <> new.content_digest
        GROUP BY ALL"""
    )
    if not scalar(connection, "SELECT count(*) FROM moved"):
        return
    connection.execute(
        """CREATE OR REPLACE TEMP TABLE moved_features AS
        SELECT fingerprint, modality, after AS item_id, shard_id, "row"
        FROM features JOIN moved ON item_id = before
        WHERE modality = 'image'
        QUALIFY row_number() OVER (PARTITION BY fingerprint, after) = 1"""
    )
    connection.execute(
        """DELETE FROM features WHERE modality = 'image'
        AND item_id IN (SELECT before FROM moved)"""
    )
    connection.execute(
        """INSERT INTO features SELECT * FROM moved_features AS new
        WHERE NOT EXISTS (FROM features AS old WHERE old.item_id = new.item_id
            AND old.fingerprint = new.fingerprint AND old.modality = new.modality)"""
    )


def enter_stand_ins(connection: duckdb.DuckDBPyConnection, digests: pa.Table) -> None:
    """Give images that nobody has read something to key their vectors by.

    Args:
        connection: Within a transaction.
        digests: Columns `image_id` and `content_digest`.
    """
    connection.register("incoming_digests", digests)
    connection.execute(
        """UPDATE images SET content_digest = new.content_digest
        FROM incoming_digests AS new
        WHERE images.image_id = new.image_id AND images.content_digest IS NULL"""
    )
    connection.unregister("incoming_digests")


def insert_failures(
    connection: duckdb.DuckDBPyConnection, failures: Sequence[ItemFailure]
) -> None:
    """Enter failures, each with the number of its attempt."""
    if not failures:
        return
    schema = pa.schema(
        [(name, pa.string()) for name in ItemFailure.__dataclass_fields__]
    )
    table = pa.Table.from_pylist([vars(item) for item in failures], schema)
    connection.register("incoming_failures", table)
    connection.execute(
        """INSERT INTO failures
        SELECT image_id, path, stage, error,
            1 + (SELECT count(*) FROM failures AS old
                 WHERE old.image_id = new.image_id)::INTEGER,
            ?, content_digest
        FROM incoming_failures AS new""",
        [utc_now()],
    )


def refuse_other_sentences(connection: duckdb.DuckDBPyConnection) -> None:
    """Compare the registered `incoming_descriptions` with those of the same sets."""
    changed = connection.execute(
        """WITH known AS (
            SELECT set_name, finding, list_sort(list(description_id)) AS ids
            FROM descriptions GROUP BY ALL
        ), incoming AS (
            SELECT set_name, finding, list_sort(list(description_id)) AS ids
            FROM incoming_descriptions GROUP BY ALL
        )
        SELECT set_name, finding FROM known JOIN incoming USING (set_name, finding)
        WHERE known.ids <> incoming.ids ORDER BY ALL"""
    ).fetchall()
    if changed:
        set_name = changed[0][0]
        names = ", ".join(finding for _, finding in changed)
        raise ConfigurationError(
            f"the store has other sentences of the description set '{set_name}' for "
            f"{names}, and sets never change",
            "Give the changed sentences a set name of their own (`set:` in the file).",
        )
