"""The images of a run, by name: a Parquet file in the run's folder.

It holds ids, patients and content digests, as the catalog does, and no vector.
"""

import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.store.atomic_files import write_atomically
from retune.store.errors import TrainingError

__all__ = ["IMAGES_FILE", "ImageList", "read_image_list", "write_image_list"]

IMAGES_FILE = "images.parquet"
_COLUMNS = ("image_id", "population", "patient_id", "content_digest", "split")
_PART_ROWS = 65_536
#: Columns of few values.
_REPEATED = ("population", "split")
Names = npt.NDArray[np.object_]


@dataclass(frozen=True)
class ImageList:
    """N images of a run.

    They lie in columns, and become objects when they are asked for: a name as an object
    takes four times its length.

    Attributes:
        table: The columns `image_id` (in the catalog), `population` (whose patients
            they are), `patient_id` (in the population), `content_digest` (of the image
            file) and `split` (that the run had them in); text.
    """

    table: pa.Table

    @classmethod
    def of(
        cls, *columns: Sequence[str | None] | Names | pa.ChunkedArray
    ) -> "ImageList":
        """A list from the columns in their order, each of length N.

        >>> ImageList.of(["a/1.png"], ["a"], ["7"], ["0f"], ["test"]).split.tolist()
        ['test']
        """
        arrays = [
            one if isinstance(one, pa.ChunkedArray) else pa.array(one, pa.string())
            for one in columns
        ]
        return cls(pa.table(dict(zip(_COLUMNS, arrays, strict=True))))

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def image_id(self) -> Names:
        """Shape (N,), str; as the other columns, made anew each time."""
        return self._names("image_id")

    @property
    def population(self) -> Names:
        """Shape (N,), str."""
        return self._names("population")

    @property
    def patient_id(self) -> Names:
        """Shape (N,), str."""
        return self._names("patient_id")

    @property
    def content_digest(self) -> Names:
        """Shape (N,), str, or None where no image was read."""
        return self._names("content_digest")

    @property
    def split(self) -> Names:
        """Shape (N,), str."""
        return self._names("split")

    def _names(self, name: str) -> Names:
        return np.asarray(self.table[name].to_pylist(), dtype=object)

    def owners(self) -> Iterator[tuple[str, str]]:
        """Population and patient of each image; few of them are objects at a time."""
        names = self.table.select(["population", "patient_id"])
        for part in names.to_batches(max_chunksize=_PART_ROWS):
            yield from zip(*(one.to_pylist() for one in part.columns), strict=True)

    def of_splits(self, splits: Sequence[str]) -> "ImageList":
        """Those of some splits."""
        kept = pc.is_in(self.table["split"], value_set=pa.array(splits, pa.string()))
        return ImageList(self.table.filter(kept))

    def only(self, chosen: npt.NDArray[np.bool_]) -> "ImageList":
        """Those for which `chosen`, shape (N,), is true."""
        return ImageList(self.table.filter(pa.array(chosen)))


def write_image_list(folder: Path, images: ImageList) -> None:
    """Write the list into a run's folder.

    Raises:
        StoreWriteError: The disk refused.
    """
    table = images.table
    for name in _REPEATED:
        column_index = table.column_names.index(name)
        table = table.set_column(column_index, name, table[name].dictionary_encode())
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
        return ImageList.of(*(table[name].cast(pa.string()) for name in _COLUMNS))
    except (OSError, pa.ArrowException, KeyError) as error:
        raise TrainingError(
            f"{path} cannot be read: {error}",
            "It lists the images of the run. Train again.",
        ) from error
