"""How label tables were understood, and what another understanding would change."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..catalog import has_table, scalar
from ..feature_store import FeatureStore
from ..label_states import STATE_NAMES, UNLABELLED
from ..schema import quoted

__all__ = ["DatasetReading", "changed_cells", "find_readings"]

_CODES = {name: code for code, name in STATE_NAMES.items()}


@dataclass(frozen=True)
class DatasetReading:
    """A dataset and how its table was understood.

    Attributes:
        dataset: Its name.
        layout: The layout that it was read as.
        root: Its folder.
        split_seed: Split seed of the patient hash that made its splits.
        reading: JSON, as the writer was given it; None if nothing was remembered.
    """

    dataset: str
    layout: str
    root: str
    split_seed: int
    reading: str | None


def find_readings(store: FeatureStore) -> list[DatasetReading]:
    """All datasets of a store with how they were understood."""
    with store.catalog.read() as connection:
        kept = has_table(connection, "table_readings")
        joined = "LEFT JOIN table_readings USING (dataset)" if kept else ""
        rows = connection.execute(
            f"""SELECT dataset, layout, root, coalesce(split_seed, 0),
            {"reading" if kept else "NULL"} FROM datasets {joined} ORDER BY dataset"""
        ).fetchall()
    return [DatasetReading(*row) for row in rows]


def changed_cells(
    store: FeatureStore,
    dataset: str,
    rows: pa.Table,
    findings: Sequence[str],
    states: npt.NDArray[np.int8],
) -> dict[str, int]:
    """How many images of a dataset would change, by column and by finding.

    Images that are not in both the store and the table are left out.

    Args:
        store: The store.
        dataset: Its name.
        rows: What would be entered, N rows with the columns of `images`.
        findings: K names.
        states: Shape (N, K), int8.

    Returns:
        Column or finding -> images; only those where it is not 0.
    """
    codes = pa.table({"state": list(_CODES), "code": list(_CODES.values())})
    labels = pa.table(
        {
            "image_id": rows["image_id"],
            **{f"f{k}": states[:, k] for k in range(len(findings))},
        }
    )
    counts: dict[str, int] = {}
    with store.catalog.read() as connection:
        for name, table in (("p_rows", rows), ("p_labels", labels), ("p_codes", codes)):
            connection.register(name, table)
        there = {
            str(row[0]) for row in connection.execute("DESCRIBE images").fetchall()
        }
        for name in rows.column_names:
            column = quoted(name)
            old = f"old.{column}" if name in there else "NULL"
            counts[name] = scalar(
                connection,
                f"""SELECT count(*) FROM p_rows AS new JOIN images AS old
                USING (image_id) WHERE old.dataset = ?
                AND new.{column} IS DISTINCT FROM {old}""",
                [dataset],
            )
        for k, finding in enumerate(findings):
            counts[finding] = scalar(
                connection,
                f"""SELECT count(*) FROM p_labels AS new
                JOIN (SELECT image_id FROM images WHERE dataset = $dataset)
                    USING (image_id)
                LEFT JOIN (SELECT image_id, code FROM labels JOIN p_codes USING (state)
                    WHERE finding = $finding) USING (image_id)
                WHERE new.f{k} <> coalesce(code, {UNLABELLED})""",
                {"dataset": dataset, "finding": finding},
            )
        gone = connection.execute(
            """SELECT finding, count(*) FROM labels
            JOIN (SELECT image_id FROM images WHERE dataset = $dataset) USING (image_id)
            WHERE NOT list_contains($findings::VARCHAR[], finding)
            GROUP BY finding ORDER BY finding""",
            {"dataset": dataset, "findings": list(findings)},
        ).fetchall()
    return {name: count for name, count in [*counts.items(), *gone] if count}
