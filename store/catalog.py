"""Opening the DuckDB catalog: for milliseconds when writing, patiently always.

DuckDB lets one process write or several read. So every use opens the file, does its
work and closes it again, and an opening that finds the file held by another process
waits and tries again.
"""

import os
import threading
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import duckdb

from .atomic_files import TEMPORARY_PREFIX
from .commits import check_commits, count_commit, set_commits
from .errors import StoreNotFoundError, StoreWriteError
from .opening.catalog_errors import is_held, is_held_by_us, storage_errors, store_error
from .opening.kept_catalogs import keep, let_go
from .opening.sandbox import CLOSED, allow_places
from .schema import CREATE_TABLES, label_matrix_sql

__all__ = ["CATALOG_NAME", "Catalog", "fill_catalog", "has_table", "scalar", "utc_now"]

CATALOG_NAME = "catalog.duckdb"
_FIRST_WAIT_SECONDS = 0.002
_LONGEST_WAIT_SECONDS = 0.1
#: Another thread's transaction is over by then; a connection that somebody keeps open
#: is not, and waiting for it would be waiting for oneself.
_OWN_PATIENCE_SECONDS = 1.0
#: A second connection to a file that another thread is just opening would miss what
#: DuckDB's module for Python adds to it.
_connecting = threading.Lock()
#: No extension is fetched behind one's back.
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
        """Make an empty catalog unless there is one; it appears whole or not at all.

        Raises:
            StoreWriteError: The folder cannot be written.
        """
        if self.path.exists():
            return
        temporary = self.path.with_name(f"{TEMPORARY_PREFIX}{uuid.uuid4().hex}")
        try:
            fill_catalog(temporary)
            _publish(temporary, self.path)
        except OSError as error:
            raise StoreWriteError(
                f"cannot write {self.path}: {error.strerror or error}",
                "Free space or fix the rights on that folder, then run the same "
                "command again.",
            ) from error
        finally:
            with suppress(OSError):
                temporary.unlink(missing_ok=True)
                temporary.with_name(f"{temporary.name}.wal").unlink(missing_ok=True)

    @contextmanager
    def read(
        self, *, checked: bool = True, memory_bytes: int | None = None
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection, closed at the end of the block.

        Args:
            checked: Refuse a catalog that has lost transactions.
            memory_bytes: What DuckDB may hold in memory; more goes to files in the
                store's folder, which are gone with the connection. None: most of the
                machine's memory.

        Raises:
            StoreError: As `open`; StoreCorruptError also for a damaged block.
        """
        with self._turn:
            connection = self.open(
                read_only=True, checked=checked, memory_bytes=memory_bytes
            )
            try:
                with storage_errors(self.path):
                    yield connection
            finally:
                connection.close()

    @contextmanager
    def write(
        self, patience_seconds: float | None = None, *, checked: bool = True
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        """One transaction: committed at the end of the block, else rolled back.

        Args:
            patience_seconds: Overrides the catalog's own patience.
            checked: Refuse a catalog that has lost transactions.

        Raises:
            StoreBusyError: Another process did not let go of the catalog in time.
            StoreWriteError: The disk refused the write; nothing was committed.
            StoreCorruptError: A block of the catalog is damaged.
        """
        with self._turn:
            connection = self.open(
                read_only=False, patience_seconds=patience_seconds, checked=checked
            )
            try:
                with storage_errors(self.path):
                    connection.execute("BEGIN")
                    yield connection
                    number = count_commit(connection)
                    connection.execute("COMMIT")
                # The transaction is safe: a number that is not is no reason to fail.
                with suppress(StoreWriteError):
                    set_commits(self.path.parent, number)
            finally:
                connection.close()  # an open transaction is rolled back

    @contextmanager
    def hold(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """Keep everybody else out while the file is copied and exchanged.

        The connection is for reading and for temporary tables: what it would write
        would go into the file that is exchanged.

        Raises:
            StoreError: As `open`; StoreCorruptError also for a damaged block.
        """
        with self._turn:
            connection = self.open(read_only=False)
            try:
                with storage_errors(self.path):
                    connection.execute("CHECKPOINT")
                    yield connection
            finally:
                connection.close()

    def open(
        self,
        *,
        read_only: bool,
        patience_seconds: float | None = None,
        places: Sequence[Path] = (),
        checked: bool = True,
        memory_bytes: int | None = None,
    ) -> duckdb.DuckDBPyConnection:
        """Open the catalog; the caller closes the connection.

        Args:
            read_only: Whether statements that write are refused.
            patience_seconds: Overrides the catalog's own patience.
            places: Files and folders that statements may read and write beside the
                catalog.
            checked: Refuse a catalog that has lost transactions.
            memory_bytes: See `read`.

        Raises:
            StoreBusyError: Another process did not let go in time.
            StoreNotFoundError: There is no catalog.
            StoreVersionError: The file was written by another DuckDB major version.
            StoreWriteError: The disk is full, or the rights do not suffice.
            StoreCorruptError: The file is not a DuckDB database, or has lost
                transactions.
            StoreError: The file system has no file locks.
        """
        if not self.path.is_file():
            raise StoreNotFoundError(
                f"the store {self.path.parent} has no catalog ({CATALOG_NAME})",
                "`retune-cli repair` rebuilds it from the copies in the store and from "
                "the shards; what has no copy comes back with `retune-cli ingest`.",
            )
        if patience_seconds is None:
            patience_seconds = self.patience_seconds
        config = dict(_OFFLINE if places else CLOSED)
        if memory_bytes is not None:
            config["memory_limit"] = f"{memory_bytes}B"
            config["temp_directory"] = str(self.path.with_suffix(".spilled"))
        connection = self._patiently(read_only, patience_seconds, config)
        try:
            if places:
                allow_places(connection, places)
            if checked:
                check_commits(self.path.parent, connection)
            if _is_shared(read_only, config):
                keep(self.path, lambda: self._connect(read_only, config))
        except duckdb.Error as error:
            connection.close()
            raise store_error(error, self.path) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect(
        self, read_only: bool, config: Mapping[str, str]
    ) -> duckdb.DuckDBPyConnection:
        with _connecting:
            return duckdb.connect(
                str(self.path), read_only=read_only, config=dict(config)
            )

    def _patiently(
        self, read_only: bool, patience_seconds: float, config: Mapping[str, str]
    ) -> duckdb.DuckDBPyConnection:
        """Open the file, again and again while another process holds it."""
        deadline = time.monotonic() + patience_seconds
        own_deadline = time.monotonic() + _OWN_PATIENCE_SECONDS
        wait_seconds = _FIRST_WAIT_SECONDS
        while True:
            if not _is_shared(read_only, config):
                let_go(self.path)
            try:
                return self._connect(read_only, config)
            except duckdb.Error as error:
                late = time.monotonic() >= deadline
                own = is_held_by_us(error) and time.monotonic() < own_deadline
                if late or not (own or is_held(error)):
                    raise store_error(error, self.path, patience_seconds) from error
            time.sleep(wait_seconds)
            wait_seconds = min(2 * wait_seconds, _LONGEST_WAIT_SECONDS)


def _is_shared(read_only: bool, config: Mapping[str, str]) -> bool:
    """Whether connections of that kind can be open beside a kept one."""
    return read_only and config == CLOSED


def _publish(temporary: Path, path: Path) -> None:
    """Give a catalog its name unless another process was faster."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        return
    except OSError:  # a file system without hard links
        if not path.exists():
            temporary.rename(path)


def fill_catalog(path: Path) -> None:
    """Make a catalog file with empty tables, readable by its owner only.

    Raises:
        StoreWriteError: The disk refused.
    """
    with storage_errors(path):
        connection = duckdb.connect(str(path), config=dict(CLOSED))
        try:
            for statement in CREATE_TABLES:
                connection.execute(statement)
            connection.execute(label_matrix_sql([]))
            connection.execute("CHECKPOINT")
        finally:
            connection.close()
    path.chmod(0o600)


def has_table(connection: duckdb.DuckDBPyConnection, name: str) -> bool:
    """Whether the catalog has a table: older stores lack some."""
    return bool(
        connection.execute(
            "SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [name]
        ).fetchall()
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
