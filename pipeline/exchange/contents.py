"""Which contents of images have a vector, and which get one now."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import content_digest
from retune.store.changes.rows import as_strings

__all__ = ["Contents"]

#: What the content digest of an image is made of whose file nobody has.
_STAND_IN: Final = "image without a file: "


@dataclass(frozen=True)
class Contents:
    """Content digests of N images, and which of them have a vector.

    Attributes:
        keys: Shape (N,), 32 bytes each; empty where there is no file, until the image
            gets a stand-in.
        known: Sorted digests that had a vector before.
        number: Number of each image's content, shape (N,); equal where keys are.
        taken: Whether a content has a vector, by its number.
        first: Room for where a content comes first in a block, by its number.
    """

    keys: npt.NDArray[np.bytes_]
    known: npt.NDArray[np.bytes_]
    number: npt.NDArray[np.int64]
    taken: npt.NDArray[np.bool_]
    first: npt.NDArray[np.int64]

    @staticmethod
    def of(keys: npt.NDArray[np.bytes_], known: npt.NDArray[np.bytes_]) -> "Contents":
        """With sorted keys that have a vector from before.

        >>> contents = Contents.of(np.array([b"a", b"", b"a", b"c"], "S32"),
        ...     np.array([b"c"], "S32"))
        >>> contents.take(np.array([0, 2, 3])).tolist()
        [True, False, False]
        """
        keys = keys.copy()
        number = np.arange(len(keys), dtype=np.int64)
        have = np.flatnonzero(keys != b"")
        if len(have):
            encoded = as_strings(keys[have]).dictionary_encode().indices
            of_content = encoded.to_numpy(zero_copy_only=False)
            representative = np.zeros(len(have), dtype=np.int64)
            representative[of_content[::-1]] = have[::-1]  # the last assigned stays
            number[have] = representative[of_content]
        taken = np.zeros(len(keys), dtype=bool)
        taken[have] = _are_in(keys[have], known)
        return Contents(keys, known, number, taken, np.zeros_like(number))

    def stand_in(self, image_rows: npt.NDArray[np.int64], ids: pa.Array) -> pa.Table:
        """Give images without a file a digest of their id.

        Args:
            image_rows: Rows of images; those that have no key get one.
            ids: Ids of all images, N.

        Returns:
            Columns `image_id` and `content_digest` of those that got one now.
        """
        rows = image_rows[self.keys[image_rows] == b""]
        names = ids.take(pa.array(rows))
        texts = names.to_pylist()
        digests = [content_digest((_STAND_IN + text).encode()) for text in texts]
        self.keys[rows] = digests
        self.taken[rows] = _are_in(self.keys[rows], self.known)
        column = pa.array(digests, pa.string())
        return pa.table({"image_id": names, "content_digest": column})

    def take(self, image_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these images get a vector now; they have one from then on.

        Two images of one content share a vector: that of the first.
        """
        number = self.number[image_rows]
        order = np.arange(len(number))
        self.first[number[::-1]] = order[::-1]  # the last assigned stays
        new: npt.NDArray[np.bool_] = self.first[number] == order
        new &= ~self.taken[number]
        self.taken[number[new]] = True
        return new


def _are_in(
    keys: npt.NDArray[np.bytes_], known: npt.NDArray[np.bytes_]
) -> npt.NDArray[np.bool_]:
    """Which keys are among sorted ones."""
    if not len(known) or not len(keys):
        return np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    is_known: npt.NDArray[np.bool_] = known[at] == keys
    return is_known
