"""New rows of a dataset beside those that it has."""

from collections.abc import Sequence

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..label_states import STATE_NAMES, UNLABELLED

__all__ = ["with_earlier_rows"]

#: What only `embed` knows; it is carried over by `replace_images`.
_OF_FILES = ("content_digest", "size_bytes", "mtime_ns")
_CODES = {name: code for code, name in STATE_NAMES.items()}


def with_earlier_rows(
    connection: duckdb.DuckDBPyConnection,
    dataset: str,
    images: pa.Table,
    findings: Sequence[str],
    states: npt.NDArray[np.int8],
) -> tuple[pa.Table, tuple[str, ...], npt.NDArray[np.int8]]:
    """All rows that a dataset has after some were added; a new row replaces an old one.

    Args:
        connection: To the catalog.
        dataset: Whose rows.
        images: The new rows, N; columns as for `replace_dataset`.
        findings: K names.
        states: States of the new rows, shape (N, K), int8.

    Returns:
        The earlier rows, then the new ones; the earlier findings, then new ones; the
        states of both. A finding that only one of them labels is unlabelled in the
        other.
    """
    connection.register("appended_images", images)
    earlier = connection.sql(
        """SELECT * FROM images
        WHERE dataset = ? AND image_id NOT IN (SELECT image_id FROM appended_images)
        ORDER BY image_id""",
        params=[dataset],
    ).to_arrow_table()
    connection.unregister("appended_images")
    earlier = earlier.drop_columns([n for n in _OF_FILES if n in earlier.column_names])
    known = [
        name
        for (name,) in connection.execute(
            "SELECT finding FROM dataset_findings WHERE dataset = ? ORDER BY position",
            [dataset],
        ).fetchall()
    ]
    every = (*known, *(name for name in findings if name not in known))
    joined = np.full(
        (earlier.num_rows + images.num_rows, len(every)), UNLABELLED, np.int8
    )
    _fill_earlier(connection, joined, earlier["image_id"], every)
    places = [every.index(name) for name in findings]
    joined[earlier.num_rows :, places] = states
    rows = pa.concat_tables([earlier, images], promote_options="permissive")
    return rows, every, joined


def _fill_earlier(
    connection: duckdb.DuckDBPyConnection,
    states: npt.NDArray[np.int8],
    image_ids: pa.ChunkedArray,
    findings: Sequence[str],
) -> None:
    """Enter the labels that the catalog has of these images, in their order."""
    rows = pa.table(
        {"image_id": image_ids, "place": np.arange(len(image_ids), dtype=np.int64)}
    )
    names = pa.table(
        {"finding": list(findings), "column_place": np.arange(len(findings))}
    )
    codes = pa.table({"state": list(_CODES), "code": list(_CODES.values())})
    for name, table in (("e_rows", rows), ("e_names", names), ("e_codes", codes)):
        connection.register(name, table)
    numbers = connection.execute(
        """SELECT place, column_place, code FROM labels
        JOIN e_rows USING (image_id) JOIN e_names USING (finding)
        JOIN e_codes USING (state)"""
    ).fetchnumpy()
    list_index, column, code = (
        np.asarray(numbers[name], dtype=np.int64)
        for name in ("place", "column_place", "code")
    )
    states[list_index, column] = code
    for name in ("e_rows", "e_names", "e_codes"):
        connection.unregister(name)
