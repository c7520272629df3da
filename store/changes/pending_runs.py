"""Finished runs that could not be entered, because somebody held the catalog."""

import hashlib
import io
from contextlib import suppress
from pathlib import Path

import duckdb
import pyarrow as pa

from ..atomic_files import write_atomically
from ..catalog import Catalog
from ..errors import StoreCorruptError
from ..schema import LATER_COLUMNS

__all__ = ["enter_pending", "find_pending", "insert_run", "keep_run", "read_pending"]

_FOLDER = "pending"
_DIGEST_BYTES = 16
#: A run's rows, in the order in which they stand in a file.
RunTables = tuple[pa.Table, pa.Table, pa.Table]


def insert_run(
    connection: duckdb.DuckDBPyConnection,
    run: pa.Table,
    metrics: pa.Table,
    predictions: pa.Table,
) -> None:
    """Enter the rows of one run, each table with the catalog's columns."""
    rows = {"runs": run, "metrics": metrics, "predictions": predictions}
    for table, incoming in rows.items():
        if not len(incoming):
            continue
        for column, sql_type in LATER_COLUMNS.get(table, ()):
            connection.execute(
                f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {column} {sql_type}"
            )
        connection.register("incoming_rows", incoming)
        connection.execute(f"INSERT INTO {table} BY NAME FROM incoming_rows")
        connection.unregister("incoming_rows")


def keep_run(root: Path, run_id: str, tables: RunTables) -> Path:
    """Keep a run's rows in a file until the catalog can be written.

    Raises:
        StoreWriteError: The disk refused.
    """
    content = io.BytesIO()
    for table in tables:
        with pa.ipc.new_stream(content, table.schema) as writer:
            writer.write_table(table)
    digest = hashlib.blake2b(content.getvalue(), digest_size=_DIGEST_BYTES).digest()
    path = root / _FOLDER / f"{run_id}.run"
    write_atomically(path, digest + content.getvalue())
    return path


def find_pending(root: Path) -> list[Path]:
    """The files of runs that wait."""
    return sorted((root / _FOLDER).glob("*.run"))


def read_pending(path: Path) -> RunTables:
    """Read what `keep_run` wrote.

    Raises:
        StoreCorruptError: The file is damaged.
    """
    try:
        content = path.read_bytes()
        body = content[_DIGEST_BYTES:]
        digest = hashlib.blake2b(body, digest_size=_DIGEST_BYTES).digest()
        if digest != content[:_DIGEST_BYTES]:
            raise ValueError("it does not match its checksum")  # noqa: TRY301
        source = io.BytesIO(body)
        run, metrics, predictions = (
            pa.ipc.open_stream(source).read_all() for _ in range(3)
        )
    except (OSError, ValueError) as error:  # Arrow's errors are ValueErrors
        raise StoreCorruptError(
            f"{path}, a run that waits to be entered, cannot be read: {error}",
            "Train again, and delete that file.",
        ) from error
    return run, metrics, predictions


def enter_pending(
    root: Path, catalog: Catalog, patience_seconds: float | None = None
) -> list[str]:
    """Enter the runs that wait; a file that is damaged stays and `verify` names it.

    Returns:
        The ids of the runs that were entered.

    Raises:
        StoreBusyError: The catalog is held still; nothing is lost.
        StoreWriteError: The disk refused.
    """
    entered: list[str] = []
    for path in find_pending(root):
        try:
            tables = read_pending(path)
        except StoreCorruptError:
            continue
        run_id = path.stem
        with catalog.write(patience_seconds) as connection:
            known = connection.execute(
                "SELECT 1 FROM runs WHERE run_id = ?", [run_id]
            ).fetchall()
            if not known:  # else a process died before it deleted the file
                insert_run(connection, *tables)
        entered.append(run_id)
        with suppress(OSError):
            path.unlink()
    return entered
