"""A map of a table, proposed for a person to edit."""

from pathlib import Path

import yaml

from retune.store.errors import ConfigurationError, StoreWriteError

from ...datasets.table_map import TableMap

__all__ = ["map_text", "write_map"]

_HEAD = """\
# How `retune-cli ingest` reads {table}. Edit it, and give it back as the map.
# columns: which column plays which part; remove a line, and the part has no column.
# findings: the columns with labels.  aliases: column -> what the finding is called.
# values: column -> word in its cells -> positive, negative, uncertain, absent (not
#   mentioned) or unlabelled; of a sex F, M or nothing.
# units: age: years, months, weeks or days.  dates: day-first or month-first.
# keep: columns to keep as they are.  ignore: columns that are not read.
# path_prefix: how paths begin -> what stands there instead.
"""


def map_text(table: str, mapping: TableMap) -> str:
    """The text of a map.

    Args:
        table: Name of the table, for the head.
        mapping: What it says.
    """
    body = yaml.safe_dump(mapping.as_json(), allow_unicode=True, sort_keys=False)
    return _HEAD.format(table=ascii(table)) + body


def write_map(file: Path, text: str) -> None:
    """Write a map to a new file.

    Raises:
        ConfigurationError: There is such a file: somebody may have edited it.
        StoreWriteError: The disk refused.
    """
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError as error:
        raise ConfigurationError(
            f"{file} is there already", "Remove it, or name another file (`mapping`)."
        ) from error
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {file}: {error.strerror or error}", "Name another file."
        ) from error
