"""Small pictures of images, made once and kept in the store's folder.

They lie in one SQLite file, `cache/thumbnails.sqlite`, apart from the catalog: it can
be deleted at any time, and grows while the catalog is free for others. An entry holds
the digest of the file that it was made of, so that a changed file gets a new one.
"""

import io
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from retune.store import FeatureStore
from retune.store.atomic_files import make_private
from retune.store.errors import ImageError, StoreWriteError

from ..queries.image_files import find_file, read_grey

__all__ = [
    "CACHE_FOLDER",
    "THUMBNAIL_SIDE",
    "Thumbnails",
    "remove_thumbnails",
]

CACHE_FOLDER = "cache"
_NAME = "thumbnails.sqlite"
#: Pixels of the longer side.
THUMBNAIL_SIDE = 256
_QUALITY = 82
#: Pictures that are decoded at the same time; each may take hundreds of megabytes.
_AT_ONCE = 2
_PATIENCE_SECONDS = 10.0
_IDS_AT_ONCE = 500


class Thumbnails:
    """The small pictures of one store.

    Args:
        store: With the images.

    Example:
        jpeg = Thumbnails(store).of("nih/images/00000013_005.png")
    """

    def __init__(self, store: FeatureStore) -> None:
        self._store = store
        self._file = store.path / CACHE_FOLDER / _NAME
        self._turns = threading.Semaphore(_AT_ONCE)

    def of(self, image_id: str) -> bytes | None:
        """A JPEG of an image; None if the store has no such image.

        Raises:
            ImageError: Its file is gone or cannot be decoded.
        """
        path = find_file(self._store, image_id)
        if path is None:
            return None
        signature = _signature(path)
        kept = self._kept(image_id, signature)
        if kept is not None:
            return kept
        with self._turns:
            made = _made(path)
        self._keep(image_id, signature, made)
        return made

    def _kept(self, image_id: str, signature: str) -> bytes | None:
        if not self._file.is_file():
            return None
        try:
            with _opened(self._file) as connection:
                row = connection.execute(
                    "SELECT jpeg FROM thumbnails WHERE image_id = ? AND signature = ?",
                    [image_id, signature],
                ).fetchone()
                return bytes(row[0]) if row else None
        except sqlite3.OperationalError:  # somebody writes, or has not begun to
            return None
        except sqlite3.DatabaseError:  # damaged: it is made anew
            with suppress(OSError):
                self._file.unlink()
            return None

    def _keep(self, image_id: str, signature: str, jpeg: bytes) -> None:
        """A disk that is full or read-only is no reason to show nothing."""
        with suppress(sqlite3.Error, OSError):
            make_private(self._file.parent)
            is_new = not self._file.exists()
            with _opened(self._file) as connection, connection:
                if is_new:
                    self._file.chmod(0o600)
                connection.execute(
                    """CREATE TABLE IF NOT EXISTS thumbnails (
                    image_id TEXT PRIMARY KEY, signature TEXT, jpeg BLOB)"""
                )
                connection.execute(
                    "INSERT OR REPLACE INTO thumbnails VALUES (?, ?, ?)",
                    [image_id, signature, jpeg],
                )


def remove_thumbnails(store_path: Path, image_ids: Iterable[str]) -> int:
    """Erase the small pictures of images, and every map that may show them.

    The file's free pages are overwritten, so that nothing of the pictures is left in
    it. Maps of the vectors (`cache/map-*.npz`) name images by content and are deleted
    whole; they are computed again when they are asked for.

    Args:
        store_path: The store's folder.
        image_ids: Ids of the images.

    Returns:
        The number of small pictures that were there.

    Raises:
        StoreWriteError: The cache cannot be changed; delete the folder ``cache``.

    Example:
        >>> remove_thumbnails(Path("no-such-store"), ["d/0001.png"])
        0
    """
    folder = Path(store_path) / CACHE_FOLDER
    try:
        for file in folder.glob("map-*.npz"):
            file.unlink()
        if not (folder / _NAME).is_file():
            return 0
        with _opened(folder / _NAME) as connection:
            n_removed = _delete(connection, list(image_ids))
            connection.execute("VACUUM")
    except (sqlite3.Error, OSError) as error:
        raise StoreWriteError(
            f"the small pictures in {folder} cannot be erased: {error}",
            "Delete that folder by hand: it holds nothing that cannot be made again.",
        ) from error
    return n_removed


def _delete(connection: sqlite3.Connection, image_ids: list[str]) -> int:
    n_removed = 0
    with connection:
        for start in range(0, len(image_ids), _IDS_AT_ONCE):
            part = image_ids[start : start + _IDS_AT_ONCE]
            marks = ", ".join("?" * len(part))
            n_removed += connection.execute(
                f"DELETE FROM thumbnails WHERE image_id IN ({marks})",
                part,
            ).rowcount
    return n_removed


@contextmanager
def _opened(file: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(file, timeout=_PATIENCE_SECONDS)) as connection:
        connection.execute("PRAGMA secure_delete = ON")
        # A cache need not outlive a power cut; waiting for the disk costs most.
        connection.execute("PRAGMA synchronous = OFF")
        yield connection


def _signature(path: Path) -> str:
    """Tells a changed file from the one that a picture was made of."""
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"the file cannot be read: {reason}") from error
    return f"{status.st_size}-{status.st_mtime_ns}"


def _made(path: Path) -> bytes:
    picture = read_grey(path)
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY, optimize=True)
    return file.getvalue()
