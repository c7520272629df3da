"""Paths of image files that a store knows by keyed digests only.

They stand in a file of their own, outside of the store: a key, the dataset's folder,
and a line of JSON for each image. In the catalog that file is the dataset's root, and a
digest is the image's path.
"""

import hmac
import json
import os
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from .atomic_files import write_atomically
from .errors import ConfigurationError

__all__ = ["PathKeys", "dataset_folder", "new_path_keys", "read_path_keys", "real_path"]

_FIRST_LINE: Final = "retune paths 1"
_KEY_BYTES: Final = 32
_DIGEST_BYTES: Final = 16
_HINT: Final = "Name a new file, or one that `hide_paths` of `ingest` wrote."


@dataclass(frozen=True)
class PathKeys:
    """What a file of hidden paths holds.

    Attributes:
        key: Key of the digests.
        folder: Folder of the dataset.
        paths: Digest -> path below the folder.
    """

    key: bytes
    folder: str
    paths: Mapping[str, str] = field(default_factory=dict)

    def digest(self, path: str) -> str:
        """32 hex digits that stand for a path.

        >>> len(PathKeys(b"0123456789abcdef", "/data").digest("a/b.dcm"))
        32
        """
        text = os.fsencode(path)
        return hmac.digest(self.key, text, "sha256")[:_DIGEST_BYTES].hex()

    def write(self, file: Path) -> None:
        """Write the file, readable for its owner only.

        Raises:
            StoreWriteError: The disk refused.
        """
        lines = [_FIRST_LINE, self.key.hex(), self.folder]
        lines += [json.dumps(row) for row in self.paths.items()]
        write_atomically(file, os.fsencode("\n".join(lines) + "\n"))

    def without(self, digests: Iterable[str]) -> "PathKeys":
        """The same without some images."""
        gone = set(digests)
        kept = {name: path for name, path in self.paths.items() if name not in gone}
        return PathKeys(self.key, self.folder, kept)


def new_path_keys(folder: Path) -> PathKeys:
    """A new key for a dataset's folder."""
    return PathKeys(secrets.token_bytes(_KEY_BYTES), str(folder))


def read_path_keys(file: Path) -> PathKeys:
    """Read what `PathKeys.write` wrote.

    Raises:
        ConfigurationError: The file cannot be read, or is another kind of file.
    """
    try:
        lines = os.fsdecode(file.read_bytes()).split("\n")
        begin, key, folder, *rest = lines
        rows = [json.loads(line) for line in rest if line]
        paths = {str(name): str(path) for name, path in rows}
        keys = PathKeys(bytes.fromhex(key), folder, paths)
    except (OSError, ValueError, TypeError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ConfigurationError(
            f"the hidden paths in {file} cannot be read: {reason}", _HINT
        ) from error
    if begin != _FIRST_LINE:
        raise ConfigurationError(
            f"the hidden paths in {file} cannot be read: it is another kind of file",
            _HINT,
        )
    return keys


def real_path(root: str, path: str) -> str:
    """Where an image's file lies.

    Args:
        root: Root of its dataset: a folder, or a file of hidden paths.
        path: As the catalog has it.

    Raises:
        ConfigurationError: The file of hidden paths is damaged.

    >>> real_path("/data/nih", "images/1.png")
    '/data/nih/images/1.png'
    """
    stored = os.path.join(root, path)  # noqa: PTH118 - a million of them
    if not _is_file(root):
        return stored
    keys = _keys_of(root)
    known = keys.paths.get(path)
    return stored if known is None else os.path.join(keys.folder, known)  # noqa: PTH118


def dataset_folder(root: str) -> str:
    """The folder of a dataset, also where its paths are hidden.

    >>> dataset_folder("/data/nih")
    '/data/nih'
    """
    return _keys_of(root).folder if _is_file(root) else root


@lru_cache(maxsize=64)
def _is_file(root: str) -> bool:
    return os.path.isfile(root)  # noqa: PTH113 - as above


def _keys_of(root: str) -> PathKeys:
    try:
        status = os.stat(root)  # noqa: PTH116 - as above
    except OSError:  # it is gone since: its images are then, too
        return PathKeys(b"", root)
    return _read_once(root, status.st_mtime_ns, status.st_ino)


@lru_cache(maxsize=8)
def _read_once(root: str, mtime_ns: int, inode: int) -> PathKeys:
    del mtime_ns, inode  # a file that was written anew is read anew
    return read_path_keys(Path(root))
