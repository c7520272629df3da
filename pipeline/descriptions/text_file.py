"""A person's text file: regular, of a size that can be read, in UTF-8."""

import stat
from pathlib import Path
from typing import Final

from retune.store.errors import ConfigurationError

__all__ = ["MOST_TEXT_BYTES", "read_text_file"]

#: Far above any description set: the largest that ships has 0.2 MB.
MOST_TEXT_BYTES: Final = 1 << 26


def read_text_file(path: Path) -> str:
    """The text of a file, without a byte order mark.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigurationError: It is no regular file, too large, not UTF-8, or cannot be
            read.
    """
    hint = "Give the path of a YAML file."
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise ConfigurationError(
                f"{path}: cannot be read: it is no regular file", hint
            )
        if status.st_size > MOST_TEXT_BYTES:
            raise ConfigurationError(
                f"{path}: cannot be read: it has {status.st_size:,} bytes, more than "
                f"{MOST_TEXT_BYTES:,}",
                hint,
            )
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: not UTF-8 text at byte {error.start}", "Save the file as UTF-8."
        ) from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(f"{path}: cannot be read: {reason}", hint) from error
