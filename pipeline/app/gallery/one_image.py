"""All that the store knows of one image."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from retune.store import FeatureStore
from retune.store.catalog import has_table

from ...datasets.leakage import populations_query

__all__ = ["ImagePage", "LabelRow", "Note", "find_others_of_patient", "read_image_page"]

_MOST_OTHERS = 60


@dataclass(frozen=True)
class LabelRow:
    """A finding of an image: its label, and what it was before a person changed it."""

    finding: str
    state: str
    history: tuple[str, ...] = ()


@dataclass(frozen=True)
class Note:
    """A person's remark."""

    finding: str
    text: str
    author: str
    made_at: str


@dataclass(frozen=True)
class ImagePage:
    """What one image's page shows.

    Attributes:
        facts: Columns of `images`.
        labels: In the order of the dataset's findings.
        notes: Oldest first.
        label_version: Label version of its dataset.
        display: What was done to show it; None if it was not decoded yet.
    """

    facts: dict[str, Any]
    labels: tuple[LabelRow, ...]
    notes: tuple[Note, ...]
    label_version: int
    display: str | None

    @property
    def image_id(self) -> str:
        """Its id."""
        return str(self.facts["image_id"])


def read_image_page(store: FeatureStore, image_id: str) -> ImagePage | None:
    """Read an image's page; None if the store has no such image."""
    with store.catalog.read() as connection:
        rows = connection.execute(
            """SELECT image_id, dataset, path, patient_id, study_id, view, sex, age,
                split, content_digest FROM images WHERE image_id = ? LIMIT 1""",
            [image_id],
        )
        names = [column[0] for column in rows.description or ()]
        rows_read = rows.fetchall()
        if not rows_read:
            return None
        facts = dict(zip(names, rows_read[0], strict=True))
        states = dict(
            connection.execute(
                "SELECT finding, state FROM labels WHERE image_id = ?", [image_id]
            ).fetchall()
        )
        order = connection.execute(
            "SELECT finding FROM dataset_findings WHERE dataset = ? ORDER BY position",
            [facts["dataset"]],
        ).fetchall()
        edits: dict[str, list[str]] = {}
        if has_table(connection, "label_edits"):
            for finding, before, after, author, made_at in connection.execute(
                """SELECT finding, state_before, state_after, author, made_at
                FROM label_edits WHERE image_id = ? ORDER BY version""",
                [image_id],
            ).fetchall():
                text = f"{before or 'no label'} → {after}, {author}, {made_at:%Y-%m-%d}"
                edits.setdefault(finding, []).append(text)
        notes = (
            connection.execute(
                """SELECT coalesce(finding, ''), text, author,
                    strftime(made_at, '%Y-%m-%d %H:%M')
                FROM image_notes WHERE image_id = ? ORDER BY made_at""",
                [image_id],
            ).fetchall()
            if has_table(connection, "image_notes")
            else []
        )
        (version,) = connection.execute(
            "SELECT coalesce(max(version), 1) FROM label_versions WHERE dataset = ?",
            [facts["dataset"]],
        ).fetchall()[0]
        shown = (
            connection.execute(
                "SELECT display FROM image_display WHERE content_digest = ?",
                [facts["content_digest"]],
            ).fetchall()
            if has_table(connection, "image_display")
            else []
        )
    labels = tuple(
        LabelRow(name, states.get(name, ""), tuple(edits.get(name, ())))
        for (name,) in order
    )
    return ImagePage(
        facts,
        labels,
        tuple(Note(*note) for note in notes),
        int(version),
        shown[0][0] if shown else None,
    )


def find_others_of_patient(store: FeatureStore, page: ImagePage) -> pa.Array:
    """Ids of the patient's other images, in any dataset of the same population."""
    if page.facts["patient_id"] is None:
        return pa.array([], pa.string())
    populations = populations_query(store)
    with store.catalog.read() as connection:
        table = connection.sql(
            f"""SELECT image_id FROM images
            WHERE patient_id = $patient AND image_id <> $image AND dataset IN (
                WITH p AS ({populations})
                SELECT dataset FROM p WHERE population IN
                    (SELECT population FROM p WHERE dataset = $dataset))
            ORDER BY study_id, image_id LIMIT {_MOST_OTHERS}""",
            params={
                "patient": page.facts["patient_id"],
                "image": page.image_id,
                "dataset": page.facts["dataset"],
            },
        ).to_arrow_table()
    return table["image_id"].combine_chunks()
