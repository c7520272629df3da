"""Named sets of descriptions: entered once, never changed."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass

import duckdb
import pyarrow as pa

from .catalog import scalar
from .errors import ConfigurationError
from .feature_store import FeatureStore
from .schema import DESCRIPTION_TABLES, create_table

__all__ = [
    "SetRow",
    "add_set",
    "list_sets",
    "read_drafts",
    "read_set",
    "save_draft",
]

_ORIGIN_COLUMNS = """description_id, position, requested_model, resolved_model, host,
    parameters, seed, template, template_version, template_digest, prompt_digest,
    asked_at, response_digest, accepted"""
_DESCRIPTION_COLUMNS = """description_id, set_name, finding, polarity, text,
    text_digest, generator, model, created_at, instruction_digest, reviewed, edited,
    source"""


@dataclass(frozen=True)
class SetRow:
    """One row of `description_sets`.

    Attributes:
        set_name: Unique in the store.
        made_by: ``describe``, ``edit`` or ``import``.
        parent: The set that was edited; empty if none.
        language: ISO 639-1 code.
        n_sentences: Number of sentences of both polarities.
        created_at: ISO 8601.
    """

    set_name: str
    made_by: str
    parent: str
    language: str
    n_sentences: int
    created_at: str


def add_set(store: FeatureStore, row: SetRow, members: pa.Table) -> None:
    """Enter a whole set in one transaction; drafts of that name are dropped.

    Args:
        store: Where to.
        row: What the set is.
        members: Its sentences: the columns of `descriptions` and of
            `description_origins`.

    Raises:
        ConfigurationError: The store has a set of that name already.
        StoreBusyError: Another process holds the catalog.
        StoreWriteError: The disk refused; nothing was entered.
    """
    with store.catalog.write() as connection:
        _make_tables(connection)
        taken = scalar(
            connection,
            """SELECT (SELECT count(*) FROM description_sets WHERE set_name = ?)
            + (SELECT count(*) FROM descriptions WHERE set_name = ?)""",
            [row.set_name, row.set_name],
        )
        if taken:
            raise ConfigurationError(
                f"the store {store.path} has a description set '{row.set_name}' "
                "already, and sets never change",
                "Choose another name with `set_name`.",
            )
        connection.execute(
            "INSERT INTO description_sets VALUES (?, ?, ?, ?, ?, ?)", list(astuple(row))
        )
        connection.register("incoming_members", members)
        connection.execute(
            f"""INSERT INTO descriptions BY NAME
            SELECT {_DESCRIPTION_COLUMNS} FROM incoming_members"""
        )
        connection.execute(
            f"""INSERT INTO description_origins BY NAME
            SELECT {_ORIGIN_COLUMNS} FROM incoming_members"""
        )
        connection.execute(
            "DELETE FROM description_drafts WHERE set_name = ?", [row.set_name]
        )
    store.refresh_copies(tables=("descriptions", *DESCRIPTION_TABLES))


def list_sets(store: FeatureStore) -> tuple[SetRow, ...]:
    """The store's named sets, oldest first."""
    with store.catalog.read() as connection:
        if not _has_tables(connection):
            return ()
        rows = connection.execute(
            "SELECT * FROM description_sets ORDER BY created_at, set_name"
        ).fetchall()
    return tuple(SetRow(*row) for row in rows)


def read_set(store: FeatureStore, set_name: str) -> pa.Table:
    """The sentences of a set in its order; no rows if there is no such set.

    Returns:
        The columns of `descriptions` and of `description_origins`.
    """
    with store.catalog.read() as connection:
        if not _has_tables(connection):
            return pa.table({})
        return connection.sql(
            """SELECT * FROM descriptions JOIN description_origins
            USING (description_id) WHERE set_name = ? ORDER BY position""",
            params=[set_name],
        ).to_arrow_table()


def save_draft(
    store: FeatureStore, set_name: str, request_digest: str, finding: str, content: str
) -> None:
    """Keep the sentences of one finding until the set is whole.

    Raises:
        StoreBusyError: Another process holds the catalog.
        StoreWriteError: The disk refused.
    """
    with store.catalog.write() as connection:
        _make_tables(connection)
        connection.execute(
            "DELETE FROM description_drafts WHERE set_name = ? AND finding = ?",
            [set_name, finding],
        )
        connection.execute(
            "INSERT INTO description_drafts VALUES (?, ?, ?, ?)",
            [set_name, request_digest, finding, content],
        )
    store.refresh_copies(tables=("description_drafts",))


def read_drafts(
    store: FeatureStore, set_name: str, request_digest: str
) -> dict[str, str]:
    """What is finished of a set: finding -> content.

    Raises:
        ConfigurationError: The set was begun by another request.
    """
    with store.catalog.read() as connection:
        if not _has_tables(connection):
            return {}
        rows = connection.execute(
            """SELECT finding, content, request_digest FROM description_drafts
            WHERE set_name = ?""",
            [set_name],
        ).fetchall()
    if any(digest != request_digest for _, _, digest in rows):
        raise ConfigurationError(
            f"an unfinished set '{set_name}' was begun with other options",
            "Repeat the options it was begun with, or choose another `set_name`.",
        )
    return {finding: content for finding, content, _ in rows}


def _make_tables(connection: duckdb.DuckDBPyConnection) -> None:
    """A store that is older than these tables gets them when they are needed."""
    for name in DESCRIPTION_TABLES:
        connection.execute(create_table(name))


def _has_tables(connection: duckdb.DuckDBPyConnection) -> bool:
    names: Sequence[tuple[str]] = connection.execute(
        "SELECT table_name FROM duckdb_tables()"
    ).fetchall()
    return set(DESCRIPTION_TABLES) <= {name for (name,) in names}
