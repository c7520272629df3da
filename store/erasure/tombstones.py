"""Patients who were erased, known again by keyed digests when they are ingested."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import duckdb
import pyarrow as pa

from ..catalog import Catalog, has_table, utc_now
from .keys import keyed_digest, read_key

__all__ = [
    "erased_among",
    "patient_digest",
    "remove_tombstones",
    "superseded_among",
    "tombstone_rows",
]


def patient_digest(key: bytes, population: str, patient_id: str) -> str:
    """What stands for a patient in receipts and tombstones."""
    return keyed_digest(key, "patient", population, patient_id)


def tombstone_rows(key: bytes, patients: Sequence[tuple[str, str]]) -> pa.Table:
    """Rows of `tombstones`."""
    digests = [patient_digest(key, *patient) for patient in patients]
    return pa.table(
        {
            "patient_digest": pa.array(digests, pa.string()),
            "erased_at": pa.array([utc_now()] * len(digests), pa.timestamp("us")),
        }
    )


def erased_among(
    root: Path, catalog: Catalog, patients: Iterable[tuple[str, str]]
) -> set[tuple[str, str]]:
    """Those of some patients who were erased from a store.

    Args:
        root: The store's folder.
        catalog: Its catalog.
        patients: Population and id of each.

    Raises:
        StoreCorruptError: The key is damaged.
    """
    with catalog.read() as connection:
        known = _known(connection)
    key = read_key(root)
    if not known or key is None:
        return set()
    return {one for one in set(patients) if patient_digest(key, *one) in known}


def remove_tombstones(
    root: Path, catalog: Catalog, patients: Iterable[tuple[str, str]]
) -> int:
    """Allow some patients back; gives how many had been erased."""
    key = read_key(root)
    back = erased_among(root, catalog, patients)
    if not back or key is None:
        return 0
    digests = [patient_digest(key, *one) for one in back]
    with catalog.write() as connection:
        connection.execute(
            "DELETE FROM tombstones WHERE list_contains(?, patient_digest)", [digests]
        )
    return len(back)


def superseded_among(
    root: Path, catalog: Catalog, digests: Iterable[str]
) -> dict[str, str]:
    """Contributions that still count erased patients -> those that replaced them."""
    key = read_key(root)
    if key is None:
        return {}
    with catalog.read() as connection:
        if not has_table(connection, "superseded_contributions"):
            return {}
        known = dict(
            connection.execute(
                "SELECT old_digest, new_digest FROM superseded_contributions"
            ).fetchall()
        )
    return {
        digest: str(known[keyed])
        for digest in digests
        if (keyed := keyed_digest(key, "contribution", digest)) in known
    }


def _known(connection: duckdb.DuckDBPyConnection) -> set[str]:
    if not has_table(connection, "tombstones"):
        return set()
    rows = connection.execute("SELECT patient_digest FROM tombstones").fetchall()
    return {digest for (digest,) in rows}
