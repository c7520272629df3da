"""An erasure as one step: prepared aside, then carried out to the end.

Everything that a store will be afterwards is written into the folder ``erasing``
first; nothing of the store changes. Then ``erasing/journal.json`` is written, which
names the files to put into place and those to destroy: from then on whoever opens the
store for writing finishes what it says. Without a journal the folder is destroyed and
the erasure has not happened. Neither the journal nor a file's name tells who is erased.
"""

import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ..atomic_files import sync_folder, write_atomically
from ..catalog import CATALOG_NAME, Catalog
from ..changes.catalog_copies import refresh_copies, shred_unused_copies
from ..commits import set_commits
from ..errors import StoreCorruptError, StoreWriteError

__all__ = [
    "STAGING",
    "Journal",
    "carry_out",
    "finish_erasure",
    "is_interrupted",
    "put_in_place",
    "shred",
    "write_journal",
]

STAGING = "erasing"
_JOURNAL = "journal.json"
_OLD = "old"
_BLOCK_BYTES = 1 << 20

#: Told before each step that changes the disk; tests end the process there.
before_step: Callable[[str], object] = str


@dataclass(frozen=True)
class Journal:
    """What is left to do; all paths are relative to the store.

    Attributes:
        erasure_id: Id of the receipt.
        commits: The number that the new catalog has counted.
        places: Prepared file and where it goes, in this order.
        shreds: Files to overwrite and remove.
        folders: Folders to remove once they are empty.
    """

    erasure_id: str
    commits: int
    places: tuple[tuple[str, str], ...]
    shreds: tuple[str, ...]
    folders: tuple[str, ...] = ()


def is_interrupted(root: Path) -> bool:
    """Whether an erasure was begun and is not finished."""
    return (root / STAGING).is_dir()


def write_journal(root: Path, journal: Journal) -> None:
    """Decide: from now on the erasure is carried out, whatever happens.

    Raises:
        StoreWriteError: The disk refused; nothing was decided.
    """
    before_step("journal")
    content = json.dumps(asdict(journal)).encode()
    write_atomically(root / STAGING / _JOURNAL, content)


def finish_erasure(root: Path, catalog: Catalog) -> str | None:
    """Finish, or undo the preparations of, an erasure that was interrupted.

    The caller holds the writer lock.

    Returns:
        The id of the erasure that was carried out; None if there was none, or if it
        had not been decided and nothing is erased.

    Raises:
        StoreWriteError: The disk refused; the next call goes on.
        StoreCorruptError: The journal cannot be read.
    """
    if not is_interrupted(root):
        return None
    journal = _read_journal(root)
    if journal is None:
        _remove_staging(root)
        return None
    carry_out(root, catalog, journal)
    return journal.erasure_id


def carry_out(root: Path, catalog: Catalog, journal: Journal) -> None:
    """Do what a journal says; each step may have been done before.

    Raises:
        StoreWriteError: The disk refused; the next call goes on.
    """
    try:
        put_in_place(root, journal)
        for number in range(len(journal.places)):
            shred(root / STAGING / f"{_OLD}-{number}")
        for name in journal.shreds:
            shred(root / name)
        for name in journal.folders:
            with suppress(OSError):  # somebody put a file there
                (root / name).rmdir()
        before_step("copies")
        refresh_copies(root, catalog, keep_unused=True)
        shred_unused_copies(root, shred)
        _remove_staging(root)
    except StoreWriteError:
        raise
    except OSError as error:
        raise StoreWriteError(
            f"the erasure {journal.erasure_id} in {root} is decided and not finished: "
            f"{error.strerror or error}",
            "Free space or fix the rights on that folder, then run any command that "
            "writes to the store, such as `retune-cli repair`.",
        ) from error


def put_in_place(root: Path, journal: Journal) -> None:
    """The part of `carry_out` after which readers see the new store.

    Raises:
        OSError: The disk refused.
    """
    for number, (staged, target_path) in enumerate(journal.places):
        _put(root, staged, target_path, root / STAGING / f"{_OLD}-{number}")
    set_commits(root, journal.commits)


def shred(path: Path) -> None:
    """Overwrite a file with zeros, flush it and remove it; nothing if there is none.

    What a disk keeps beneath its file system (wear levelling, snapshots, backups) is
    out of reach.

    Raises:
        OSError: The file cannot be written or removed.
    """
    if path.is_symlink():
        path.unlink()
        return
    if not path.is_file():
        return
    before_step(f"shred {path.name}")
    with path.open("r+b") as file:
        left = path.stat().st_size
        zeros = bytes(min(left, _BLOCK_BYTES))
        while left > 0:
            left -= file.write(zeros[: min(left, _BLOCK_BYTES)])
        file.flush()
        os.fsync(file.fileno())
    path.unlink(missing_ok=True)


def _put(root: Path, staged: str, target_path: str, old: Path) -> None:
    """Exchange a file; the one that was there waits to be destroyed."""
    source, target = root / staged, root / target_path
    if not source.exists():  # it was put there before the interruption
        return
    before_step(f"place {target_path}")
    if target_path == CATALOG_NAME:
        # DuckDB would apply the old catalog's newest transactions to the new one.
        shred(target.with_name(f"{CATALOG_NAME}.wal"))
    if target.exists() and not old.exists():
        try:
            os.link(target, old)
        except OSError:  # a file system without hard links
            target.replace(old)
    before_step(f"replace {target_path}")
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    source.replace(target)
    sync_folder(target.parent)


def _read_journal(root: Path) -> Journal | None:
    path = root / STAGING / _JOURNAL
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return Journal(
            str(content["erasure_id"]),
            int(content["commits"]),
            tuple((str(one), str(other)) for one, other in content["places"]),
            tuple(map(str, content["shreds"])),
            tuple(map(str, content["folders"])),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{path} cannot be read: {error}",
            "An erasure was decided and cannot be finished. Restore the store from "
            "a backup and erase again.",
        ) from error


def _remove_staging(root: Path) -> None:
    """Destroy what was prepared; the journal goes last."""
    folder = root / STAGING
    for path in sorted(folder.rglob("*"), reverse=True):
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        elif path.name != _JOURNAL or path.parent != folder:
            shred(path)
    before_step("remove the journal")
    (folder / _JOURNAL).unlink(missing_ok=True)  # it names nobody
    before_step("remove the folder")
    folder.rmdir()
