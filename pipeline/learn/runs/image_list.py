"""The images of a run, by name: a Parquet file in the run's folder.

It holds ids, patients and content digests, as the catalog does, and no vector.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from retune.store.atomic_files import write_atomically
from retune.store.errors import TrainingError

__all__ = ["IMAGES_FILE", "ImageList", "read_image_list", "write_image_list"]

IMAGES_FILE = "images.parquet"
_COLUMNS = ("image_id", "population", "patient_id", "content_digest", "split")
Names = npt.NDArray[np.object_]


@dataclass(frozen=True)
class ImageList:
    """N images of a run; all arrays of shape (N,), str.

    Attributes:
        image_id: In the catalog.
        population: Whose patients they are.
        patient_id: In the population.
        content_digest: Digest of the image file.
        split: The split that the run had them in.
    """

    image_id: Names
    population: Names
    patient_id: Names
    content_digest: Names
    split: Names

    def of_splits(self, splits: Sequence[str]) -> "ImageList":
        """Those of some splits."""
        kept = np.isin(self.split.astype(str), list(splits))
        return ImageList(*(getattr(self, name)[kept] for name in _COLUMNS))


def write_image_list(folder: Path, images: ImageList) -> None:
    """Write the list into a run's folder.

    Raises:
        StoreWriteError: The disk refused.
    """
    table = pa.table(
        {
            name: pa.array(getattr(images, name), pa.string()).dictionary_encode()
            if name in ("population", "split")
            else pa.array(getattr(images, name), pa.string())
            for name in _COLUMNS
        }
    )
    content = io.BytesIO()
    pq.write_table(table, content, compression="zstd")
    write_atomically(folder / IMAGES_FILE, content.getvalue())


def read_image_list(folder: Path) -> ImageList:
    """Read what `write_image_list` wrote.

    Raises:
        TrainingError: The file is missing or damaged.
    """
    path = folder / IMAGES_FILE
    try:
        table = pq.read_table(pa.BufferReader(path.read_bytes()))
        return ImageList(
            *(np.asarray(table[name].to_pylist(), dtype=object) for name in _COLUMNS)
        )
    except (OSError, pa.ArrowException, KeyError) as error:
        raise TrainingError(
            f"{path} cannot be read: {error}",
            "It lists the images of the run. Train again.",
        ) from error
