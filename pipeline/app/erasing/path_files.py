"""Files of hidden paths, and how somebody leaves them."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from retune.store import FeatureStore
from retune.store.erasure.journal import shred
from retune.store.erasure.people import Erased
from retune.store.errors import StoreWriteError
from retune.store.hidden_paths import PathKeys, read_path_keys

__all__ = ["clear_path_files", "with_real_paths"]

_OLD = ".erased"


def with_real_paths(store: FeatureStore, erased: Erased) -> Erased:
    """The erased with the paths that stand for their digests, to look for these, too.

    Args:
        store: With the images.
        erased: Who goes.

    Raises:
        ConfigurationError: A file of hidden paths is damaged.
    """
    paths = set(erased.paths)
    for _, keys in _path_files(store):
        paths |= {keys.paths[name] for name in erased.paths if name in keys.paths}
    return replace(erased, paths=tuple(sorted(paths)))


def clear_path_files(store: FeatureStore, erased: Erased) -> None:
    """Take the erased out of the files of hidden paths; twice is harmless.

    Args:
        store: With the images.
        erased: Who goes.

    Raises:
        ConfigurationError: A file of hidden paths is damaged.
        StoreWriteError: The disk refused.
    """
    gone = set(erased.paths)
    for file, keys in _path_files(store):
        left = keys.without(gone)
        old = file.with_name(file.name + _OLD)
        try:
            _finish_interrupted(file, old)
            if len(left.paths) == len(keys.paths):
                continue
            old.hardlink_to(file)  # the file is there at any time, the old one is kept
            left.write(file)
            shred(old)
        except OSError as error:
            raise StoreWriteError(
                f"paths in {file} cannot be erased: {error.strerror or error}",
                "Make that file and its folder writable, and repeat the command.",
            ) from error


def _finish_interrupted(file: Path, old: Path) -> None:
    """Destroy what a process left that died before its last step."""
    if old.exists():
        if old.samefile(file):  # it died before the new file was written
            old.unlink()
        else:
            shred(old)


def _path_files(store: FeatureStore) -> Iterator[tuple[Path, PathKeys]]:
    """Files of hidden paths that the datasets of a store have, where they are there."""
    for (root,) in store.rows("SELECT DISTINCT root FROM datasets"):
        if Path(root).is_file():
            yield Path(root), read_path_keys(Path(root))
