"""A person's word on images: notes, and labels that become a new version.

A relabelled cell never replaces what was there: the earlier labels move to
`old_labels`, as at an ingest, and `label_edits` says who changed what.
"""

from dataclasses import dataclass

import duckdb
import numpy as np
import numpy.typing as npt

from .catalog import utc_now
from .changes.label_versions import labels_digest, open_version
from .errors import ConfigurationError
from .feature_store import FeatureStore
from .label_states import STATE_NAMES, UNLABELLED
from .schema import create_table

__all__ = ["Relabelled", "add_note", "relabel"]

_LONGEST_NOTE = 10_000
_TABLES = ("labels", "old_labels", "label_versions", "label_edits")


@dataclass(frozen=True)
class Relabelled:
    """What a relabelling did.

    Attributes:
        dataset: Whose labels have a new version.
        version: Version of these labels now.
        before: The state that the cell had; None if it had none.
        changed: False if it had this state already.
    """

    dataset: str
    version: int
    before: str | None
    changed: bool


def add_note(
    store: FeatureStore, image_id: str, text: str, author: str, finding: str = ""
) -> None:
    """Enter a person's remark on an image.

    Args:
        store: With the image.
        image_id: Id of the image.
        text: The remark.
        author: Who makes it.
        finding: What it is about; empty: the image.

    Raises:
        ConfigurationError: There is no such image, or the remark is empty or longer
            than 10,000 characters.
    """
    text = text.replace("\r\n", "\n").replace("\0", "").strip()
    if not text or len(text) > _LONGEST_NOTE:
        raise ConfigurationError(
            f"a note has {len(text):,} characters",
            f"Write between 1 and {_LONGEST_NOTE:,}.",
        )
    with store.catalog.write() as connection:
        connection.execute(create_table("image_notes"))
        _dataset_of(connection, image_id)
        connection.execute(
            "INSERT INTO image_notes VALUES (?, ?, ?, ?, ?)",
            [image_id, finding or None, text, author, utc_now()],
        )
    store.refresh_copies(tables=("image_notes",))


def relabel(
    store: FeatureStore, image_id: str, finding: str, state: str, author: str
) -> Relabelled:
    """Give one cell another state, as a new version of its dataset's labels.

    Args:
        store: With the image.
        image_id: Id of the image.
        finding: A finding that its dataset labels.
        state: ``positive``, ``negative``, ``uncertain`` or ``absent``.
        author: Who says so.

    Raises:
        ConfigurationError: There is no such image, finding or state.
        StoreBusyError: Another process holds the catalog.
    """
    if state not in STATE_NAMES.values():
        raise ConfigurationError(
            f"unknown label state {state!r}",
            f"Use one of {', '.join(STATE_NAMES.values())}.",
        )
    with store.catalog.write() as connection:
        for table in _TABLES:
            connection.execute(create_table(table))
        dataset = _dataset_of(connection, image_id)
        findings = _findings_of(connection, dataset)
        if finding not in findings:
            raise ConfigurationError(
                f"the dataset '{dataset}' does not label {finding!r}",
                f"It labels: {', '.join(findings)}.",
            )
        cell = connection.execute(
            "SELECT state FROM labels WHERE image_id = ? AND finding = ?",
            [image_id, finding],
        ).fetchall()
        before = str(cell[0][0]) if cell else None
        if before == state:
            return Relabelled(dataset, _last_version(connection, dataset), state, False)
        _fill_relabelled(connection, dataset, image_id, finding, state)
        ids, states = _matrix(connection, dataset, findings)
        digest = labels_digest(ids, findings, states)
        version, is_new = open_version(connection, dataset, digest, len(states))
        if is_new:
            connection.execute("INSERT INTO labels SELECT * FROM relabelled")
        connection.execute(
            "INSERT INTO label_edits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [dataset, version, image_id, finding, before, state, author, utc_now()],
        )
        connection.execute("DROP TABLE relabelled")
    store.refresh_copies(tables=_TABLES)
    return Relabelled(dataset, version, before, True)


def _dataset_of(connection: duckdb.DuckDBPyConnection, image_id: str) -> str:
    rows = connection.execute(
        "SELECT dataset FROM images WHERE image_id = ?", [image_id]
    ).fetchall()
    if not rows:
        raise ConfigurationError(
            f"the store has no image {image_id}", "Its ids are in the table images."
        )
    return str(rows[0][0])


def _findings_of(connection: duckdb.DuckDBPyConnection, dataset: str) -> list[str]:
    rows = connection.execute(
        "SELECT finding FROM dataset_findings WHERE dataset = ? ORDER BY position",
        [dataset],
    ).fetchall()
    return [str(name) for (name,) in rows]


def _last_version(connection: duckdb.DuckDBPyConnection, dataset: str) -> int:
    rows = connection.execute(
        "SELECT coalesce(max(version), 1) FROM label_versions WHERE dataset = ?",
        [dataset],
    ).fetchall()
    return int(rows[0][0])


def _fill_relabelled(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    image_id: str,
    finding: str,
    state: str,
) -> None:
    """The temporary table `relabelled`: the dataset's labels with the cell changed."""
    connection.execute(
        """CREATE TEMP TABLE relabelled AS SELECT * FROM labels
        WHERE image_id IN (SELECT image_id FROM images WHERE dataset = ?)
        AND NOT (image_id = ? AND finding = ?)""",
        [dataset, image_id, finding],
    )
    connection.execute(
        "INSERT INTO relabelled VALUES (?, ?, ?)", [image_id, finding, state]
    )


def _matrix(
    connection: duckdb.DuckDBPyConnection, dataset: str, findings: list[str]
) -> tuple[object, npt.NDArray[np.int8]]:
    """Image ids, N, and their states in `relabelled`, shape (N, K)."""
    images = connection.sql(
        "SELECT image_id FROM images WHERE dataset = ? ORDER BY image_id",
        params=[dataset],
    ).to_arrow_table()
    codes = " ".join(f"WHEN '{name}' THEN {code}" for code, name in STATE_NAMES.items())
    cells = connection.execute(
        f"""SELECT row_place, position AS column_place,
            (CASE state {codes} END)::TINYINT AS code
        FROM relabelled
        JOIN (SELECT image_id, row_number() OVER (ORDER BY image_id) - 1 AS row_place
            FROM images WHERE dataset = $dataset) USING (image_id)
        JOIN (SELECT finding, row_number() OVER (ORDER BY position) - 1 AS position
            FROM dataset_findings WHERE dataset = $dataset) USING (finding)""",
        {"dataset": dataset},
    ).fetchnumpy()
    states = np.full((len(images), len(findings)), UNLABELLED, dtype=np.int8)
    states[cells["row_place"], cells["column_place"]] = cells["code"]
    return images["image_id"], states
