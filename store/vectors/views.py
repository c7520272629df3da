"""The views that show vectors in SQL.

They live in a connection, not in the catalog: DuckDB's stored views cannot name a
Python function.
"""

import duckdb

from .reader import VectorReader, register_vector_function, vector_function_name

__all__ = ["create_feature_views"]

_SOURCES = {
    "image": ("images", "content_digest"),
    "text": ("descriptions", "text_digest"),
}


def create_feature_views(
    connection: duckdb.DuckDBPyConnection, reader: VectorReader
) -> None:
    """Define `image_features` and `text_features` on a connection.

    Their column `embedding` is ``FLOAT[D]``. In a store with encoders of several
    dimensions it is ``FLOAT[]``, and `image_features_D` exists for each D.

    `image_places` and `text_places` have `shard_id` and `row` instead of the vector:
    DuckDB sorts, samples and joins with their vectors what it takes from the former
    views, so choose rows here and call ``shard_vector_D(shard_id, row)`` on the few.
    """
    dims = [
        int(dim)
        for (dim,) in connection.execute(
            "SELECT DISTINCT dim FROM encoders ORDER BY dim"
        ).fetchall()
    ]
    for dim in dims:
        register_vector_function(connection, reader, dim)
    for modality in _SOURCES:
        view = f"{modality}_features"
        connection.execute(f"CREATE TEMP VIEW {modality}_places AS {_places(modality)}")
        for dim in dims:
            connection.execute(
                f"CREATE TEMP VIEW {view}_{dim} AS {_select(modality, dim)}"
            )
        connection.execute(f"CREATE TEMP VIEW {view} AS {_all(modality, dims)}")


def _select(modality: str, dim: int) -> str:
    table, key = _SOURCES[modality]
    return f"""SELECT {table}.*, features.fingerprint,
        {vector_function_name(dim)}(features.shard_id, features."row") AS embedding
        FROM {table} JOIN features ON features.item_id = {table}.{key}
        WHERE features.modality = '{modality}' AND features.fingerprint IN
            (SELECT fingerprint FROM encoders WHERE dim = {dim})"""


def _places(modality: str) -> str:
    table, key = _SOURCES[modality]
    return f"""SELECT {table}.*, features.fingerprint, features.shard_id,
        features."row"
        FROM {table} JOIN features ON features.item_id = {table}.{key}
        WHERE features.modality = '{modality}'"""


def _all(modality: str, dims: list[int]) -> str:
    view = f"{modality}_features"
    if not dims:
        table, _ = _SOURCES[modality]
        return (
            f"SELECT *, NULL::VARCHAR AS fingerprint, NULL::FLOAT[] AS embedding "
            f"FROM {table} WHERE false"
        )
    if len(dims) == 1:
        return f"FROM {view}_{dims[0]}"
    parts = [
        f"SELECT * REPLACE (embedding::FLOAT[] AS embedding) FROM {view}_{dim}"
        for dim in dims
    ]
    return " UNION ALL ".join(parts)
