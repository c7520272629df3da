"""Vectors as one block of numbers: .npy and .npz, read without mapping them.

Mapped pages would count as the process's memory; a file that is read into one buffer
after the other needs no more than a block.
"""

import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO

import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

from ..contract import (
    BLOCK_ROWS,
    Block,
    ColumnNames,
    choose_column,
    stored_type,
    whole_block,
)

__all__ = ["ArchiveTable", "MatrixFile", "MatrixTable", "strings_of"]

#: The last three: headers of .npy are read as an expression of Python.
_FAULTS = (
    OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error,
    NotImplementedError, TypeError, SyntaxError, tokenize.TokenError,
)  # fmt: skip


@dataclass(frozen=True)
class MatrixFile:
    """An array in NumPy's format, alone or as a member of an archive.

    Attributes:
        path: The file.
        member: Its name in an archive; None: the file is the array.
    """

    path: Path
    member: str | None = None

    @cached_property
    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
        try:
            with self._opened() as file:
                header = _read_header(file)
            self._check_size(*header)
        except _FAULTS as error:
            raise self._unreadable(error) from error
        return header

    @property
    def shape(self) -> tuple[int, ...]:
        """As its header says.

        Raises:
            DatasetError: The file cannot be read.
        """
        return self._header[0]

    @property
    def dtype(self) -> np.dtype[np.generic]:
        """As its header says."""
        return self._header[2]

    def read(self) -> npt.NDArray[np.generic]:
        """The whole array; for ids, which are small.

        Raises:
            DatasetError: It cannot be read, or holds Python objects.
        """
        try:
            with self._opened() as file:
                array: npt.NDArray[np.generic] = npy.read_array(
                    file, allow_pickle=False
                )
                return array
        except _FAULTS as error:
            raise self._unreadable(error) from error

    def blocks(self) -> Iterator[npt.NDArray[np.generic]]:
        """Rows in order, some at a time.

        Raises:
            DatasetError: It cannot be read.
        """
        (n_rows, *rest), by_columns, dtype = self._header
        try:
            if by_columns and len(self.shape) > 1:
                yield from self._mapped_blocks()
                return
            with self._opened() as file:
                _read_header(file)
                for start in range(0, n_rows, BLOCK_ROWS):
                    n = min(BLOCK_ROWS, n_rows - start)
                    block = np.empty((n, *rest), dtype=dtype)
                    _fill(file, block.reshape(-1).view(np.uint8).data)
                    yield block
        except _FAULTS as error:
            raise self._unreadable(error) from error

    def _check_size(
        self, shape: tuple[int, ...], by_columns: bool, dtype: np.dtype[np.generic]
    ) -> None:
        """A header that promises more than there is must not have room made for it."""
        del by_columns
        if self.member is None:
            there = self.path.stat().st_size
        else:
            with zipfile.ZipFile(self.path) as archive:
                there = archive.getinfo(self.member).file_size
        if math.prod(shape) * dtype.itemsize > there:
            raise EOFError("it is cut short")

    def _mapped_blocks(self) -> Iterator[npt.NDArray[np.generic]]:
        """Of an array that is stored by columns: rows are spread over the file."""
        whole = (
            np.load(self.path, mmap_mode="r", allow_pickle=False)
            if self.member is None
            else self.read()
        )
        for start in range(0, len(whole), BLOCK_ROWS):
            yield np.ascontiguousarray(whole[start : start + BLOCK_ROWS])

    @contextmanager
    def _opened(self) -> Iterator[IO[bytes]]:
        with ExitStack() as stack:
            if self.member is None:
                yield stack.enter_context(self.path.open("rb"))
            else:
                archive = stack.enter_context(zipfile.ZipFile(self.path))
                yield stack.enter_context(archive.open(self.member))

    def _unreadable(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"cannot read {self.path}: {error}",
            "It has to be an array of numbers or text as numpy.save or numpy.savez "
            "writes it; arrays of Python objects are never read.",
        )


def _read_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = npy.read_magic(file)
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, by_columns, dtype = read(file)
    if dtype.hasobject:
        raise ValueError("it holds Python objects")
    return shape, by_columns, dtype


def _fill(file: IO[bytes], left: memoryview) -> None:
    while left:
        n_read = file.readinto(left)  # type: ignore[attr-defined]  # both kinds have it
        if not n_read:
            raise EOFError("it is cut short")
        left = left[n_read:]


def strings_of(values: npt.NDArray[np.generic], path: Path) -> pa.Array:
    """Ids as strings, from text, bytes or whole numbers.

    Raises:
        DatasetError: They are something else.

    >>> strings_of(np.array([b"a", b"b"]), Path("x")).to_pylist()
    ['a', 'b']
    """
    if values.ndim != 1 or values.dtype.kind not in "USiu":
        raise DatasetError(
            f"the ids in {path} are {values.dtype} of shape {values.shape}",
            "Ids have to be one list of text or whole numbers.",
        )
    try:
        if values.dtype.kind == "S":
            values = np.char.decode(values.astype(np.bytes_), "utf-8")
        return pa.array(values.astype(str).tolist(), pa.string())
    except UnicodeDecodeError as error:
        raise DatasetError(f"the ids in {path} are no UTF-8: {error}") from error


@dataclass(frozen=True)
class MatrixTable:
    """A matrix of vectors, with ids from elsewhere or none.

    Attributes:
        matrix: Shape (N, D).
        beside: The table whose rows belong to the matrix's; None: there is none.
        id_column: Its column with the ids.
    """

    matrix: MatrixFile
    beside: pa.Table | None = None
    id_column: str | None = None

    @property
    def path(self) -> Path:
        """The matrix's file."""
        return self.matrix.path

    @cached_property
    def dtype(self) -> str:
        """``float16`` or ``float32``."""
        return stored_type(self.path, self.matrix.dtype)

    @cached_property
    def _shape(self) -> tuple[int, int]:
        if len(self.matrix.shape) != 2:
            raise DatasetError(
                f"the vectors in {self.path} have shape {self.matrix.shape}, not "
                "(N, D)",
                "They have to be one matrix with a row for each image.",
            )
        return self.matrix.shape[0], self.matrix.shape[1]

    @property
    def n_rows(self) -> int:
        """N."""
        return self._shape[0]

    @property
    def dim(self) -> int:
        """D."""
        return self._shape[1]

    def ids(self) -> pa.Array | None:
        """The ids beside the matrix."""
        if self.beside is None:
            return None
        have = ", ".join(self.beside.column_names)
        fitting = self.beside.column_names
        name = choose_column(self.path, "ids", self.id_column, fitting, have)
        return self.beside[name].combine_chunks()

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further columns of the table beside the matrix."""
        if self.beside is None:
            return pa.table({})
        present = [name for name in names if name in self.beside.column_names]
        return self.beside.select(present)

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        for block in self.matrix.blocks():
            with np.errstate(over="ignore", invalid="ignore"):
                yield whole_block(block.astype(self.dtype, copy=False))


@dataclass(frozen=True)
class ArchiveTable:
    """An .npz with an array of vectors and one of ids.

    Attributes:
        path: The file.
        names: How the user calls its arrays.
    """

    path: Path
    names: ColumnNames = field(default_factory=ColumnNames)

    @cached_property
    def _members(self) -> dict[str, MatrixFile]:
        try:
            with zipfile.ZipFile(self.path) as archive:
                listed = archive.namelist()
        except _FAULTS as error:
            raise DatasetError(f"cannot read {self.path}: {error}") from error
        return {
            name.removesuffix(".npy"): MatrixFile(self.path, name)
            for name in listed
            if name.endswith(".npy")
        }

    @cached_property
    def _matrix(self) -> MatrixTable:
        shapes = {name: one.shape for name, one in self._members.items()}
        fitting = [name for name, shape in shapes.items() if len(shape) == 2]
        name = choose_column(self.path, "vectors", self.names.vectors, fitting, shapes)
        return MatrixTable(self._members[name])

    @property
    def dtype(self) -> str:
        """``float16`` or ``float32``."""
        return self._matrix.dtype

    @property
    def n_rows(self) -> int:
        """N."""
        return self._matrix.n_rows

    @property
    def dim(self) -> int:
        """D."""
        return self._matrix.dim

    def ids(self) -> pa.Array | None:
        """The array of ids."""
        lists = [name for name, one in self._members.items() if len(one.shape) == 1]
        if not lists and self.names.ids is None:
            return None
        have = ", ".join(self._members)
        name = choose_column(self.path, "ids", self.names.ids, lists, have)
        names = strings_of(self._members[name].read(), self.path)
        if len(names) != self.n_rows:
            raise ConfigurationError(
                f"{self.path} has {counted(self.n_rows, 'vector')} and "
                f"{counted(len(names), 'id')} "
                f"({name})",
                "Name the array that belongs to the vectors with `ids`.",
            )
        return names

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further arrays of text, as long as there are vectors."""
        arrays = {
            name: strings_of(self._members[name].read(), self.path)
            for name in names
            if name in self._members and self._members[name].shape == (self.n_rows,)
        }
        return pa.table(arrays)

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        return self._matrix.blocks()
