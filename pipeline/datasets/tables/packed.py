"""Files as bytes, unpacked where they are gzipped, and never without a limit.

A few kilobytes of gzip can unpack to more than a machine's memory. The limits are far
above any public label table; who needs more raises them by an environment variable.
Reading a table takes about six times its bytes at most: the bytes themselves, and
Arrow's columns, which add four bytes to each cell however short it is.
"""

import gzip
import io
import os
import re
import zlib
from pathlib import Path
from typing import Final

from retune.store.errors import ConfigurationError, DatasetError

from .listing import check_table_file

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
#: 2 GiB; the largest public label table, with all its reports, has about 1 GiB.
DEFAULT_TABLE_BYTES: Final = 1 << 31
#: Label tables pack to a tenth or a thirtieth; what packs better is made to.
_MOST_PACKED: Final = 100
#: Below this, how well a table packs is of no concern.
_SMALL_BYTES: Final = 1 << 26
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
        ConfigurationError: The environment variable is not a positive number.
    """
    given = os.environ.get(TABLE_LIMIT_VARIABLE)
    if given is None:
        return DEFAULT_TABLE_BYTES
    if not given.isascii() or not given.isdigit() or int(given) == 0:
        raise ConfigurationError(
            f"{TABLE_LIMIT_VARIABLE}={given} must be a positive number of bytes",
            f"Unset it for the default of {DEFAULT_TABLE_BYTES:,}.",
        )
    return int(given)


def read_file(file: Path, most_bytes: int | None = None) -> bytes:
    """The bytes of a file, unpacked if its name ends in ``.gz``.

    Args:
        file: What to read.
        most_bytes: Give the beginning only; None for all of it.

    Raises:
        ConfigurationError: The limit in the environment is not a number.
        DatasetError: The file cannot be read or is no regular file, its gzip is damaged
            or cut off (the line up to which it could be read is named), or it is larger
            than `table_limit` or unpacks to more than a table would.
    """
    table_limit()  # a limit that is none is told first
    size = check_table_file(file)
    is_packed = file.suffix.lower() == ".gz"
    limit = _packed_limit(size) if is_packed else table_limit()
    if most_bytes is None and not is_packed:
        check_table_size(file, size, is_packed=False)
    wanted = limit + 1 if most_bytes is None else most_bytes
    content = io.BytesIO()  # hands its bytes over without a copy
    try:
        with file.open("rb") as raw:
            # `read1` hands over what could be unpacked before it meets the damage.
            read = gzip.GzipFile(fileobj=raw).read1 if is_packed else raw.read
            while content.tell() < wanted:
                chunk = read(min(_CHUNK_BYTES, wanted - content.tell()))
                if not chunk:
                    break
                content.write(chunk)
    except (gzip.BadGzipFile, zlib.error, EOFError) as error:
        line = 1 + len(re.findall(rb"\r\n|\r|\n", content.getbuffer()))
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
        _check_unpacked(file, content.tell(), limit, is_packed=is_packed)
    return content.getvalue()


def _packed_limit(n_bytes: int) -> int:
    """How much a gzipped table of so many bytes may unpack to."""
    if TABLE_LIMIT_VARIABLE in os.environ:
        return table_limit()
    return min(table_limit(), max(_SMALL_BYTES, _MOST_PACKED * n_bytes))


def _check_unpacked(file: Path, n_bytes: int, limit: int, *, is_packed: bool) -> None:
    if n_bytes <= limit or limit == table_limit():
        check_table_size(file, n_bytes, is_packed=is_packed)
        return
    raise DatasetError(
        f"{file} unpacks to more than {limit:,} bytes, over {_MOST_PACKED} times its"
        " size, which no label table does",
        f"If that is right, unpack it, or allow it: {TABLE_LIMIT_VARIABLE}=BYTES.",
    )


def check_table_size(file: Path, n_bytes: int, *, is_packed: bool) -> None:
    """Refuse a table that is larger than `table_limit`.

    Args:
        file: The table, for the message.
        n_bytes: What it comes to, unpacked; more than the limit may have been left out.
        is_packed: Whether it is smaller on the disk.

    Raises:
        ConfigurationError: The limit in the environment is not a number.
        DatasetError: It is larger.
    """
    limit = table_limit()
    if n_bytes > limit:
        raise DatasetError(
            f"{file} has more than {limit:,} bytes"
            + (" when it is unpacked" if is_packed else ""),
            f"If that is right, raise the limit: {TABLE_LIMIT_VARIABLE}=BYTES.",
        )
