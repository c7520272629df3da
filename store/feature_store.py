"""`FeatureStore`: the one door to a store."""

import atexit
import json
import os
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from .atomic_files import TEMPORARY_PREFIX, write_atomically
from .catalog import CATALOG_NAME, Catalog
from .changes.catalog_copies import COPIES_FOLDER, refresh_copies
from .changes.locks import LOCK_NAME, writer_lock
from .changes.pending_runs import enter_pending
from .changes.reconcile import (
    ReconcileReport,
    apply_reconcile,
    inspect,
    refuse_missing_folders,
)
from .changes.verification import repair_store, verify_store
from .changes.writer import StoreWriter
from .commits import COMMITS_NAME, count_commit, set_commits
from .erasure.journal import finish_erasure, is_interrupted
from .errors import (
    QueryError,
    StoreBusyError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from .opening.catalog_errors import is_of_storage, store_error
from .opening.sandbox import Allowed, refuse_files, writes_files
from .vectors.places import read_places
from .vectors.reader import VectorReader
from .vectors.shards import FORMAT_VERSION
from .vectors.similarity import EncodeSentence, create_similarity
from .vectors.views import create_feature_views

__all__ = ["FeatureStore"]

_MARKER_NAME = "retune-store.json"
_FORMAT_NAME = "retune feature store"


class FeatureStore:
    """A folder of vectors with a DuckDB catalog beside them.

    Args:
        path: The store's folder.

    Attributes:
        encode_sentence: Gives the SQL function `similarity` the vector of a sentence;
            None: it says that it has no backbone.

    Raises:
        StoreNotFoundError: There is no store at `path`.
        StoreVersionError: The store has a newer format than this code.
        StoreCorruptError: The folder's marker file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path: Path = Path(path)
        _check_marker(self.path)
        self.catalog: Catalog = Catalog(self.path / CATALOG_NAME)
        self.encode_sentence: EncodeSentence | None = None

    @classmethod
    def create(cls, path: str | os.PathLike[str]) -> "FeatureStore":
        """Open the store at `path`, making an empty one if there is none.

        Raises:
            StoreWriteError: The folder cannot be made, or holds something else.
        """
        root = Path(path)
        if (root / _MARKER_NAME).exists():
            return cls(root)
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            strangers = [entry.name for entry in root.iterdir() if _is_strange(entry)]
        except OSError as error:
            raise StoreWriteError(
                f"cannot make the store {root}: {error.strerror}",
                "Choose another place with `store`.",
            ) from error
        if strangers:
            raise StoreWriteError(
                f"{root} is not a feature store and not empty "
                f"(it holds {min(strangers)})",
                "Choose an empty or new folder with `store`. If it is a store that has "
                f"lost its {_MARKER_NAME}, write that file anew, as store/FORMAT.md "
                "shows it.",
            )
        Catalog(root / CATALOG_NAME).create()
        marker = {"format": _FORMAT_NAME, "version": FORMAT_VERSION}
        # Written last: a folder with a marker is a whole store.
        write_atomically(root / _MARKER_NAME, json.dumps(marker).encode())
        return cls(root)

    def sql(
        self,
        query: str,
        parameters: Sequence[object] | Mapping[str, object] | None = None,
        *,
        write: bool = False,
        allow_read: Iterable[str | Path] = (),
        allow_write: Iterable[str | Path] = (),
    ) -> duckdb.DuckDBPyRelation:
        """Run SQL over the store and give the answer as a relation.

        The answer is computed at once and the catalog is let go, so that an `embed`
        beside you is never held up. For relations that stay lazy use `connect`.

        A query reaches the catalog and the vectors, but no other file, database, or
        variable of the process unless a place is named.

        Args:
            query: One or more statements; the answer is the last one's.
            parameters: Values for ``?`` or ``$name`` in the query.
            write: Let the statements change the catalog.
            allow_read: Files and folders that the query may read.
            allow_write: Files and folders that the query may write, for example with
                ``COPY ... TO``, and read. A query that writes files sees these only.

        Returns:
            A relation: ``.fetchall()``, ``.df()``, ``.to_arrow_table()``,
            ``.fetchnumpy()``. Without a result it has no rows.

        Raises:
            QueryError: The SQL is wrong, or writes and `write` is False, or reaches
                for what it may not.
            ConfigurationError: `allow_write` would let it overwrite the store.
            StoreBusyError: Another process holds the catalog.
        """
        allowed = Allowed.of(self.path, allow_read, allow_write)
        places = (*allowed.read, *allowed.write)
        try:
            with self._opened(places, read_only=not write) as connection:
                outward = writes_files(connection, query, parameters)
                if outward and not allowed.write:
                    raise refuse_files()
                if not (outward and allowed.read):
                    return _relation(self._answer(connection, query, parameters, write))
            with self._opened(allowed.write, read_only=not write) as connection:
                return _relation(self._answer(connection, query, parameters, write))
        except duckdb.Error as error:
            raise self._query_error(error) from error
        finally:
            if write:
                self.refresh_copies()

    def rows(
        self,
        query: str,
        parameters: Sequence[object] | Mapping[str, object] = (),
    ) -> list[tuple[Any, ...]]:
        """Run a query over the catalog's own tables and give all rows.

        It takes a third of the time of `sql`, which defines the views and functions of
        vectors first and gives a relation with a connection of its own.

        Raises:
            QueryError: The SQL is wrong, or names what only `sql` knows.
            StoreBusyError: Another process holds the catalog.
        """
        try:
            with self.catalog.read() as connection:
                return connection.execute(query, parameters).fetchall()
        except duckdb.Error as error:
            raise self._query_error(error) from error

    def connect(
        self, *, read_only: bool = True, allow_write: Iterable[str | Path] = ()
    ) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the views `image_features` and `text_features`.

        While it is open nothing can be committed to the store, so close it soon.

        Args:
            read_only: Whether statements may not change the catalog.
            allow_write: Files and folders that statements may read and write; nothing
                else outside of the store can be reached.

        Raises:
            StoreBusyError: Another process holds the catalog.
            ConfigurationError: `allow_write` would let them overwrite the store.
        """
        places = Allowed.of(self.path, (), allow_write).write
        connection = self.catalog.open(read_only=read_only, places=places)
        with ExitStack() as unless_ready:
            unless_ready.callback(connection.close)
            if not read_only:  # whatever it changes, something has changed
                _count(self.path, connection)
            self._define_views(connection)
            unless_ready.pop_all()
        return connection

    @contextmanager
    def _opened(
        self, places: Sequence[Path], *, read_only: bool
    ) -> Iterator[duckdb.DuckDBPyConnection]:
        connection = self.catalog.open(read_only=read_only, places=places)
        try:
            self._define_views(connection)
            yield connection
        finally:
            connection.close()

    def _answer(
        self,
        connection: duckdb.DuckDBPyConnection,
        query: str,
        parameters: Sequence[object] | Mapping[str, object] | None,
        write: bool,
    ) -> pa.Table:
        try:
            result = connection.sql(query, params=parameters)
            return pa.table({}) if result is None else result.to_arrow_table()
        finally:
            if write:  # of several statements, those before a wrong one count
                with suppress(duckdb.Error):
                    _count(self.path, connection)

    def _query_error(self, error: duckdb.Error) -> StoreError:
        if is_of_storage(error) and "read-only" not in str(error):
            return store_error(error, self.catalog.path)
        return _query_error(error)

    def refresh_copies(
        self, *, tables: Sequence[str] | None = None, run_id: str | None = None
    ) -> None:
        """Bring the Parquet copies of the catalog up to date.

        Whoever changes the catalog does this afterwards. Without it nothing is lost
        but the copies' freshness, so a full disk, a busy catalog or a damaged index is
        no error here: the next change makes up for it.

        Args:
            tables: Those that changed; None looks at all.
            run_id: The one run whose figures changed.
        """
        with suppress(StoreWriteError, StoreBusyError, StoreCorruptError):
            refresh_copies(self.path, self.catalog, tables=tables, run_id=run_id)

    def enter_pending_runs(self, patience_seconds: float | None = None) -> None:
        """Enter finished runs that were kept while somebody held the catalog.

        Raises:
            StoreBusyError: It is held still; nothing is lost.
            StoreWriteError: The disk refused; nothing is lost.
        """
        for run_id in enter_pending(self.path, self.catalog, patience_seconds):
            self.refresh_copies(run_id=run_id)

    def _define_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        try:
            reader = VectorReader(self.path, read_places(connection))
            create_feature_views(connection, reader)
            create_similarity(connection, reader, self.encode_sentence)
        except duckdb.Error as error:
            raise StoreCorruptError(
                f"the catalog of {self.path} lacks what format {FORMAT_VERSION} "
                f"requires: {error}",
                "Was it changed by hand? Restore it, or rebuild with `retune-cli "
                "repair` and `retune-cli ingest`.",
            ) from error

    @contextmanager
    def writer(
        self, command: str, on_busy: Callable[[str], object] | None = None
    ) -> Iterator[StoreWriter]:
        """Hold the store for writing, after healing what a crash left behind.

        Args:
            command: What is being done, shown to a second writer.
            on_busy: Told who writes, before waiting until that process has ended.
                None: do not wait.

        Raises:
            StoreBusyError: Another process writes, and `on_busy` is None.
            StoreWriteError: The disk refused.
        """
        with writer_lock(self.path, command, on_busy):
            finish_erasure(self.path, self.catalog)
            self.enter_pending_runs()
            with self.catalog.read() as connection:
                refuse_missing_folders(self.path, connection)
                plan, _ = inspect(self.path, connection)
            report = ReconcileReport()
            if plan:
                with self.catalog.write() as connection:
                    report = apply_reconcile(self.path, connection)
            writer = StoreWriter(self.path, self.catalog, report)
            try:
                yield writer
                writer.commit()
            finally:
                self.refresh_copies()

    def verify(self, *, every_checksum: bool = True) -> ReconcileReport:
        """Say what is wrong and what `repair` would do; changes nothing.

        Args:
            every_checksum: Read every vector and every block of the catalog instead of
                only comparing names.
        """
        report = verify_store(self.path, self.catalog, every_checksum=every_checksum)
        if is_interrupted(self.path):
            report.catalog.append(
                "an erasure was interrupted; the next command that writes finishes it"
            )
        return report

    def repair(
        self, *, from_copies: bool = False, drop_missing: bool = False
    ) -> ReconcileReport:
        """Make shards and catalog agree; damaged shards move to ``damaged/``.

        Args:
            from_copies: Rebuild a damaged catalog from its Parquet copies and from the
                shards; the damaged one moves to ``damaged/``. A catalog that is gone is
                rebuilt so without being asked.
            drop_missing: Remove the rows of shards whose whole folder is gone.

        Raises:
            StoreBusyError: Another process writes.
            StoreNotFoundError: A folder of shards is gone, and `drop_missing` is False.
            StoreCorruptError: The catalog is damaged, and `from_copies` is False.
            ConfigurationError: `from_copies`, and there are no copies, or the catalog
                is whole.
        """
        with writer_lock(self.path, "repair"):
            finish_erasure(self.path, self.catalog)
            report = repair_store(
                self.path,
                self.catalog,
                from_copies=from_copies,
                drop_missing=drop_missing,
            )
            with suppress(StoreWriteError, StoreBusyError):
                refresh_copies(self.path, self.catalog, renew=True)
        return report


def _is_strange(entry: Path) -> bool:
    """Whether a file is none that an interrupted creation leaves."""
    own = {CATALOG_NAME, f"{CATALOG_NAME}.wal", COMMITS_NAME, COPIES_FOLDER, LOCK_NAME}
    return entry.name not in own and not entry.name.startswith(TEMPORARY_PREFIX)


def _count(root: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Count a change that is no `Catalog.write`."""
    number = count_commit(connection)
    with suppress(StoreWriteError):
        set_commits(root, number)


def _check_marker(root: Path) -> None:
    marker = root / _MARKER_NAME
    hint = f'It must read {{"format": "{_FORMAT_NAME}", "version": {FORMAT_VERSION}}}.'
    try:
        text = marker.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"no feature store at {root}",
            "Name it with `store` or RETUNE_STORE, or make one with "
            "`retune-cli ingest`.",
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise StoreCorruptError(f"{marker} cannot be read: {error}") from error
    try:
        content = json.loads(text)
        known = content["format"] == _FORMAT_NAME
        version = int(content["version"])
    except (ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(f"{marker} is damaged: {error!r}", hint) from error
    if not known:
        raise StoreCorruptError(f"{marker} does not describe a feature store", hint)
    if version < 1:
        raise StoreCorruptError(f"{marker} says version {version}", hint)
    if version > FORMAT_VERSION:
        raise StoreVersionError(
            f"the store {root} has format {version}; this retune reads up to "
            f"{FORMAT_VERSION}",
            "Update retune.",
        )


def _query_error(error: duckdb.Error) -> QueryError:
    text = str(error)
    if "read-only" in text:
        return QueryError(
            "this statement would change the store, and queries are read-only",
            "Say `write` if you mean it.",
        )
    if isinstance(error, duckdb.PermissionException):
        return QueryError(
            f"a query may not reach for that: {text.splitlines()[0]}",
            "Name what it may read with `allow_read`, and what it may write with "
            "`allow_write`.",
        )
    return QueryError(
        text,
        "Tables and views: datasets, images, labels, label_matrix, descriptions, "
        "encoders, image_features, text_features, failures, runs, metrics, "
        "predictions. `DESCRIBE images` shows columns.",
    )


def _relation(table: pa.Table) -> duckdb.DuckDBPyRelation:
    """A relation over an answer, on a connection of its own."""
    if not table.column_names:  # DuckDB has no relation without columns
        table = pa.table({"result": pa.array([], pa.string())})
    connection = duckdb.connect()
    _answers.add(connection)
    return connection.from_arrow(table)


#: Connections behind answers. One left open when the interpreter ends makes the
#: extension module print complaints.
_answers: "weakref.WeakSet[duckdb.DuckDBPyConnection]" = weakref.WeakSet()


@atexit.register
def _close_answers() -> None:
    for connection in list(_answers):
        connection.close()
