"""Vectors in Arrow's columns: Parquet, Arrow IPC (Feather), `datasets` folders."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from retune.store.errors import ConfigurationError, DatasetError

from ..contract import (
    BLOCK_ROWS,
    Block,
    ColumnNames,
    choose_column,
    list_block,
    stored_type,
    usual_length,
)

__all__ = ["ColumnarTable", "text_of"]

_PARQUET = (".parquet", ".pq")
_FAULTS = (OSError, pa.ArrowException, ValueError, KeyError)


@dataclass(frozen=True)
class ColumnarTable:
    """One file with a column of lists of numbers, and one of ids.

    Attributes:
        path: The file; Parquet by its name, else Arrow IPC of either kind.
        names: How the user calls its columns.
    """

    path: Path
    names: ColumnNames = field(default_factory=ColumnNames)

    @cached_property
    def schema(self) -> pa.Schema:
        """Columns and types.

        Raises:
            DatasetError: The file cannot be read.
        """
        try:
            if self._is_parquet:
                return pq.read_schema(self.path)
            with pa.OSFile(str(self.path)) as file:
                return _ipc(file).schema
        except _FAULTS as error:
            raise self._unreadable(error) from error

    @property
    def _is_parquet(self) -> bool:
        return self.path.suffix.lower() in _PARQUET

    @cached_property
    def vectors(self) -> str:
        """The column of vectors."""
        fitting = [one.name for one in self.schema if _item_type(one.type)]
        return choose_column(
            self.path, "vectors", self.names.vectors, fitting, _listed(self.schema)
        )

    @cached_property
    def dtype(self) -> str:
        """``float16`` or ``float32``."""
        item = _plain(self.schema.field(self.vectors).type).value_type
        return stored_type(self.path, np.dtype(item.to_pandas_dtype()))

    @cached_property
    def n_rows(self) -> int:
        """N."""
        if self._is_parquet:
            try:
                return int(pq.read_metadata(self.path).num_rows)
            except _FAULTS as error:
                raise self._unreadable(error) from error
        return sum(len(batch) for batch in self._read([self.schema.names[0]]))

    @cached_property
    def dim(self) -> int:
        """D: the list's size, or the usual length of the first rows."""
        vector_type = _plain(self.schema.field(self.vectors).type)
        if pa.types.is_fixed_size_list(vector_type):
            return int(vector_type.list_size)
        for batch in self._read([self.vectors]):
            length = usual_length(_lengths(_storage(batch.column(0))))
            if length:
                return length
        return 0

    def ids(self) -> pa.Array:
        """The column of ids as strings."""
        if self.names.ids is None or self.names.ids not in self.schema.names:
            raise ConfigurationError(
                f"{self.path} has no column {self.names.ids!r}; it has: "
                f"{_listed(self.schema)}"
                if self.names.ids
                else f"nothing says which image each vector in {self.path} is of; it "
                f"has: {_listed(self.schema)}",
                "Name the column with image ids, paths or digests with `ids`.",
            )
        return self.columns([self.names.ids])[self.names.ids].combine_chunks()

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further columns as text."""
        present = [name for name in names if name in self.schema.names]
        kinds = {name: self.schema.field(name).type for name in present}
        for name, column_type in kinds.items():
            if pa.types.is_nested(column_type):
                raise ConfigurationError(
                    f"column {name!r} of {self.path} holds {column_type}, not text or "
                    "numbers",
                    "Name another one with `ids`.",
                )
        schema = pa.schema([(name, pa.string()) for name in present])
        parts = [
            pa.record_batch([self._text(column) for column in batch.columns], schema)
            for batch in self._read(present)
        ]
        return pa.Table.from_batches(parts, schema)

    def _text(self, column: pa.Array) -> pa.Array:
        try:
            return text_of(column)
        except pa.ArrowException as error:
            raise DatasetError(
                f"ids in {self.path} are no text: {error}",
                "Ids have to be UTF-8 text or whole numbers; name their column with "
                "`ids`.",
            ) from error

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        for batch in self._read([self.vectors]):
            column = _storage(batch.column(0))
            if not len(column):
                continue
            try:
                flat = column.flatten().to_numpy(zero_copy_only=False)
            except _FAULTS as error:
                raise self._unreadable(error) from error
            yield list_block(flat, _lengths(column), self.dim, self.dtype)

    def _read(self, columns: list[str]) -> Iterator[pa.RecordBatch]:
        try:
            if self._is_parquet:
                with pq.ParquetFile(self.path, pre_buffer=False) as file:
                    yield from file.iter_batches(BLOCK_ROWS, columns=columns)
                return
            with pa.OSFile(str(self.path)) as source:
                reader = _ipc(source)
                batches = (
                    (reader.get_batch(at) for at in range(reader.num_record_batches))
                    if isinstance(reader, pa.ipc.RecordBatchFileReader)
                    else reader
                )
                for batch in batches:
                    chosen = batch.select(columns)
                    for start in range(0, len(chosen), BLOCK_ROWS):
                        yield chosen.slice(start, BLOCK_ROWS)
        except _FAULTS as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> DatasetError:
        return DatasetError(
            f"cannot read {self.path}: {error}",
            "Is it whole? It has to be Parquet or Arrow as its name says.",
        )


def _ipc(
    file: pa.NativeFile,
) -> pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader:
    """A reader of Arrow's file format, or of its stream format."""
    magic = file.read(6)
    file.seek(0)
    return pa.ipc.open_file(file) if magic == b"ARROW1" else pa.ipc.open_stream(file)


def _plain(column_type: pa.DataType) -> pa.DataType:
    """What a column is stored as; an extension such as a tensor names another type."""
    extended = isinstance(column_type, pa.BaseExtensionType)
    return column_type.storage_type if extended else column_type


def _storage(column: pa.Array) -> pa.Array:
    return column.storage if isinstance(column, pa.ExtensionArray) else column


def _item_type(list_type: pa.DataType) -> pa.DataType | None:
    """The type of a list's numbers; None if it is no list of floats."""
    list_type = _plain(list_type)
    is_list = (
        pa.types.is_list(list_type)
        or pa.types.is_large_list(list_type)
        or pa.types.is_fixed_size_list(list_type)
    )
    return (
        list_type.value_type
        if is_list and pa.types.is_floating(list_type.value_type)
        else None
    )


def _lengths(column: pa.Array) -> npt.NDArray[np.int64]:
    """Numbers in each list; -1 for a null one, or one with a null in it."""
    counted = pc.list_value_length(column).cast(pa.int64())
    lengths: npt.NDArray[np.int64] = np.array(
        counted.fill_null(-1).to_numpy(zero_copy_only=False)
    )
    return lengths


def text_of(column: pa.Array) -> pa.Array:
    """A column as text: bytes as UTF-8, numbers as digits.

    >>> text_of(pa.array([7, None])).to_pylist()
    ['7', None]
    """
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_floating(column.type):  # ids that somebody's blank made floats
        known = pc.is_finite(column)
        column = pc.cast(pc.if_else(known, column, None), pa.int64(), safe=True)
    return column.cast(pa.string())


def _listed(schema: pa.Schema) -> str:
    return ", ".join(f"{one.name} ({one.type})" for one in schema)
