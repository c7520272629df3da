"""What `nightly` wrote outside of a store, and how somebody leaves that, too."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
from pyarrow import parquet

from retune.store.atomic_files import write_atomically
from retune.store.erasure.journal import shred
from retune.store.erasure.people import Erased
from retune.store.errors import StoreCorruptError, StoreWriteError

__all__ = [
    "NIGHT_FILE",
    "clear_nights",
    "night_folders",
    "predicted_name",
    "predictions_name",
    "remember_night_folder",
]

#: The summary of the last night, in the folder of the nights.
NIGHT_FILE: Final = "last-night.json"
_FOLDERS = "nights.json"
_PREDICTED, _PREDICTIONS = "predicted-", "predictions-"
_OLD = ".erased"


def predicted_name(run_id: str) -> str:
    """The file of the content digests that a run has predicted.

    >>> predicted_name("ab12")
    'predicted-ab12.txt'
    """
    return f"{_PREDICTED}{run_id}.txt"


def predictions_name(run_id: str, stamp: str, suffix: str) -> str:
    """The file of one night's predictions.

    >>> predictions_name("ab12", "20260131T020000", "csv")
    'predictions-ab12-20260131T020000.csv'
    """
    return f"{_PREDICTIONS}{run_id}-{stamp}.{suffix}"


def night_folders(root: Path) -> tuple[Path, ...]:
    """The folders into which `nightly` has written for a store.

    Raises:
        StoreCorruptError: The list of them cannot be read, so that `forget` would leave
            predictions behind.

    >>> night_folders(Path("no-such-store"))
    ()
    """
    file = root / _FOLDERS
    try:
        known = json.loads(file.read_text(encoding="utf-8"))
        return tuple(Path(one) for one in known["folders"])
    except FileNotFoundError:
        return ()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise StoreCorruptError(
            f"{file}, which names the folders of nights, cannot be read: {error}",
            "Remove that file, and run `retune-cli nightly` once for each folder.",
        ) from error


def remember_night_folder(root: Path, folder: Path) -> None:
    """Enter a folder, so that `forget` clears it and `verify --erased` searches it.

    Args:
        root: The store's folder.
        folder: Where predictions go.

    Raises:
        StoreWriteError: The disk refused.
    """
    known = night_folders(root)
    if folder.resolve() in known:
        return
    names = [str(one) for one in (*known, folder.resolve())]
    write_atomically(root / _FOLDERS, json.dumps({"folders": names}).encode())


def clear_nights(root: Path, erased: Erased) -> tuple[str, ...]:
    """Remove erased patients from what `nightly` wrote; doing it twice is harmless.

    Args:
        root: The store's folder.
        erased: Who goes.

    Returns:
        Notes for the receipt: folders that are not there any more.

    Raises:
        StoreWriteError: The disk refused.
    """
    notes = []
    for folder in night_folders(root):
        try:
            if not folder.is_dir():
                notes.append(f"the folder of nights {folder} is gone: not searched")
                continue
            for path in sorted(folder.iterdir()):
                _clear_file(path, erased)
        except OSError as error:
            raise StoreWriteError(
                f"predictions in {folder} cannot be erased: {error.strerror or error}",
                "Make that folder writable, or remove it, and repeat the command.",
            ) from error
    return tuple(notes)


def _clear_file(path: Path, erased: Erased) -> None:
    if path.name.endswith(_OLD):  # an erasure was interrupted
        original = path.with_name(path.name.removesuffix(_OLD))
        if original.exists():
            shred(path)
            return
        path = path.replace(original)
    if path.name == NIGHT_FILE or path.name.endswith(".partial"):
        text = path.read_bytes()
        if any(name.encode() in text for name in erased.names):
            shred(path)
    elif path.name.startswith(_PREDICTED):
        gone = {*erased.digests, *erased.shared_digests}
        lines = path.read_text(encoding="utf-8").split()
        kept = [line for line in lines if line not in gone]
        if len(kept) < len(lines):
            _exchange(path, "".join(f"{line}\n" for line in kept).encode())
    elif path.name.startswith(_PREDICTIONS) and path.suffix in _REWRITERS:
        try:
            content = _REWRITERS[path.suffix](path, _Paths(erased))
        except (ValueError, AttributeError, KeyError, pa.ArrowException):
            shred(path)  # nobody can tell whom it names
            return
        if content is not None:
            _exchange(path, content)


def _exchange(path: Path, content: bytes) -> None:
    """Put content in the place of a file, which is overwritten and removed."""
    old = path.with_name(path.name + _OLD)
    path.replace(old)
    write_atomically(path, content)
    shred(old)


class _Paths:
    """Tells whether a path is that of an erased image, wherever its dataset lies."""

    def __init__(self, erased: Erased) -> None:
        self._paths = {os.path.normpath(path) for path in erased.paths}
        # An image that has left the table is known by its id only.
        self._paths |= {name.partition("/")[2] for name in erased.image_ids} - {""}

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        parts = path.split("/")
        return any(
            "/".join(parts[start:]) in self._paths for start in range(len(parts))
        )


def _fewer_csv(path: Path, gone: _Paths) -> bytes | None:
    with path.open(encoding="utf-8", newline="") as stream:
        rows = list(csv.reader(stream))
    column = rows[0].index("path") if rows and "path" in rows[0] else None
    if column is None:
        return None
    kept = [row for row in rows if len(row) <= column or row[column] not in gone]
    if len(kept) == len(rows):
        return None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(kept)
    return text.getvalue().encode()


def _fewer_json(path: Path, gone: _Paths) -> bytes | None:
    rows: list[Any] = json.loads(path.read_text(encoding="utf-8"))
    kept = [row for row in rows if row.get("path") not in gone]
    if len(kept) == len(rows):
        return None
    return json.dumps(kept, ensure_ascii=False).encode()


def _fewer_parquet(path: Path, gone: _Paths) -> bytes | None:
    table = parquet.read_table(path)
    kept = [one not in gone for one in table["path"].to_pylist()]
    if all(kept):
        return None
    sink = pa.BufferOutputStream()
    parquet.write_table(table.filter(pa.array(kept, pa.bool_())), sink)
    return bytes(sink.getvalue())


_REWRITERS: Final[dict[str, Callable[[Path, _Paths], bytes | None]]] = {
    ".csv": _fewer_csv,
    ".json": _fewer_json,
    ".parquet": _fewer_parquet,
}
