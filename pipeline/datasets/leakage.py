"""Patients and pictures that stand in two splits: every figure would be too good.

Ingest never tears a patient of one dataset. Two datasets may share patients: two pools
cut from ChestX-ray14 do, and CheXpert Plus has CheXpert's.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from retune.store.errors import LeakageError
from retune.store.feature_store import FeatureStore
from retune.store.opening.kept_catalogs import opening_once
from retune.store.plural import counted
from retune.store.queries.labelled import checked_condition
from retune.store.queries.tables import table_names

__all__ = [
    "Leak",
    "check_leakage",
    "find_leaks",
    "population_of",
    "populations_query",
    "read_identities",
    "read_populations",
]

#: Whose patients they are, in stores from before ingest wrote it down. One layout is
#: one publisher's patients; the tables of hospitals may use the same numbers for
#: different people.
_BY_LAYOUT: Final = """CASE layout WHEN 'table' THEN 'dataset ' || dataset
    WHEN 'chexpert-plus' THEN 'chexpert' ELSE layout END"""
#: What tells patients and pictures apart; null where it is not known yet.
_KEYS: Final = {"patient": "population, patient_id", "picture": "content_digest"}
_SHOWN: Final = 5


@dataclass(frozen=True)
class Leak:
    """What two or more splits have in common.

    Attributes:
        kind: ``patient``, or ``picture`` for the same file content.
        datasets: Where they are.
        n_shared: How many patients or pictures.
        n_images: Images of theirs.
        examples: Up to five ids: of patients, or image ids.
    """

    kind: str
    datasets: tuple[str, ...]
    n_shared: int
    n_images: int
    examples: tuple[str, ...]


@opening_once
def read_populations(store: FeatureStore) -> dict[str, str]:
    """Dataset -> whose patients it has; equal ids of one population are one patient."""
    rows = store.rows(populations_query(store))
    return {str(dataset): str(population) for dataset, population in rows}


def population_of(dataset: str, layout: str, population: str | None) -> str:
    """Whose patients a dataset has that is not yet in a store; see `_BY_LAYOUT`.

    >>> population_of("ward", "table", None)
    'dataset ward'
    """
    if population is not None:
        return population
    if layout == "table":
        return f"dataset {dataset}"
    return "chexpert" if layout == "chexpert-plus" else layout


def populations_query(store: FeatureStore) -> str:
    """The query that gives the columns `dataset` and `population`."""
    if "dataset_populations" not in table_names(store):
        return f"SELECT dataset, {_BY_LAYOUT} AS population FROM datasets"
    return f"""SELECT dataset, coalesce(population, {_BY_LAYOUT}) AS population
        FROM datasets LEFT JOIN dataset_populations USING (dataset)"""


@opening_once
def read_identities(
    store: FeatureStore,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> pa.Table:
    """Whose images these are and what they show, to compare sets of images.

    Returns:
        Columns `image_id`, `population`, `patient_id`, `split` and `content_digest`
        (null where no image was read yet).

    Raises:
        QueryError: `where` is not a valid condition.
    """
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
    return store.sql(
        f"""SELECT image_id, population, patient_id, split, content_digest
        FROM (SELECT * FROM images WHERE {condition})
        JOIN ({populations_query(store)}) USING (dataset)
        WHERE $datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset)""",
        {"datasets": datasets and list(datasets)},
    ).to_arrow_table()


@opening_once
def find_leaks(
    store: FeatureStore,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> list[Leak]:
    """Patients and pictures that are in more than one split.

    Pictures are known once `embed` has read them.

    Args:
        store: Where to look.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.

    Raises:
        QueryError: `where` is not a valid condition.
    """
    with store.catalog.read() as connection:
        condition = checked_condition(connection, where)
    chosen = f"""FROM (SELECT * FROM images WHERE {condition})
        JOIN ({populations_query(store)}) USING (dataset)
        WHERE ($datasets::VARCHAR[] IS NULL OR list_contains($datasets, dataset))"""
    names = {"datasets": datasets and list(datasets)}
    return [
        Leak(id_type, tuple(places), n_shared, n_images, tuple(examples))
        for id_type in _KEYS
        for places, n_shared, n_images, examples in store.rows(
            _shared_query(id_type, chosen), names
        )
    ]


def _shared_query(id_type: str, chosen: str) -> str:
    """What is in several splits, by the datasets that have it.

    Millions of ids in a table of groups would take a kilobyte an image. So images are
    grouped by a hash of eight bytes first, and by their ids only where that is in more
    than one split.
    """
    key = _KEYS[id_type]
    known = "true" if id_type == "patient" else f"{key} IS NOT NULL"
    example = "any_value(patient_id)" if id_type == "patient" else "min(image_id)"
    return f"""WITH suspect AS (
            SELECT hash({key}) AS code {chosen} AND {known}
            GROUP BY code HAVING min(hash(split)) != max(hash(split))),
        shared AS (
            SELECT {example} AS example, count(*) AS n,
                list_sort(list(DISTINCT dataset)) AS places
            {chosen} AND hash({key}) IN (FROM suspect) GROUP BY {key}
            HAVING count(DISTINCT split) > 1)
        SELECT places, count(*), sum(n)::BIGINT, list_sort(list(example))[:{_SHOWN}]
        FROM shared GROUP BY places ORDER BY places"""


def check_leakage(
    store: FeatureStore,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
) -> None:
    """Refuse images whose splits share patients or pictures.

    Raises:
        LeakageError: They do.
        QueryError: `where` is not a valid condition.
    """
    leaks = find_leaks(store, datasets=datasets, where=where)
    if not leaks:
        return
    told = "; ".join(
        f"{counted(leak.n_shared, leak.kind)} of "
        f"{' and '.join(leak.datasets)}, such as {leak.examples[0]}"
        for leak in leaks
    )
    raise LeakageError(
        f"in more than one split: {told}",
        "Divide all patients anew with `split_seed`, leave out images with `datasets` "
        "or `where`, or say `allow_leakage` if you mean it.",
    )
