"""Who is erased, and all of a store that is theirs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import duckdb
import pyarrow as pa

__all__ = ["Erased", "blot_out", "find_erased", "patients_table"]

#: Shorter names stand in any text by chance.
_SHORTEST_NAME = 4


@dataclass(frozen=True)
class Erased:
    """Patients with everything by which they could be known.

    Attributes:
        patients: Population and id of each.
        image_ids: Their images, also those that only runs or old labels know of.
        paths: Paths of these images, relative to their datasets.
        studies: Ids of their studies that no other patient has.
        digests: Content digests of their images, which nobody else's images have.
        shared_digests: Content digests that another patient's image has, too: vectors
            of these stay.
        datasets: Where they were found.
    """

    patients: tuple[tuple[str, str], ...]
    image_ids: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    studies: tuple[str, ...] = ()
    digests: tuple[str, ...] = ()
    shared_digests: tuple[str, ...] = ()
    datasets: tuple[str, ...] = field(default=())

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Everything that running text may call them by, the longest first."""
        by_patient = {
            *self.image_ids, *self.paths, *self.digests, *self.studies,
            *(patient for _, patient in self.patients),
        }  # fmt: skip
        long = [name for name in by_patient if len(name) >= _SHORTEST_NAME]
        return tuple(sorted(long, key=len, reverse=True))


def patients_table(patients: Sequence[tuple[str, str]]) -> pa.Table:
    """The columns `population` and `patient_id`."""
    return pa.table(
        {
            "population": pa.array([one for one, _ in patients], pa.string()),
            "patient_id": pa.array([one for _, one in patients], pa.string()),
        }
    )


def find_erased(
    connection: duckdb.DuckDBPyConnection,
    patients: Sequence[tuple[str, str]],
    populations: str,
    listed: pa.Table,
    *,
    orphans: bool = False,
) -> Erased:
    """Everything in the catalog that belongs to some patients.

    Args:
        connection: For reading.
        patients: Population and id of each.
        populations: A query that gives the columns `dataset` and `population`.
        listed: Images of these patients that runs have listed: columns `image_id` and
            `content_digest`.
        orphans: Also what belongs to images that no dataset has any more: nobody can
            tell whose they were.
    """
    connection.register("erased_patients", patients_table(patients))
    connection.register("listed_images", listed)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE erased_rows AS
        SELECT images.* FROM images JOIN ({populations}) USING (dataset)
        JOIN erased_patients USING (population, patient_id)"""
    )
    image_ids = _names(
        connection,
        """SELECT image_id FROM erased_rows UNION SELECT image_id FROM listed_images
        WHERE image_id NOT IN (SELECT image_id FROM images)""",
    )
    digests = """SELECT content_digest FROM erased_rows UNION
        SELECT content_digest FROM listed_images UNION
        SELECT failures.content_digest FROM failures
        JOIN erased_rows USING (image_id)"""
    if orphans:
        image_ids += _orphans(connection)
        digests += """ UNION SELECT item_id FROM features WHERE modality = 'image'
            AND item_id NOT IN (SELECT content_digest FROM images
                WHERE content_digest IS NOT NULL)"""
    others = """SELECT content_digest FROM images
        WHERE image_id NOT IN (SELECT image_id FROM erased_rows)
        AND content_digest IS NOT NULL"""
    of_paths = "SELECT path FROM erased_rows"
    of_failures = """SELECT failures.path FROM failures
        JOIN erased_rows USING (image_id)"""
    studies = """SELECT study_id FROM erased_rows WHERE study_id NOT IN (
        SELECT study_id FROM images WHERE study_id IS NOT NULL
        AND image_id NOT IN (SELECT image_id FROM erased_rows))"""
    erased = Erased(
        patients=tuple(sorted(patients)),
        image_ids=tuple(sorted(set(image_ids))),
        paths=_names(connection, f"{of_paths} UNION {of_failures}"),
        studies=_names(connection, studies),
        digests=_names(
            connection, f"SELECT * FROM ({digests}) EXCEPT SELECT * FROM ({others})"
        ),
        shared_digests=_names(
            connection, f"SELECT * FROM ({digests}) INTERSECT SELECT * FROM ({others})"
        ),
        datasets=_names(connection, "SELECT DISTINCT dataset FROM erased_rows"),
    )
    connection.execute("DROP TABLE erased_rows")
    connection.unregister("erased_patients")
    connection.unregister("listed_images")
    return erased


def _orphans(connection: duckdb.DuckDBPyConnection) -> tuple[str, ...]:
    parts = " UNION ".join(
        f"SELECT image_id FROM {table}"
        for table in ("labels", "old_labels", "predictions", "failures")
    )
    return _names(
        connection,
        f"SELECT image_id FROM ({parts}) WHERE image_id NOT IN "
        "(SELECT image_id FROM images)",
    )


def _names(connection: duckdb.DuckDBPyConnection, query: str) -> tuple[str, ...]:
    """The values of a query's only column that are not null, in order."""
    rows = connection.execute(query).fetchall()
    return tuple(sorted(str(name) for (name,) in rows if name is not None))


def blot_out(text: str, names: Sequence[str]) -> str:
    """A text in which names that stand by themselves are blotted out.

    >>> blot_out("image p-17/2.png of p-17, not of p-171", ["p-17/2.png", "p-17"])
    'image erased of erased, not of p-171'
    """
    for name in names:
        start = text.find(name)
        while start >= 0:
            end = start + len(name)
            inside = (start > 0 and text[start - 1].isalnum()) or (
                end < len(text) and text[end].isalnum()
            )
            if not inside:
                text = text[:start] + "erased" + text[end:]
                end = start
            start = text.find(name, end)
    return text
