"""Which image of a store each row of a file is of."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError
from retune.store.plural import counted

__all__ = ["JOINS", "Match", "match_by_position", "match_ids"]

#: Ways to name an image, in the order in which they are tried.
JOINS: Final = ("image_id", "path", "name", "digest")
_SHOWN = 5


@dataclass(frozen=True)
class Match:
    """Rows of files beside images of a store.

    Attributes:
        image_row: Row of the image for each row of the files, shape (N,); -1 for none.
        join: How images were named: one of `JOINS`, or ``position``.
        n_unmatched: Rows whose id is of no image, or of several.
        unmatched: Some of their ids.
        n_double: Rows whose image has had a row before; the first counts.
        double: Some of their ids.
    """

    image_row: npt.NDArray[np.int64]
    join: str
    n_unmatched: int = 0
    unmatched: tuple[str, ...] = ()
    n_double: int = 0
    double: tuple[str, ...] = ()


def match_ids(ids: pa.Array, images: pa.Table, join: str = "auto") -> Match:
    """Find the image of each id.

    Args:
        ids: N strings.
        images: With the columns `image_id`, `path` and `content_digest`.
        join: One of `JOINS`; ``auto`` takes the one by which most ids are found.

    Raises:
        ConfigurationError: `join` is unknown, or no id is that of an image.

    Example:
        >>> images = pa.table({"image_id": ["nih/a.png", "nih/b.png"],
        ...     "path": ["a.png", "b.png"], "content_digest": ["", ""]})
        >>> match = match_ids(pa.array(["b", "x", "b"]), images)
        >>> match.image_row.tolist(), match.join, match.unmatched, match.double
        ([1, -1, -1], 'name', ('x',), ('b',))
    """
    if join not in ("auto", *JOINS):
        raise ConfigurationError(
            f"unknown `join` {join!r}", f"Use auto, {', '.join(JOINS)}."
        )
    best: tuple[int, str, npt.NDArray[np.int64]] | None = None
    for name in JOINS if join == "auto" else (join,):
        image_rows = _look_up(
            _SPELLED[name](ids), _SPELLED[name](images[_COLUMN[name]])
        )
        n_found = int((image_rows >= 0).sum())
        if best is None or n_found > best[0]:
            best = n_found, name, image_rows
        if n_found == len(ids):
            break
    assert best is not None
    if not best[0]:
        raise ConfigurationError(
            f"none of {counted(len(ids), 'id')} is that of an image of the store; ids: "
            f"{_some(ids)}; images: {_some(images['image_id'])}",
            "Name the right column with `ids`; ids have to be image ids, paths, file "
            "names or content digests.",
        )
    return _counted(ids, best[2], best[1])


def match_by_position(n_rows: int, images: pa.Table) -> Match:
    """Row n of the files is image n, in the order of image ids.

    Raises:
        ConfigurationError: There are not as many of the one as of the other.
    """
    if n_rows != len(images):
        raise ConfigurationError(
            f"`by_position` needs equal lengths: {counted(n_rows, 'vector')} and "
            f"{counted(len(images), 'image')}",
            "Name a column with `ids`, or choose the images with `dataset`.",
        )
    order = pc.sort_indices(images["image_id"]).to_numpy()
    return Match(order.astype(np.int64), "position")


def _names(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    """File names without folders and endings.

    >>> _names(pa.array(["p10/s1/ab.dcm.png", "ab.c", None])).to_pylist()
    ['ab.dcm', 'ab', None]
    """
    bare = pc.replace_substring_regex(values, r"^.*[/\\]", "")
    return _as_they_are(pc.replace_substring_regex(bare, r"(.)\.[^.]*$", r"\1"))


def _as_they_are(values: pa.ChunkedArray | pa.Array) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


_SPELLED: Final[dict[str, Callable[[pa.Array], pa.Array]]] = {
    "image_id": _as_they_are,
    "path": _as_they_are,
    "name": _names,
    "digest": _as_they_are,
}
_COLUMN: Final = {
    "image_id": "image_id",
    "path": "path",
    "name": "path",
    "digest": "content_digest",
}


def _look_up(ids: pa.Array, names: pa.Array) -> npt.NDArray[np.int64]:
    """Row of each id among names; -1 if there is none, or if several have the name."""
    indices = pc.index_in(ids, value_set=names, skip_nulls=True)
    image_rows: npt.NDArray[np.int64] = (
        indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    )
    counted = pc.value_counts(names)
    several = counted.field("values").filter(pc.greater(counted.field("counts"), 1))
    if len(several):
        image_rows[np.asarray(pc.is_in(ids, value_set=several))] = -1
    return image_rows


def _counted(ids: pa.Array, image_rows: npt.NDArray[np.int64], join: str) -> Match:
    matched = np.flatnonzero(image_rows >= 0)
    first = np.zeros(int(image_rows.max(initial=-1)) + 1, dtype=np.int64)
    first[image_rows[matched][::-1]] = matched[::-1]  # the last assigned stays
    again = matched[first[image_rows[matched]] != matched]
    unmatched = np.flatnonzero(image_rows < 0)
    kept = image_rows.copy()
    kept[again] = -1
    return Match(
        kept,
        join,
        len(unmatched),
        _shown(ids, unmatched),
        len(again),
        _shown(ids, again),
    )


def _shown(ids: pa.Array, rows: npt.NDArray[np.int64]) -> tuple[str, ...]:
    shown = ids.take(pa.array(rows[:_SHOWN])).to_pylist()
    return tuple("(no id)" if text is None else str(text) for text in shown)


def _some(values: pa.Array | pa.ChunkedArray) -> str:
    first = values.slice(0, 3).to_pylist()
    shown = ["(no id)" if text is None else str(text) for text in first]
    return ", ".join(shown) + (", …" if len(values) > len(shown) else "")
