"""Shards and catalog must agree: what is wrong, and making it right."""

from retune.store import FeatureStore, ReconcileReport

__all__ = ["ReconcileReport", "repair", "verify"]


def verify(store: FeatureStore) -> ReconcileReport:
    """Read every shard and checksum; change nothing. An empty report is false."""
    return store.verify()


def repair(store: FeatureStore) -> ReconcileReport:
    """Make shards and catalog agree; damaged shards move to ``damaged/``.

    Raises:
        StoreBusyError: Another process writes.
    """
    return store.repair()
