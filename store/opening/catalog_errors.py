"""What DuckDB's errors mean for a store: full, rights, locked, no locks or corrupt."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb

from ..errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreVersionError,
    StoreWriteError,
)

__all__ = [
    "is_held",
    "is_held_by_us",
    "is_of_storage",
    "no_locks",
    "storage_errors",
    "store_error",
]

_FULL = ("No space left", "Disk quota exceeded", "File too large")
_RIGHTS = (
    "Permission denied", "Read-only file system", "Operation not permitted",
    "No such file or directory",
)  # fmt: skip
_LOCK = "Could not set lock"
_NO_LOCKS = (
    "No locks available", "not supported", "Function not implemented",
    "Invalid argument",
)  # fmt: skip
_VERSION = ("storage version", "older than", "newer version", "newer storage")
#: What DuckDB raises when the file, not the statement, is at fault.
_OF_STORAGE = (
    duckdb.IOException,
    duckdb.FatalException,
    duckdb.InternalException,
    duckdb.SerializationException,
    duckdb.TransactionException,
)
#: What it raises when a table, a column or a view is not there.
_OF_SCHEMA = (duckdb.CatalogException, duckdb.BinderException)
_AGAIN = "then run the same command again: nothing that was entered is lost."


def is_of_storage(error: duckdb.Error) -> bool:
    """Whether the file is at fault: its disk, its lock or its content."""
    # A block that does not match its checksum is a plain Error.
    return isinstance(error, _OF_STORAGE) or type(error) is duckdb.Error


def is_held_by_us(error: duckdb.Error) -> bool:
    """Whether this process has the file open in another mode."""
    return "different configuration" in str(error)


def is_held(error: duckdb.Error) -> bool:
    """Whether another process has the file open in a way that excludes us."""
    text = str(error)
    held = _LOCK in text or "Conflicting lock" in text
    return held and not any(sign in text for sign in _NO_LOCKS)


def no_locks(path: Path, reason: str) -> StoreError:
    """The error for a file system that cannot lock files."""
    return StoreError(
        f"the file system of {path} has no file locks ({reason}), so that two "
        "processes could write at once",
        "Put the store on a local disk, or have the share mounted with locks (for NFS "
        "without the option nolock).",
    )


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Translate DuckDB's errors of a block that uses our own statements.

    Raises:
        StoreError: See `store_error`.
    """
    try:
        yield
    except duckdb.Error as error:
        if is_of_storage(error) or isinstance(error, _OF_SCHEMA):
            raise store_error(error, path) from error
        raise


def store_error(
    error: duckdb.Error, path: Path, patience_seconds: float = 0.0
) -> StoreError:
    """Translate what DuckDB says about a catalog.

    Only a catalog that was read and found wrong is called damaged: a full disk, missing
    rights and a lock say nothing about what it holds.

    Args:
        error: What DuckDB raised.
        path: The catalog.
        patience_seconds: How long it was waited for, if it is held.
    """
    text = str(error)
    said = text.splitlines()[0] if text else type(error).__name__
    if is_held_by_us(error):
        return StoreBusyError(
            f"this process holds {path} open in another mode",
            "Close the connection that FeatureStore.connect() gave, then retry.",
        )
    if is_held(error):
        return StoreBusyError(
            f"{path} was held by another process for {patience_seconds:.0f} s: {said}",
            "Close the program that holds it (a notebook, a DuckDB shell), then "
            "run the same command again.",
        )
    if _LOCK in text:
        return no_locks(path.parent, said.rpartition(": ")[2].split(". See")[0])
    if any(sign in text for sign in _FULL):
        return StoreWriteError(
            f"cannot write {path}, the disk is full: {said}", f"Free space, {_AGAIN}"
        )
    if any(sign in text for sign in _RIGHTS):
        return StoreWriteError(
            f"cannot open or write {path}: {said}",
            f"Fix the rights on the store's folder, {_AGAIN}",
        )
    if any(sign in text for sign in _VERSION):
        return StoreVersionError(
            f"{path} was written by another version of DuckDB; this is "
            f"{duckdb.__version__}: {said}",
            "Use the DuckDB major version that wrote it, or export and import.",
        )
    if isinstance(error, _OF_SCHEMA):
        return StoreCorruptError(
            f"the catalog {path} lacks what the format requires: {said}",
            "Was it changed by hand? Restore it, or rebuild it with `retune-cli repair "
            "--from-copies`.",
        )
    return StoreCorruptError(
        f"{path} cannot be opened or read: {said}",
        "Run `retune-cli verify`. If the catalog is damaged, `retune-cli repair "
        "--from-copies` rebuilds it from the copies in the store and from the shards; "
        "the damaged file is kept.",
    )
