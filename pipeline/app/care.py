"""Shards and catalog must agree: what is wrong, and making it right."""

from retune.store import FeatureStore, ReconcileReport

__all__ = ["ReconcileReport", "repair", "verify"]


def verify(store: FeatureStore) -> ReconcileReport:
    """Read every shard and checksum; change nothing. An empty report is false."""
    return store.verify()


def repair(
    store: FeatureStore, *, from_copies: bool = False, drop_missing: bool = False
) -> ReconcileReport:
    """Make shards and catalog agree; damaged shards move to ``damaged/``.

    Args:
        store: To repair.
        from_copies: Rebuild a damaged catalog from its Parquet copies.
        drop_missing: Drop shards whose whole folder is gone.

    Raises:
        StoreBusyError: Another process writes.
    """
    return store.repair(from_copies=from_copies, drop_missing=drop_missing)
