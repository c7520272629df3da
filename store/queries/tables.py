"""Which tables a store has: those that came later are missing in older stores."""

from ..feature_store import FeatureStore

__all__ = ["table_names"]


def table_names(store: FeatureStore) -> frozenset[str]:
    """Names of the catalog's tables."""
    rows = store.rows("SELECT table_name FROM duckdb_tables()")
    return frozenset(name for (name,) in rows)
