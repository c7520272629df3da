"""Files as bytes, unpacked where they are gzipped, and never without a limit.

A few kilobytes of gzip can unpack to more than a machine's memory. The limit is far
above any public label table; who needs more raises it by an environment variable.
"""

import gzip
import os
import re
import zlib
from pathlib import Path
from typing import Final

from retune.store.errors import ConfigurationError, DatasetError

__all__ = [
    "DEFAULT_TABLE_BYTES",
    "TABLE_LIMIT_VARIABLE",
    "check_table_size",
    "find_tables",
    "read_file",
    "table_limit",
]

#: Name of the environment variable that raises the limit: a number of bytes.
TABLE_LIMIT_VARIABLE: Final = "RETUNE_MAX_TABLE_BYTES"
#: 4 GiB; the largest public label table, with all its reports, has about 1 GiB.
DEFAULT_TABLE_BYTES: Final = 1 << 32
_CHUNK_BYTES: Final = 1 << 20


def find_tables(folder: Path, pattern: str) -> list[Path]:
    """The files of a folder that fit a pattern, sorted; then those that are gzipped.

    Args:
        folder: Where to look; it need not be there.
        pattern: A name, perhaps with ``*``, without ``.gz``.
    """
    plain, packed = (sorted(folder.glob(pattern + end)) for end in ("", ".gz"))
    return [file for file in (*plain, *packed) if not file.is_dir()]


def table_limit() -> int:
    """How many bytes a label table may have, unpacked.

    Raises:
        ConfigurationError: The environment variable is no positive number.
    """
    given = os.environ.get(TABLE_LIMIT_VARIABLE)
    if given is None:
        return DEFAULT_TABLE_BYTES
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigurationError(
            f"{TABLE_LIMIT_VARIABLE}={given} is no positive number of bytes",
            f"Unset it for the default of {DEFAULT_TABLE_BYTES:,}.",
        )
    return int(given)


def read_file(file: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a file, unpacked if its name ends in ``.gz``.

    Args:
        file: What to read.
        most_bytes: Give the beginning only; None for all of it.

    Raises:
        ConfigurationError: The limit in the environment is no number.
        DatasetError: The file cannot be read, its gzip is damaged or cut off (the line
            up to which it could be read is named), or it is larger than `table_limit`.
    """
    limit = table_limit()
    wanted = limit + 1 if most_bytes is None else most_bytes
    is_packed = file.suffix.lower() == ".gz"
    content = bytearray()
    try:
        with file.open("rb") as raw:
            # `read1` hands over what could be unpacked before it meets the damage.
            read = gzip.GzipFile(fileobj=raw).read1 if is_packed else raw.read
            while len(content) < wanted:
                chunk = read(min(_CHUNK_BYTES, wanted - len(content)))
                if not chunk:
                    break
                content += chunk
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", content))
        raise DatasetError(
            f"{file}, line {line}: the gzip file is damaged or cut off here: {error}",
            "Download it again and compare its size or checksum.",
        ) from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(
            f"cannot read {file}: {reason}", "Check its path and rights."
        ) from error
    if most_bytes is None:
        check_table_size(file, len(content), is_packed=is_packed)
    return bytes(content)


def check_table_size(file: Path, n_bytes: int, *, is_packed: bool) -> None:
    """Refuse a table that is larger than `table_limit`.

    Args:
        file: The table, for the message.
        n_bytes: What it comes to, unpacked; more than the limit may have been left out.
        is_packed: Whether it is smaller on the disk.

    Raises:
        ConfigurationError: The limit in the environment is no number.
        DatasetError: It is larger.
    """
    limit = table_limit()
    if n_bytes > limit:
        raise DatasetError(
            f"{file} has more than {limit:,} bytes"
            + (" when it is unpacked" if is_packed else ""),
            f"If that is right, raise the limit: {TABLE_LIMIT_VARIABLE}=BYTES.",
        )
