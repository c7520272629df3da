"""A person's SQL over a store."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import duckdb

from retune.store import FeatureStore

from ..searching.query_encoder import sentence_function

__all__ = ["query"]


def query(
    store: FeatureStore,
    text: str,
    parameters: Sequence[object] | Mapping[str, object] | None = None,
    *,
    write: bool = False,
    allow_read: Sequence[str | Path] = (),
    allow_write: Sequence[str | Path] = (),
) -> duckdb.DuckDBPyRelation:
    """Run SQL and give the answer; see `FeatureStore.sql`.

    ``similarity('text')`` loads the backbone when it is used.

    Raises:
        QueryError: The SQL is wrong, or writes and `write` is False.
        StoreBusyError: Another process holds the catalog.
    """
    if store.encode_sentence is None:
        store.encode_sentence = sentence_function()
    return store.sql(
        text, parameters, write=write, allow_read=allow_read, allow_write=allow_write
    )
