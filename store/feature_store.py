"""`FeatureStore`: the one door to a store."""

import atexit
import json
import os
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb
import pyarrow as pa

from .catalog import CATALOG_NAME, Catalog, scalar
from .changes.locks import writer_lock
from .changes.reconcile import ReconcileReport, apply_reconcile, inspect
from .changes.writer import StoreWriter
from .errors import (
    QueryError,
    StoreCorruptError,
    StoreNotFoundError,
    StoreVersionError,
    StoreWriteError,
)
from .vectors.reader import VectorReader
from .vectors.shards import FORMAT_VERSION, verify_shard, write_atomically
from .vectors.views import create_feature_views

__all__ = ["FeatureStore"]

_MARKER_NAME = "retune-store.json"
_FORMAT_NAME = "retune feature store"


class FeatureStore:
    """A folder of vectors with a DuckDB catalog beside them.

    Args:
        path: The store's folder.

    Raises:
        StoreNotFoundError: There is no store at `path`.
        StoreVersionError: The store has a newer format than this code.
        StoreCorruptError: The folder's marker file is damaged.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        _check_marker(self.path)
        self.catalog = Catalog(self.path / CATALOG_NAME)

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
            strangers = [
                entry.name for entry in root.iterdir() if entry.name != CATALOG_NAME
            ]
        except OSError as error:
            raise StoreWriteError(
                f"cannot make the store {root}: {error.strerror}",
                "Choose another place with --store.",
            ) from error
        if strangers:
            raise StoreWriteError(
                f"{root} is not a feature store and not empty "
                f"(it holds {min(strangers)})",
                "Choose an empty or new folder with --store.",
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
    ) -> duckdb.DuckDBPyRelation:
        """Run SQL over the store and give the answer as a relation.

        The answer is computed at once and the catalog is let go, so that an `embed`
        beside you is never held up. For relations that stay lazy use `connect`.

        Args:
            query: One or more statements; the answer is the last one's.
            parameters: Values for ``?`` or ``$name`` in the query.
            write: Let the statements change the catalog.

        Returns:
            A relation: ``.fetchall()``, ``.df()``, ``.to_arrow_table()``,
            ``.fetchnumpy()``. Without a result it has no rows.

        Raises:
            QueryError: The SQL is wrong, or writes and `write` is False.
            StoreBusyError: Another process holds the catalog.
        """
        connection = self.connect(read_only=not write)
        try:
            result = connection.sql(query, params=parameters)
            table = pa.table({}) if result is None else result.to_arrow_table()
        except duckdb.Error as error:
            raise _query_error(error) from error
        finally:
            connection.close()
        return _relation(table)

    def connect(self, *, read_only: bool = True) -> duckdb.DuckDBPyConnection:
        """A DuckDB connection with the views `image_features` and `text_features`.

        While it is open nothing can be committed to the store, so close it soon.

        Raises:
            StoreBusyError: Another process holds the catalog.
        """
        connection = self.catalog.open(read_only=read_only)
        with ExitStack() as unless_ready:
            unless_ready.callback(connection.close)
            self._define_views(connection)
            unless_ready.pop_all()
        return connection

    def _define_views(self, connection: duckdb.DuckDBPyConnection) -> None:
        try:
            shards = connection.execute("SELECT shard_id, path FROM shards").fetchall()
            create_feature_views(connection, VectorReader(self.path, dict(shards)))
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
            with self.catalog.read() as connection:
                plan, _ = inspect(self.path, connection)
            if plan:
                with self.catalog.write() as connection:
                    apply_reconcile(self.path, connection)
            writer = StoreWriter(self.path, self.catalog)
            yield writer
            writer.commit()

    def verify(self, *, every_checksum: bool = True) -> ReconcileReport:
        """Say what `repair` would do; changes nothing.

        Args:
            every_checksum: Read every vector instead of only comparing names.
        """
        with self.catalog.read() as connection:
            plan, files = inspect(self.path, connection)
            dropped_rows = scalar(
                connection,
                "SELECT count(*) FROM features WHERE list_contains(?, shard_id)",
                [list(plan.drop)],
            )
        report = ReconcileReport(
            adopted_shards=len(plan.adopt),
            dropped_shards=len(plan.drop),
            dropped_rows=dropped_rows,
            temporary_files=len(plan.temporary),
        )
        for shard_id, path in sorted(files.items()):
            if every_checksum or shard_id in plan.adopt:
                try:
                    header = verify_shard(path)
                except StoreCorruptError as error:
                    report.damaged[str(path)] = error.message
                    continue
                if shard_id in plan.adopt:
                    report.adopted_rows += header.n_rows
        return report

    def repair(self) -> ReconcileReport:
        """Make shards and catalog agree; damaged shards move to ``damaged/``.

        Raises:
            StoreBusyError: Another process writes.
        """
        with writer_lock(self.path, "repair"):
            if not self.catalog.path.exists():
                self.catalog.create()
            with self.catalog.write() as connection:
                return apply_reconcile(self.path, connection, every_checksum=True)


def _check_marker(root: Path) -> None:
    marker = root / _MARKER_NAME
    hint = f'It must read {{"format": "{_FORMAT_NAME}", "version": {FORMAT_VERSION}}}.'
    try:
        text = marker.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StoreNotFoundError(
            f"no feature store at {root}",
            "Name it with --store DIR or RETUNE_STORE, or make one with "
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
            "Add --write (in Python: write=True) if you mean it.",
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
