"""Deciding what `embed` has to do, before anything heavy is loaded.

Millions of images are planned some at a time and in columns: as objects they would take
a kilobyte each. What is kept is what is to be done.
"""

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import ItemFailure
from retune.store.hidden_paths import real_path

from .images.reading import ImageItem

__all__ = [
    "FileStatuses",
    "ImageItems",
    "ImagePlan",
    "MissingFiles",
    "file_statuses",
    "plan_images",
    "plan_work",
]

_ITEM_COLUMNS = ("image_id", "root", "path", "inside")
_CHUNK = 65_536
_REPEATED = pa.dictionary(pa.int32(), pa.string())
_NOTHING = pa.schema(
    [
        ("image_id", pa.string()), ("root", _REPEATED), ("path", pa.string()),
        ("inside", pa.bool_()),
        ("error", _REPEATED),
    ]
).empty_table()  # fmt: skip


@dataclass(frozen=True)
class FileStatuses:
    """What the file system says of N files.

    Attributes:
        size_bytes: Shape (N,); 0 where there is no file.
        mtime_ns: Shape (N,); 0 where there is no file.
        errors: Why there is no file, by row.
    """

    size_bytes: npt.NDArray[np.int64]
    mtime_ns: npt.NDArray[np.int64]
    errors: Mapping[int, str] = field(default_factory=dict)


class ImageItems(Sequence[ImageItem]):
    """Images in columns, each made into an object when it is asked for.

    Attributes:
        table: With the columns `image_id`, `root`, `path` and `inside`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table: pa.Table = table.select(_ITEM_COLUMNS)

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @overload
    def __getitem__(self, index: int) -> ImageItem: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageItems": ...
    def __getitem__(self, index: int | slice) -> "ImageItem | ImageItems":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return ImageItems(
                    self.table.take(pa.array(range(start, stop, step), pa.int64()))
                )
            return ImageItems(self.table.slice(start, max(0, stop - start)))
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return next(iter(ImageItems(self.table.slice(index % len(self), 1))))

    def __iter__(self) -> Iterator[ImageItem]:
        for part in self.table.to_batches(max_chunksize=_CHUNK):
            columns = (part[name].to_pylist() for name in _ITEM_COLUMNS)
            yield from map(ImageItem, *columns)


class MissingFiles:
    """Images whose files are not there, each made into an object when it is told.

    Attributes:
        table: With the columns of `ImageItems` and `error`.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[ItemFailure]:
        for part in self.table.to_batches(max_chunksize=_CHUNK):
            errors = part["error"].to_pylist()
            items = ImageItems(pa.Table.from_batches([part]))
            for item, error in zip(items, errors, strict=True):
                yield ItemFailure(item.image_id, _path(item), "read", error, None)


@dataclass(frozen=True)
class ImagePlan:
    """What is to be done for the images of a store.

    Attributes:
        to_read: Files that are new, changed, or not yet encoded by this encoder.
        missing: Files that are not where the label table says.
        n_encoded: Images whose unchanged content has a vector already.
        n_refused: Images whose unchanged content could not be decoded before.
    """

    to_read: ImageItems
    missing: MissingFiles
    n_encoded: int
    n_refused: int


def file_statuses(work: pa.Table) -> FileStatuses:
    """Ask the file system about each image's file.

    Args:
        work: A part that `retune.store.queries.work.read_image_work` gives.
    """
    size_bytes, mtime_ns = np.zeros((2, work.num_rows), dtype=np.int64)
    errors = {}
    for row, item in enumerate(ImageItems(work)):
        try:
            # Plain os.path: a million Path objects would take seconds.
            status = os.stat(real_path(item.root, item.path))  # noqa: PTH116
        except OSError as error:
            errors[row] = error.strerror or str(error)
        else:
            size_bytes[row], mtime_ns[row] = status.st_size, status.st_mtime_ns
    return FileStatuses(size_bytes, mtime_ns, errors)


def _path(item: ImageItem) -> str:
    return os.path.join(item.root, item.path)  # noqa: PTH118 - see above


def plan_work(parts: Iterable[pa.Table], *, retry_failed: bool) -> ImagePlan:
    """Ask the file system about images and sort them; see `plan_images`.

    Args:
        parts: As `retune.store.queries.work.read_image_work` gives them.
        retry_failed: Read again what could not be decoded before.
    """
    to_read = [_NOTHING.select(_ITEM_COLUMNS)]
    missing = [_NOTHING]
    n_encoded = n_refused = 0
    for part in parts:
        plan = plan_images(part, file_statuses(part), retry_failed=retry_failed)
        to_read.append(plan.to_read.table)
        missing.append(plan.missing.table)
        n_encoded += plan.n_encoded
        n_refused += plan.n_refused
    return ImagePlan(
        ImageItems(pa.concat_tables(to_read)),
        MissingFiles(pa.concat_tables(missing)),
        n_encoded,
        n_refused,
    )


def plan_images(
    work: pa.Table, statuses: FileStatuses, *, retry_failed: bool
) -> ImagePlan:
    """Sort images into those to read, those that are missing, and those that are done.

    Content counts, not names: a file is skipped only if its size and time are those
    that it had when it was read, and what was read then has a vector of this encoder.

    Args:
        work: A part that `retune.store.queries.work.read_image_work` gives, N rows.
        statuses: What the file system says of them.
        retry_failed: Read again what could not be decoded before.
    """
    absent = np.zeros(work.num_rows, dtype=bool)
    rows = sorted(statuses.errors)
    absent[rows] = True
    unchanged = (
        ~_numbers(work, "content_digest").astype(bool)
        & (_numbers(work, "size_bytes") == statuses.size_bytes)
        & (_numbers(work, "mtime_ns") == statuses.mtime_ns)
        & ~absent
    )
    encoded = unchanged & _numbers(work, "encoded").astype(bool)
    refused = unchanged & ~encoded & _numbers(work, "failed").astype(bool)
    if retry_failed:
        refused[:] = False
    to_read = ~absent & ~encoded & ~refused
    why = pa.array([statuses.errors[row] for row in rows], pa.string())
    gone = work.select(_ITEM_COLUMNS).filter(pa.array(absent))
    return ImagePlan(
        ImageItems(work.filter(pa.array(to_read))),
        MissingFiles(gone.append_column("error", why.dictionary_encode())),
        int(encoded.sum()),
        int(refused.sum()),
    )


def _numbers(work: pa.Table, name: str) -> npt.NDArray[np.int64]:
    """A column as numbers, −1 where it is null; of text, whether it is null."""
    column = work[name]
    if pa.types.is_string(column.type) or pa.types.is_null(column.type):
        return np.asarray(column.is_null()).astype(np.int64)
    numbers: npt.NDArray[np.int64] = np.asarray(
        column.cast(pa.int64()).fill_null(-1)
    ).astype(np.int64)
    return numbers
