"""Files, folders, patterns and pictures become one list of images, in order."""

import glob
import os
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias, overload

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from PIL import Image

from retune.store import ItemFailure

from ...encode.images.dicom.decoding import is_dicom
from ...encode.images.preprocess import Preprocess
from ...encode.images.reading import ImageItem, ReadImage, read_image
from .pictures import Picture, read_picture

__all__ = ["IMAGE_SUFFIXES", "ImageSources", "Source", "find_images"]

Source: TypeAlias = str | os.PathLike[str] | Picture

#: What files in a folder are called that are taken for images; capitals count as well.
IMAGE_SUFFIXES = (
    ".bmp", ".dcm", ".dicom", ".jpeg", ".jpg", ".png", ".tif", ".tiff",
)  # fmt: skip
_CHUNK = 65_536
_DICOM_HEAD_BYTES = 132


@dataclass(frozen=True, slots=True)
class _Found:
    """One image to read, or why there is none."""

    path: str
    error: str = ""
    picture: Picture | None = None


class ImageSources(Sequence[ImageItem]):
    """Images in the order in which they were given.

    A million paths are kept in columns, in about 100 bytes each; each image becomes an
    object when it is asked for. Its `image_id` is its place in the whole list.

    Args:
        paths: As the file system spells them, N.
        given: Which of the things given each image came from, shape (N,).
        errors: Place -> why there is no image.
        pictures: Place -> picture in memory.
        first: Place of the first image in the whole list.
    """

    def __init__(
        self,
        paths: pa.Array,
        given: npt.NDArray[np.int64],
        errors: dict[int, str],
        pictures: dict[int, Picture],
        first: int = 0,
    ) -> None:
        self._paths, self._given, self._first = paths, given, first
        self._errors, self._pictures = errors, pictures

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, index: int) -> ImageItem: ...
    @overload
    def __getitem__(self, index: slice) -> "ImageSources": ...
    def __getitem__(self, index: int | slice) -> "ImageItem | ImageSources":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1, "images are taken in order"
            return ImageSources(
                self._paths.slice(start, max(0, stop - start)),
                self._given[start:stop],
                self._errors,
                self._pictures,
                self._first + start,
            )
        row = range(len(self))[index]
        path = os.fsdecode(self._paths[row].as_py())
        return ImageItem(str(self._first + row), "", path)

    def given_as(self, item: ImageItem) -> int:
        """Which of the things given an image came from."""
        return int(self._given[int(item.image_id) - self._first])

    def path_of(self, item: ImageItem) -> str | None:
        """An image's path, fit to be printed; None for a picture in memory."""
        if int(item.image_id) in self._pictures:
            return None
        return os.fsencode(item.path).decode(errors="backslashreplace")

    def read(self, item: ImageItem, preprocess: Preprocess) -> ReadImage:
        """Read and preprocess one image."""
        index = int(item.image_id)
        if index in self._errors:
            failure = ItemFailure(
                item.image_id, item.path, "read", self._errors[index], None
            )
            return ReadImage(item, None, None, failure)
        if index in self._pictures:
            return read_picture(item, self._pictures[index], preprocess)
        return read_image(
            item, preprocess.to_pixels, lambda _: False, preprocess.decode_at_least
        )


def find_images(sources: Iterable[Source]) -> ImageSources:
    """Turn what was given into a list of images.

    Args:
        sources: Files; folders, which are searched with all folders in them for files
            with one of `IMAGE_SUFFIXES` and for DICOM files without a suffix; patterns
            such as ``scans/*.png`` or ``scans/**/*.dcm``; pictures in memory.

    Returns:
        At least one image for each source: where there is none, it says why. Files of
        a folder and of a pattern are sorted by name.
    """
    chunks: list[pa.Array] = []
    given, names = array("q"), list[bytes]()
    errors, pictures = dict[int, str](), dict[int, Picture]()
    for number, source in enumerate(sources):
        for source_image in _look_for(source):
            if source_image.error:
                errors[len(given)] = source_image.error
            if source_image.picture is not None:
                pictures[len(given)] = source_image.picture
            given.append(number)
            names.append(os.fsencode(source_image.path))
            if len(names) == _CHUNK:
                chunks.append(pa.array(names, pa.large_binary()))
                names.clear()
    chunks.append(pa.array(names, pa.large_binary()))
    which = np.array(given, dtype=np.int64)
    return ImageSources(pa.concat_arrays(chunks), which, errors, pictures)


def _look_for(source: object) -> Iterator[_Found]:
    if isinstance(source, Image.Image | np.ndarray):
        yield _Found("", picture=source)
        return
    if not isinstance(source, str | os.PathLike):
        yield _Found("", f"no path and no picture, but {type(source).__name__}")
        return
    name = os.fspath(source)
    if not name or "\0" in name:
        yield _Found(name.replace("\0", "\\0"), "this is no path")
    elif os.path.isdir(name):  # noqa: PTH112 - plain strings: there may be a million
        yield from _in_folder(name)
    elif glob.has_magic(name) and not os.path.lexists(name):
        yield from _fitting(name)
    else:
        yield _Found(name)


def _fitting(pattern: str) -> Iterator[_Found]:
    """What fits a pattern; folders are searched, except with ``**``, which did that."""
    names = sorted(glob.iglob(pattern, recursive=True))  # noqa: PTH207 - see above
    folders = {name for name in names if os.path.isdir(name)}  # noqa: PTH112
    if "**" in pattern:
        names = [name for name in names if name not in folders]
    if not names:
        yield _Found(pattern, "no file fits this pattern")
    for name in names:
        yield from _in_folder(name) if name in folders else (_Found(name),)


def _in_folder(folder: str) -> Iterator[_Found]:
    n_found = 0
    for source_image in _walk(folder, set()):
        n_found += 1
        yield source_image
    if not n_found:
        yield _Found(
            folder,
            "no image in this folder: no DICOM file and no name that ends in "
            + ", ".join(IMAGE_SUFFIXES),
        )


def _walk(folder: str, above: set[tuple[int, int]]) -> Iterator[_Found]:
    """Images of a folder and of those in it, links too, but none in a circle."""
    try:
        status = os.stat(folder)  # noqa: PTH116
        with os.scandir(folder) as entries:
            names = sorted(
                (entry.name, entry.is_dir())
                for entry in entries
                if not entry.name.startswith(".")
            )
    except OSError as error:
        yield _Found(folder, error.strerror or str(error))
        return
    here = (status.st_dev, status.st_ino)
    if here in above:
        return
    for name, is_folder in names:
        path = os.path.join(folder, name)  # noqa: PTH118
        if is_folder:
            yield from _walk(path, above | {here})
        elif _is_image(path, name):
            yield _Found(path)


def _is_image(path: str, name: str) -> bool:
    """Whether a file is taken for an image: by its suffix, or as DICOM without one."""
    suffix = os.path.splitext(name)[1].lower()  # noqa: PTH122
    if suffix in IMAGE_SUFFIXES:
        return True
    if suffix and not suffix[1:].isdigit():  # "1.2.840.10008.1" is a name of DICOM's
        return False
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return is_dicom(file.read(_DICOM_HEAD_BYTES))
    except OSError:
        return False
