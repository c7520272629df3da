"""Opening the DuckDB catalog: for milliseconds when writing, patiently always.

DuckDB lets one process write or several read. So every use opens the file, does its
work and closes it again, and an opening that finds the file held by another process
waits and tries again.
"""

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from .errors import (
    StoreBusyError,
    StoreCorruptError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from .schema import CREATE_TABLES, label_matrix_sql

__all__ = ["CATALOG_NAME", "Catalog", "scalar", "utc_now"]

CATALOG_NAME = "catalog.duckdb"
_FIRST_WAIT_SECONDS = 0.002
_LONGEST_WAIT_SECONDS = 0.1
#: Another thread's transaction is over by then; a connection that somebody keeps open
#: is not, and waiting for it would be waiting for oneself.
_OWN_PATIENCE_SECONDS = 1.0
#: The catalog never reaches for the network: no extension is fetched behind one's back.
_OFFLINE = {"autoinstall_known_extensions": "false"}


def utc_now() -> datetime:
    """The time as the catalog keeps it: UTC, without a zone."""
    return datetime.now(UTC).replace(tzinfo=None)


class Catalog:
    """The catalog file of one store.

    Args:
        path: The DuckDB file.
        patience_seconds: How long an opening waits for another process to let go.
    """

    def __init__(self, path: Path, patience_seconds: float = 30.0) -> None:
        self.path = path
        self.patience_seconds = patience_seconds
        # One process cannot open a file for reading and for writing at the same time.
        self._turn = threading.RLock()

    def create(self) -> None:
        """Make an empty catalog.

        Raises:
            StoreWriteError: The folder cannot be written.
        """
        with self.write() as connection:
            for statement in CREATE_TABLES:
                connection.execute(statement)
            connection.execute(label_matrix_sql([]))
        self.path.chmod(0o600)

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection, closed at the end of the block."""
        with self._turn:
            connection = self.open(read_only=True)
            try:
                yield connection
            finally:
                connection.close()

    @contextmanager
    def write(
        self, patience_seconds: float | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end of the block, else rolled back.

        Raises:
            StoreBusyError: Another process did not let go of the catalog in time.
            StoreWriteError: The disk refused the write; nothing was committed.
        """
        with self._turn:
            connection = self.open(read_only=False, patience_seconds=patience_seconds)
            try:
                connection.execute("BEGIN")
                yield connection
                connection.execute("COMMIT")
            except (duckdb.IOException, duckdb.FatalException) as error:
                raise StoreWriteError(
                    f"cannot write {self.path}: {error}",
                    "Free space or fix the rights on that folder, then run the same "
                    "command again.",
                ) from error
            finally:
                connection.close()  # an open transaction is rolled back

    def open(
        self, *, read_only: bool, patience_seconds: float | None = None
    ) -> duckdb.DuckDBPyConnection:
        """Open the catalog; the caller closes the connection.

        Args:
            read_only: Whether statements that write are refused.
            patience_seconds: Overrides the catalog's own patience.

        Raises:
            StoreBusyError: Another process did not let go in time.
            StoreNotFoundError: Read-only, and there is no catalog.
            StoreVersionError: The file was written by another DuckDB major version.
            StoreCorruptError: The file is not a DuckDB database.
        """
        if read_only and not self.path.is_file():
            raise StoreNotFoundError(
                f"the store {self.path.parent} has no catalog ({CATALOG_NAME})",
                "If the shards are still there, `retune-cli repair` rebuilds what "
                "they hold; labels come back with `retune-cli ingest`.",
            )
        if patience_seconds is None:
            patience_seconds = self.patience_seconds
        deadline = time.monotonic() + patience_seconds
        own_deadline = time.monotonic() + _OWN_PATIENCE_SECONDS
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            try:
                return duckdb.connect(
                    str(self.path), read_only=read_only, config=dict(_OFFLINE)
                )
            except duckdb.Error as error:
                late = time.monotonic() >= deadline
                own = _is_held_by_us(error) and time.monotonic() < own_deadline
                if late or not (own or _is_held(error)):
                    raise self._translated(error, patience_seconds) from error
            time.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)

    def _translated(self, error: duckdb.Error, patience_seconds: float) -> Exception:
        text = str(error)
        if _is_held_by_us(error):
            return StoreBusyError(
                f"this process holds {self.path} open in another mode",
                "Close the connection that FeatureStore.connect() gave, then retry.",
            )
        if _is_held(error):
            return StoreBusyError(
                f"{self.path} was held by another process for "
                f"{patience_seconds:.0f} s: {text.splitlines()[0]}",
                "Close the program that holds it (a notebook, a DuckDB shell), then "
                "run the same command again.",
            )
        if "storage version" in text or "older than" in text or "newer" in text:
            return StoreVersionError(
                f"{self.path} was written by another version of DuckDB; this is "
                f"{duckdb.__version__}: {text.splitlines()[0]}",
                "Use the DuckDB major version that wrote it, or export and import.",
            )
        if "Permission denied" in text or "Read-only file system" in text:
            return StoreWriteError(
                f"cannot open {self.path}: {text.splitlines()[0]}",
                "Fix the rights on the store's folder.",
            )
        return StoreCorruptError(
            f"{self.path} cannot be opened: {text.splitlines()[0]}",
            "If the catalog is damaged, move it away and run `retune-cli repair`: the "
            "shards bring their vectors back; ingest the labels again.",
        )


def scalar(
    connection: duckdb.DuckDBPyConnection,
    query: str,
    parameters: Sequence[object] | Mapping[str, object] = (),
) -> int:
    """The single whole number that a statement answers with."""
    # All rows are fetched because DuckDB holds a result open until its end is seen.
    given = dict(parameters) if isinstance(parameters, Mapping) else list(parameters)
    return int(connection.execute(query, given).fetchall()[0][0])


def _is_held_by_us(error: duckdb.Error) -> bool:
    """Whether this process has the file open in another mode: reading or writing."""
    return "different configuration" in str(error)


def _is_held(error: duckdb.Error) -> bool:
    return "Could not set lock" in str(error) or "Conflicting lock" in str(error)
