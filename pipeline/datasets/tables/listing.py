"""What lies in a dataset's folder: its names, read once per folder, and its links.

Files are found by the names that a folder lists, not by asking for one after the
other: so an image is found in whatever form and folder it is there, and a name with
accents whether the table or the disk composes them (Unicode's NFC and NFD).
"""

import errno
import os
import re
import stat
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from functools import lru_cache
from pathlib import Path
from typing import Final

from retune.store.errors import DatasetError

__all__ = ["Listing", "check_table_file", "current_listing", "listing_of"]

_FILE, _FOLDER, _LINK, _OTHER = "file", "folder", "link", "other"
#: Folders whose names are kept: more than lie between two rows of one patient.
_KEPT: Final = 8_192
#: More folders than this in each other are looked for one after the other.
_DEEP: Final = 50
_LINK_HINT: Final = (
    "Copy what it leads to into the dataset's folder, or, if you made the link, allow "
    "links with `follow_links`."
)


class Listing:
    """The files below a root.

    Args:
        root: The dataset's folder.
        follow_links: Whether links may lead out of it.
    """

    def __init__(self, root: Path, *, follow_links: bool = False) -> None:
        self.root = root
        self.follow_links = follow_links
        self._home = os.path.realpath(root)
        self._entries = lru_cache(_KEPT)(self._read)
        self._composed = lru_cache(64)(self._compose)
        self._folded = lru_cache(64)(self._fold_names)
        self._place = lru_cache(_KEPT)(self._find_folder)

    def find(self, path: str) -> str | None:
        """The path of a file as the disk spells it; None if there is none.

        Args:
            path: Relative to the root, with ``/``.

        Raises:
            DatasetError: It is, or lies behind, a link that leaves the root, and links
                are not to be followed.
        """
        folder, _, name = path.rpartition("/")
        if folder.count("/") > _DEEP:  # from above, for the stack's sake
            for match in re.finditer("/", folder):
                self._place(folder[: match.start()])
        listed_folder = self._place(folder)
        entry = None if listed_folder is None else self._entry(listed_folder, name)
        if listed_folder is None or entry is None:
            return None
        name, entry_type = entry
        full = f"{listed_folder}/{name}" if listed_folder else name
        return full if self._leads_to(full, entry_type) == _FILE else None

    def find_in_any_case(self, path: str) -> str | None:
        """The one file whose path differs in the case of letters only, if there is one.

        Args:
            path: Relative to the root, with ``/``.

        Raises:
            DatasetError: As `find`.
        """
        folder = ""
        parts = path.split("/")
        if len(parts) > _DEEP:
            return None
        for n, name in enumerate(parts, start=1):
            spelled = self._folded(folder).get(_fold(name))
            if spelled is None:
                return None
            full = f"{folder}/{spelled}" if folder else spelled
            entry_type = self._leads_to(full, (self._entries(folder) or {})[spelled])
            if entry_type != (_FILE if n == len(parts) else _FOLDER):
                return None
            folder = full
        return folder

    def names(self, folder: str) -> list[str]:
        """What a folder lists, unordered; nothing if it is not there."""
        listed_folder = self._place(folder)
        return [] if listed_folder is None else list(self._entries(listed_folder) or {})

    def _find_folder(self, folder: str) -> str | None:
        """A folder as the disk spells it, from its parent's names."""
        if not folder:
            return ""
        above, _, name = folder.rpartition("/")
        listed_folder = self._place(above)
        entry = None if listed_folder is None else self._entry(listed_folder, name)
        if listed_folder is None or entry is None:
            return None
        name, entry_type = entry
        full = f"{listed_folder}/{name}" if listed_folder else name
        return full if self._leads_to(full, entry_type) == _FOLDER else None

    def _entry(self, folder: str, name: str) -> tuple[str, str] | None:
        entries = self._entries(folder)
        if entries is None:  # a folder that may be entered, but not listed
            return self._ask(folder, name)
        if name in entries:
            return name, entries[name]
        if name.isascii():
            return None
        spelled = self._composed(folder).get(unicodedata.normalize("NFC", name))
        return None if spelled is None else (spelled, entries[spelled])

    def _read(self, folder: str) -> Mapping[str, str] | None:
        try:
            with os.scandir(self.root / folder) as entries:
                return {entry.name: _kind(entry) for entry in entries}
        except PermissionError:
            return None
        except OSError:  # it went away, or has a name that no folder can have
            return {}

    def _compose(self, folder: str) -> dict[str, str]:
        names = self._entries(folder) or {}
        return {
            unicodedata.normalize("NFC", name): name
            for name in names
            if not name.isascii()
        }

    def _fold_names(self, folder: str) -> dict[str, str]:
        """Names by what is left without case, but for those that are then alike."""
        folded: dict[str, str] = {}
        alike = set()
        for name in self._entries(folder) or {}:
            key = _fold(name)
            if folded.setdefault(key, name) != name:
                alike.add(key)
        return {key: name for key, name in folded.items() if key not in alike}

    def _ask(self, folder: str, name: str) -> tuple[str, str] | None:
        if name in ("", ".", ".."):
            return None
        try:
            mode = os.lstat(self.root / folder / name).st_mode
        except (OSError, ValueError):
            return None
        return name, _LINK if stat.S_ISLNK(mode) else _kind_of(mode)

    def _leads_to(self, path: str, entry_type: str) -> str:
        if entry_type != _LINK:
            return entry_type
        try:
            target = os.path.realpath(self.root / path, strict=True)
            mode = os.stat(target).st_mode  # noqa: PTH116 - a text, as realpath gives it
        except OSError:  # it leads nowhere, or in a circle
            return _OTHER
        if not self.follow_links and not _is_inside(target, self._home):
            raise DatasetError(
                f"{self.root / path} is a link that leaves {self.root}", _LINK_HINT
            )
        return _kind_of(mode)


def _fold(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


_CURRENT: ContextVar[Listing | None] = ContextVar("listing", default=None)


@contextmanager
def listing_of(root: Path, *, follow_links: bool) -> Iterator[Listing]:
    """Read a dataset with one listing of its names, and no file outside its root."""
    listing = Listing(root, follow_links=follow_links)
    token = _CURRENT.set(listing)
    try:
        yield listing
    finally:
        _CURRENT.reset(token)


def current_listing(root: Path) -> Listing:
    """The listing that a dataset is read with, or a new one of another folder."""
    listing = _CURRENT.get()
    return listing if listing is not None and listing.root == root else Listing(root)


def check_table_file(file: Path) -> int:
    """Check that a table is a regular file that belongs to its dataset.

    A pipe or a device would be waited for, or read, for ever.

    Returns:
        Its size in bytes.

    Raises:
        DatasetError: It is not there, is no regular file, or is, or lies behind, a link
            that leaves the root of the dataset that is being read.
    """
    hint = "Check its path and rights."
    try:
        status = file.stat()
        target = os.path.realpath(file)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise DatasetError(f"cannot read {file}: {reason}", hint) from error
    if stat.S_ISDIR(status.st_mode):
        raise DatasetError(f"cannot read {file}: {os.strerror(errno.EISDIR)}", hint)
    if not stat.S_ISREG(status.st_mode):
        raise DatasetError(f"cannot read {file}: it is no regular file", hint)
    listing = _CURRENT.get()
    if listing is None or listing.follow_links or not file.is_relative_to(listing.root):
        return status.st_size
    if not _is_inside(target, os.path.realpath(listing.root)):
        raise DatasetError(f"{file} is a link that leaves {listing.root}", _LINK_HINT)
    return status.st_size


def _kind(entry: os.DirEntry[str]) -> str:
    if entry.is_symlink():
        return _LINK
    if entry.is_file():
        return _FILE
    return _FOLDER if entry.is_dir() else _OTHER


def _kind_of(mode: int) -> str:
    if stat.S_ISREG(mode):
        return _FILE
    return _FOLDER if stat.S_ISDIR(mode) else _OTHER


def _is_inside(target: str, home: str) -> bool:
    return target == home or target.startswith(home.rstrip("/") + "/")
