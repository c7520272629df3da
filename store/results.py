"""What was found out about a store's images, apart from runs: curves and audits."""

import secrets
from datetime import datetime

import pyarrow as pa

from .feature_store import FeatureStore
from .schema import create_table

__all__ = ["add_result", "new_result_id"]


def new_result_id(made_at: datetime) -> str:
    """An id that sorts by time.

    >>> from datetime import datetime
    >>> new_result_id(datetime(2026, 1, 2, 3, 4, 5))[:16]
    '20260102-030405-'
    """
    return f"{made_at:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def add_result(store: FeatureStore, table: str, rows: pa.Table) -> None:
    """Enter rows into a table of results; an older store gains the table.

    Args:
        store: Where to.
        table: A table of the catalog.
        rows: With columns of that table.

    Raises:
        StoreBusyError: Another process holds the catalog.
        StoreWriteError: The disk refused; nothing was entered.
    """
    store.enter_pending_runs()
    with store.catalog.write() as connection:
        connection.execute(create_table(table))
        connection.register("incoming_rows", rows)
        connection.execute(f"INSERT INTO {table} BY NAME FROM incoming_rows")
        connection.unregister("incoming_rows")
    store.refresh_copies(tables=(table,))
