"""What a file with vectors is, whatever its format."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

__all__ = [
    "BLOCK_ROWS",
    "Block",
    "ColumnNames",
    "VectorTable",
    "choose_column",
    "list_block",
    "stored_type",
    "usual_length",
    "whole_block",
]

#: Rows that are read at a time; a shard has as many.
BLOCK_ROWS = 16_384
_FLOATS = ("float16", "float32", "float64")
#: What can hold vectors or ids.
_FIT = {
    "vectors": "Vectors are lists of float16, float32 or float64, or a matrix of them. "
    "Convert others first: integers that stand for floats, bfloat16, nested lists.",
    "ids": "Ids are text or whole numbers, one for each vector.",
}


@dataclass(frozen=True)
class ColumnNames:
    """How a user's file calls what is needed of it; None: found by its type.

    Attributes:
        ids: Says which image a vector is of.
        vectors: Holds the vectors.
    """

    ids: str | None = None
    vectors: str | None = None


@dataclass(frozen=True)
class Block:
    """Some rows of a file, in order.

    Attributes:
        vectors: Shape (n, D), floating; zeros where a row has another length.
        lengths: Numbers that each row really has, shape (n,); -1 where it is null.
    """

    vectors: npt.NDArray[np.floating]
    lengths: npt.NDArray[np.int64]


class VectorTable(Protocol):
    """N rows of vectors with ids, read in blocks; nothing is kept in memory."""

    @property
    def path(self) -> Path:
        """Where it lies, for messages."""

    @property
    def n_rows(self) -> int:
        """N."""

    @property
    def dim(self) -> int:
        """D."""

    @property
    def dtype(self) -> str:
        """``float16`` or ``float32``; float64 is read as float32."""

    def ids(self) -> pa.Array | None:
        """What says of each row which image it is of, N strings; None: nothing does.

        Raises:
            ConfigurationError: The column for it is not there, or not named.
            DatasetError: It cannot be read.
        """

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further columns of text, N rows; those that are not there are left out."""

    def blocks(self) -> Iterator[Block]:
        """All rows in order.

        Raises:
            DatasetError: They cannot be read.
        """


def choose_column(
    path: Path, role: str, given: str | None, fitting: Sequence[str], have: object
) -> str:
    """The column that a user named, or the only one that fits.

    Args:
        path: The file, for messages.
        role: ``ids`` or ``vectors``.
        given: What the user named.
        fitting: Columns whose type is right.
        have: All columns, for messages.

    Raises:
        ConfigurationError: It is not there, or several could be meant.
    """
    if given is not None:
        if given in fitting:
            return given
        raise ConfigurationError(
            f"{path} has no column {given!r} that could hold {role}; it has: {have}",
            f"Name the right one with `{role}`. {_FIT[role]}",
        )
    if len(fitting) == 1:
        return fitting[0]
    raise ConfigurationError(
        f"{path} has {counted(len(fitting), 'column')} that could hold {role}; it has: "
        f"{have}",
        f"Name the one to take with `{role}`." if fitting else _FIT[role],
    )


def stored_type(path: Path, dtype: np.dtype[np.generic]) -> str:
    """The type that vectors of a file are kept in.

    Raises:
        DatasetError: They are no floating-point numbers.
    """
    name = np.dtype(dtype).newbyteorder("=").name
    if name not in _FLOATS:
        raise DatasetError(
            f"the vectors in {path} are {name}; they have to be float16, float32 or "
            "float64",
            "Convert them first. Integers that stand for floats and bfloat16 lose "
            "nothing as float32.",
        )
    return "float32" if name == "float64" else name


def whole_block(vectors: npt.NDArray[np.floating]) -> Block:
    """A block of a matrix, in which no row has another length."""
    lengths = np.full(len(vectors), vectors.shape[1], dtype=np.int64)
    return Block(vectors, lengths)


def usual_length(lengths: npt.NDArray[np.int64]) -> int:
    """The length that most rows have; 0 if none has any.

    >>> usual_length(np.array([3, 3, -1, 4]))
    3
    """
    real = lengths[lengths > 0]
    return int(np.bincount(real).argmax()) if len(real) else 0


def list_block(
    flat: npt.NDArray[np.floating],
    lengths: npt.NDArray[np.int64],
    dim: int,
    dtype: str,
) -> Block:
    """A block of lists that need not be equally long.

    Args:
        flat: The numbers of all lists in a row.
        lengths: Lengths of each list, shape (n,); -1 for null, which has no numbers.
        dim: D.
        dtype: Type of the block's vectors.

    >>> block = list_block(np.arange(5.0), np.array([2, -1, 3]), 2, "float32")
    >>> block.vectors.tolist(), block.lengths.tolist()
    ([[0.0, 1.0], [0.0, 0.0], [0.0, 0.0]], [2, -1, 3])
    """
    value_type = np.dtype(dtype)
    if (lengths == dim).all():
        with np.errstate(over="ignore", invalid="ignore"):
            return Block(flat.reshape(-1, dim).astype(value_type, copy=False), lengths)
    starts = np.cumsum(np.maximum(lengths, 0)) - np.maximum(lengths, 0)
    vectors = np.zeros((len(lengths), dim), dtype=value_type)
    right = np.flatnonzero(lengths == dim)
    if len(right):
        vectors[right] = flat[starts[right, np.newaxis] + np.arange(dim)]
    return Block(vectors, lengths)
