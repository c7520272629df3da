"""Which files of images are there, and what their bytes are."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

import pyarrow as pa

from retune.store import FileState, content_digest
from retune.store.hidden_paths import dataset_folder, real_path

__all__ = ["ImageFiles"]

#: Files that a thread reads before it is handed the next: to hand over one takes longer
#: than to open it.
_READ_AT_ONCE: Final = 128
#: A folder with more names than this is not listed.
_MOST_NAMES: Final = 32_768


class ImageFiles:
    """Reads files of images in threads; to be used as a context manager.

    Of many images whose files nobody has, each would cost a call of the operating
    system and an exception. Their folders are listed instead, if they are not large.
    """

    def __init__(self) -> None:
        self._names: dict[str, frozenset[str] | None] = {}
        self._until_done = ExitStack()

    def __enter__(self) -> Self:
        self._readers = self._until_done.enter_context(ThreadPoolExecutor())
        return self

    def __exit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._until_done.close()

    def read(self, images: pa.Table) -> list[FileState | None]:
        """What the images' files look like; None for those that are not there.

        Args:
            images: Columns `image_id`, `root` and `path`.
        """
        roots, paths = images["root"].to_pylist(), images["path"].to_pylist()
        hidden = {root: dataset_folder(root) != root for root in set(roots)}
        present = [
            row
            for row, (root, path) in enumerate(zip(roots, paths, strict=True))
            if hidden[root] or self._may_be_there(root, path)
        ]
        self._names.clear()  # it shall not grow with the number of folders
        ids = images["image_id"].take(pa.array(present, pa.int64())).to_pylist()
        files = [
            (image_id, real_path(roots[row], paths[row]))
            for image_id, row in zip(ids, present, strict=True)
        ]
        states: list[FileState | None] = [None] * len(images)
        for row, state in zip(present, self._states(files), strict=True):
            states[row] = state
        return states

    def _may_be_there(self, root: str, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        if path[:1] == "/":
            return True
        where = f"{root}/{folder}"
        if where not in self._names:
            self._names[where] = _listed(where)
        names = self._names[where]
        # Some file systems take names for equal that differ in capital letters.
        return names is None or name.casefold() in names

    def _states(self, files: Sequence[tuple[str, str]]) -> Iterator[FileState | None]:
        parts = [
            files[at : at + _READ_AT_ONCE] for at in range(0, len(files), _READ_AT_ONCE)
        ]
        return (one for part in self._readers.map(_file_states, parts) for one in part)


def _listed(folder: str) -> frozenset[str] | None:
    """The names in a folder, without capitals; None: they are too many, or unknown."""
    names = set()
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                names.add(entry.name.casefold())
                if len(names) > _MOST_NAMES:
                    return None
    except (FileNotFoundError, NotADirectoryError):
        return frozenset()
    except OSError:
        return None
    return frozenset(names)


def _file_states(files: Sequence[tuple[str, str]]) -> list[FileState | None]:
    return [_file_state(image_id, path) for image_id, path in files]


def _file_state(image_id: str, path: str) -> FileState | None:
    """What an image's file looks like; None if it cannot be read."""
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - a million of them
            status = os.fstat(file.fileno())
            digest = content_digest(file.read())
    except OSError:
        return None
    return FileState(image_id, digest, status.st_size, status.st_mtime_ns, None)
