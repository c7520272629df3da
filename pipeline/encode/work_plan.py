"""Deciding what `embed` has to do, before anything heavy is loaded."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from retune.store import ItemFailure

from .reading_images import ImageItem

__all__ = ["FileStatus", "ImagePlan", "file_statuses", "plan_images"]


@dataclass(frozen=True)
class FileStatus:
    """What the file system says of a file; `error` if it says that it is not there."""

    size_bytes: int = 0
    mtime_ns: int = 0
    error: str = ""


@dataclass(frozen=True)
class ImagePlan:
    """What is to be done for the images of a store.

    Attributes:
        to_read: Files that are new, changed, or not yet encoded by this encoder.
        missing: Files that are not where the label table says.
        n_encoded: Images whose unchanged content has a vector already.
        n_refused: Images whose unchanged content could not be decoded before.
    """

    to_read: tuple[ImageItem, ...]
    missing: tuple[ItemFailure, ...]
    n_encoded: int
    n_refused: int


def file_statuses(work: pa.Table) -> dict[str, FileStatus]:
    """Ask the file system about each image's file; keys are image ids."""
    statuses = {}
    columns = (work[name].to_pylist() for name in ("image_id", "root", "path"))
    for image_id, root, path in zip(*columns, strict=True):
        try:
            # Plain os.path: a million Path objects would take seconds.
            found = os.stat(os.path.join(root, path))  # noqa: PTH116, PTH118
        except OSError as error:
            statuses[image_id] = FileStatus(error=error.strerror or str(error))
        else:
            statuses[image_id] = FileStatus(found.st_size, found.st_mtime_ns)
    return statuses


def plan_images(
    work: pa.Table, statuses: Mapping[str, FileStatus], *, retry_failed: bool
) -> ImagePlan:
    """Sort images into those to read, those that are missing, and those that are done.

    Content counts, not names: a file is skipped only if its size and time are those
    that it had when it was read, and what was read then has a vector of this encoder.

    Args:
        work: As `retune.store.work.read_image_work` gives it.
        statuses: What the file system says, by image id.
        retry_failed: Read again what could not be decoded before.
    """
    to_read: list[ImageItem] = []
    missing: list[ItemFailure] = []
    n_encoded = n_refused = 0
    for row in work.to_pylist():
        status = statuses[row["image_id"]]
        unchanged = row["content_digest"] is not None and (
            (status.size_bytes, status.mtime_ns) == (row["size_bytes"], row["mtime_ns"])
        )
        item = ImageItem(row["image_id"], row["root"], row["path"])
        if status.error:
            path = os.path.join(item.root, item.path)  # noqa: PTH118 - as above
            missing.append(ItemFailure(item.image_id, path, "read", status.error, None))
        elif unchanged and row["encoded"]:
            n_encoded += 1
        elif unchanged and row["failed"] and not retry_failed:
            n_refused += 1
        else:
            to_read.append(item)
    return ImagePlan(tuple(to_read), tuple(missing), n_encoded, n_refused)
