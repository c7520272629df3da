"""Which images a grid shows, in which order, and what stands below each."""

import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import pyarrow as pa

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.queries.labelled import checked_condition

__all__ = ["SORTS", "STATES", "Choices", "Filters", "choose_images", "read_choices",
           "read_tiles"]  # fmt: skip

STATES = ("positive", "negative", "uncertain", "absent")
#: What a grid can be sorted by.
SORTS = (
    "image_id", "dataset", "split", "view", "sex", "age", "patient_id", "study_id",
    "positives",
)  # fmt: skip


@dataclass(frozen=True)
class Filters:
    """Which images, in which order; empty texts choose all.

    Attributes:
        dataset: Its name.
        split: train, validation or test.
        view: As the catalog has it.
        sex: As the catalog has it.
        age_from: Years at least.
        age_to: Years at most.
        finding: Its name.
        state: State of the finding's label.
        where: A SQL condition over `images`.
        sort: One of `SORTS`.
        descending: ``1`` for the largest first.
        among: Key of a list of images: found by a search, or drawn round in the map.
            Without `sort` they stay in that list's order.
    """

    dataset: str = ""
    split: str = ""
    view: str = ""
    sex: str = ""
    age_from: str = ""
    age_to: str = ""
    finding: str = ""
    state: str = ""
    where: str = ""
    sort: str = ""
    descending: str = ""
    among: str = ""

    @classmethod
    def of(cls, given: dict[str, str]) -> "Filters":
        """Those of a request; names that are unknown do not count.

        Browsers send a line break of a name as two characters.
        """
        known = {field.name for field in fields(cls)}
        plain = {k: v.replace("\r\n", "\n") for k, v in given.items() if k in known}
        for name in ("age_from", "age_to", "where"):
            plain[name] = plain.get(name, "").strip()
        return cls(**plain)

    def given(self) -> dict[str, str]:
        """The parts that choose something."""
        return {name: value for name, value in asdict(self).items() if value}

    def key(self) -> str:
        """A short name for the same filters."""
        text = json.dumps(self.given(), sort_keys=True).encode()
        digest = hashlib.blake2b(text, digest_size=9).digest()
        return base64.urlsafe_b64encode(digest).decode()


@dataclass(frozen=True)
class Choices:
    """What the filters of a store offer."""

    datasets: tuple[str, ...]
    splits: tuple[str, ...]
    views: tuple[str, ...]
    sexes: tuple[str, ...]
    findings: tuple[str, ...]
    n_images: int


def read_choices(store: FeatureStore) -> Choices:
    """Values that occur in the store."""
    with store.catalog.read() as connection:

        def distinct(column: str) -> tuple[str, ...]:
            rows = connection.execute(
                f"SELECT DISTINCT {column} FROM images "
                f"WHERE {column} IS NOT NULL ORDER BY 1 LIMIT 200"
            ).fetchall()
            return tuple(str(value) for (value,) in rows)

        findings = connection.execute(
            """SELECT finding FROM dataset_findings
            GROUP BY finding ORDER BY min(position), finding"""
        ).fetchall()
        (count,) = connection.execute("SELECT count(*) FROM images").fetchall()[0]
        return Choices(
            distinct("dataset"),
            distinct("split"),
            distinct("view"),
            distinct("sex"),
            tuple(str(name) for (name,) in findings),
            int(count),
        )


def choose_images(
    store: FeatureStore, filters: Filters, among: pa.Array | None = None
) -> pa.Array:
    """Ids of the images that fit, in order.

    Args:
        store: Where to look.
        filters: Which.
        among: Only these, in this order unless another is asked for; None: all.

    Raises:
        ConfigurationError: An age is not a number, or the order or state is unknown.
        QueryError: The condition is none.
    """
    ages = [_age(filters.age_from), _age(filters.age_to)]
    if filters.sort and filters.sort not in SORTS:
        raise ConfigurationError(
            f"images cannot be sorted by {filters.sort!r}",
            f"Use one of {', '.join(SORTS)}.",
        )
    if filters.state and filters.state not in STATES:
        raise ConfigurationError(
            f"unknown label state {filters.state!r}", f"Use one of {', '.join(STATES)}."
        )
    with store.catalog.read() as connection:
        condition = checked_condition(connection, filters.where or None)
        order, joined = _order(filters, among is not None)
        if among is not None:
            listed = {"image_id": among, "place": pa.array(range(len(among)))}
            connection.register("listed", pa.table(listed))
            joined += " JOIN listed USING (image_id)"
        table = connection.sql(
            f"""SELECT image_id FROM (FROM images WHERE {condition}) AS images
            {joined}
            WHERE ($dataset = '' OR dataset = $dataset)
            AND ($split = '' OR split = $split) AND ($view = '' OR view = $view)
            AND ($sex = '' OR sex = $sex)
            AND ($low::FLOAT IS NULL OR age >= $low)
            AND ($high::FLOAT IS NULL OR age <= $high)
            AND ($finding = '' AND $state = '' OR image_id IN (
                SELECT image_id FROM labels
                WHERE ($finding = '' OR finding = $finding)
                AND ($state = '' OR state = $state)))
            ORDER BY {order}""",
            params={
                "dataset": filters.dataset, "split": filters.split,
                "view": filters.view, "sex": filters.sex, "low": ages[0],
                "high": ages[1], "finding": filters.finding, "state": filters.state,
            },
        ).to_arrow_table()  # fmt: skip
    return table["image_id"].combine_chunks()


def _order(filters: Filters, listed: bool) -> tuple[str, str]:
    """The ORDER BY, and what must be joined for it."""
    direction = "DESC" if filters.descending else "ASC"
    if not filters.sort and listed:
        return f"place {direction}", ""
    if filters.sort == "positives":
        return (
            f"coalesce(n_positive, 0) {direction}, images.image_id",
            """LEFT JOIN (SELECT image_id, count(*) AS n_positive FROM labels
            WHERE state = 'positive' GROUP BY image_id) USING (image_id)""",
        )
    return f"{filters.sort or 'image_id'} {direction} NULLS LAST, image_id", ""


def _age(text: str) -> float | None:
    if not text:
        return None
    try:
        return float(text)
    except ValueError as error:
        raise ConfigurationError(
            f"{text!r} is no age in years", "Use a number."
        ) from error


def read_tiles(store: FeatureStore, image_ids: Sequence[str]) -> list[dict[str, Any]]:
    """What stands below the pictures of some images, in their order.

    Returns:
        A dictionary per image: columns of `images`, and `positive`, the findings whose
        label is positive. Images that are not in the store are left out.
    """
    with store.catalog.read() as connection:
        connection.register("asked", pa.table({"image_id": list(image_ids)}))
        rows = connection.sql(
            """WITH chosen AS (
                SELECT image_id, dataset, path, patient_id, study_id, view, sex, age,
                    split
                FROM images WHERE image_id IN (SELECT image_id FROM asked))
            SELECT chosen.*, coalesce(positive, []) AS positive FROM chosen
            LEFT JOIN (SELECT image_id, list(finding ORDER BY finding) AS positive
                FROM labels WHERE state = 'positive'
                AND image_id IN (SELECT image_id FROM asked)
                GROUP BY image_id) USING (image_id)"""
        ).to_arrow_table()
    row_of_image = {row["image_id"]: row for row in rows.to_pylist()}
    return [row_of_image[one] for one in image_ids if one in row_of_image]
