"""What SQL may reach: the catalog and the folders that the caller names, nothing else.

DuckDB enforces it: access to files, other databases, the network, extensions and
variables of the process is off, and the configuration is locked. DuckDB's list of
allowed folders does not tell reading from writing. So a statement that writes a file is
refused here unless the caller named a place to write to, and such a statement sees the
places to write to only.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb

from ..errors import ConfigurationError, QueryError

__all__ = ["CLOSED", "Allowed", "allow_places", "writes_files"]

#: Options of a connection that reaches nothing but its own file.
CLOSED = {
    "autoinstall_known_extensions": "false",
    "autoload_known_extensions": "false",
    "enable_external_access": "false",
    "lock_configuration": "true",
}
#: Kinds of statements that write to files or open other databases.
_OUTWARD = {"ATTACH", "COPY", "COPY_DATABASE", "DETACH", "EXPORT", "LOAD"}
_NO_FILES = QueryError(
    "this statement writes to files or opens another database, and queries may not",
    "COPY ... TO 'FILE' works with `allow_write`; folders can be named too.",
)


@dataclass(frozen=True)
class Allowed:
    """Files and folders that a query may reach beside the catalog.

    Attributes:
        read: Whose content may be read.
        write: Which may be written, and read too.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()

    @classmethod
    def of(
        cls, store: Path, read: Iterable[str | Path], write: Iterable[str | Path]
    ) -> "Allowed":
        """Resolve the places that a caller names.

        Raises:
            ConfigurationError: A place to read is not there; the store lies in a folder
                to write to, or a place to write to lies in the store.
        """
        allowed = cls(*(tuple(Path(p).resolve() for p in ps) for ps in (read, write)))
        own = store.resolve()
        for path in allowed.read:
            if not path.exists():
                raise ConfigurationError(
                    f"`allow_read`: there is no {path}", "Name a file or a folder."
                )
        for path in allowed.write:
            if path == own or own in path.parents or path in own.parents:
                raise ConfigurationError(
                    f"`allow_write`: {path} would let a query overwrite the store "
                    f"{own}",
                    "Name the file to write, or a folder apart from the store.",
                )
        return allowed

    def __bool__(self) -> bool:
        return bool(self.read or self.write)


def allow_places(connection: duckdb.DuckDBPyConnection, places: Sequence[Path]) -> None:
    """Open places on a connection whose access is on still, and lock it."""
    folders = [f"{path}/" for path in places if path.is_dir()]
    files = [str(path) for path in places if not path.is_dir()]
    # DuckDB replaces a file by way of one beside it.
    files += [str(path.with_name(f"tmp_{path.name}")) for path in map(Path, files)]
    connection.execute(f"SET allowed_directories = {_list(folders)}")
    connection.execute(f"SET allowed_paths = {_list(files)}")
    for name, value in CLOSED.items():
        connection.execute(f"SET {name} = {value}")


def writes_files(
    connection: duckdb.DuckDBPyConnection, query: str, parameters: object = None
) -> bool:
    """Whether a query writes files or opens other databases, without running it.

    A `COPY` may also stand in the WITH clause of a query, at the top and nowhere else:
    DuckDB refuses it in brackets. An EXPLAIN in brackets therefore tells.

    Raises:
        duckdb.Error: It is no SQL.
    """
    for statement in connection.extract_statements(query):
        statement_type = statement.type.name
        if statement_type in _OUTWARD:
            return True
        if not _says_copy(statement.query):
            continue
        if statement_type != "SELECT":
            return True
        text = statement.query.rstrip().rstrip(";")
        try:
            connection.execute(f"EXPLAIN FROM ({text}\n)", parameters)
        except duckdb.BinderException as error:
            if "COPY" in str(error):
                return True
            raise
    return False


def refuse_files() -> QueryError:
    """The error for a query that writes files though no place was named."""
    return _NO_FILES


def _says_copy(query: str) -> bool:
    """Whether the word occurs outside of strings, names in quotes and comments."""
    text = query.encode()
    return any(
        text[start : start + 4].lower() == b"copy"
        for start, token_type in duckdb.tokenize(query)
        if token_type in (duckdb.token_type.keyword, duckdb.token_type.identifier)
    )


def _list(texts: Sequence[str]) -> str:
    quoted = (text.replace("'", "''") for text in texts)
    return "[" + ", ".join(f"'{text}'" for text in quoted) + "]"
