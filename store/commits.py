"""How many transactions a catalog has seen, kept a second time outside of it.

DuckDB keeps the newest transactions in a file of their own (``catalog.duckdb.wal``)
until it merges them into the catalog. Without that file, or with an older catalog, it
opens what is left and says nothing. Each transaction therefore counts up a number in
the catalog, and then in this file: a catalog that has counted less has lost something.
A process that dies between the two leaves a catalog that has counted more: all is well.
"""

import json
from pathlib import Path

import duckdb

from .atomic_files import write_atomically
from .errors import StoreCorruptError
from .schema import create_table

__all__ = [
    "COMMITS_NAME",
    "check_commits",
    "count_commit",
    "entered_commits",
    "read_commits",
    "set_commits",
]

COMMITS_NAME = "commits.json"


def count_commit(connection: duckdb.DuckDBPyConnection) -> int:
    """Count the transaction that is open; gives its number."""
    connection.execute(create_table("catalog_state"))  # older stores lack it
    # One statement: half of it would be a number that is too small.
    connection.execute("UPDATE catalog_state SET commits = commits + 1")
    connection.execute(
        "INSERT INTO catalog_state SELECT 1 WHERE NOT EXISTS (FROM catalog_state)"
    )
    return read_commits(connection)


def read_commits(connection: duckdb.DuckDBPyConnection) -> int:
    """How many transactions the catalog has counted; 0 in a store that is older."""
    try:
        rows = connection.execute("SELECT commits FROM catalog_state").fetchall()
    except duckdb.CatalogException:
        return 0
    return int(rows[0][0]) if rows else 0


def set_commits(root: Path, number: int) -> None:
    """Write the number beside the catalog, while the catalog is still held.

    Raises:
        StoreWriteError: The disk refused.
    """
    # After a power cut the number may be an older one, which accuses nobody.
    content = json.dumps({"commits": number}).encode()
    write_atomically(root / COMMITS_NAME, content, flush_folder=False)


def entered_commits(root: Path) -> int | None:
    """The number that stands beside the catalog; None in a store that is older.

    Raises:
        StoreCorruptError: The file cannot be read.
    """
    path = root / COMMITS_NAME
    try:
        entered = json.loads(path.read_text(encoding="utf-8"))["commits"]
        if type(entered) is not int or entered < 0:
            raise ValueError(f"{entered!r} is no count")  # noqa: TRY301 - below
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{path} is damaged: {error}",
            "Run `retune-cli repair`, which counts anew.",
        ) from error
    return entered


def check_commits(root: Path, connection: duckdb.DuckDBPyConnection) -> None:
    """Refuse a catalog that has seen fewer transactions than were entered.

    Raises:
        StoreCorruptError: It has, or the file that says how many cannot be read.
    """
    entered = entered_commits(root)
    if entered is None:
        return
    counted = read_commits(connection)
    if counted < entered:
        raise StoreCorruptError(
            f"the catalog of {root} has lost its newest changes: it knows of "
            f"{counted:,} transactions, and {entered:,} were entered",
            "Put back the file catalog.duckdb.wal if you have it. Otherwise "
            "`retune-cli repair --from-copies` brings back what the store's copies "
            "hold; the catalog as it is now is kept.",
        )
