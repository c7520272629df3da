"""Parquet files as text, so that a reader sees what a CSV of them would have held."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.store.errors import DatasetError

from .delimited import TextTable
from .image_paths import row_places

__all__ = ["as_text", "parquet_columns", "read_parquet"]

#: Stands in the cells of lists and structs: never an id, a path or a label.
_NESTED: Final = "(nested)"

#: Below this, every integer is exact as a float64.
_EXACT: Final = float(2**53)


def parquet_columns(file: Path) -> list[str]:
    """The column names of a Parquet file.

    Raises:
        DatasetError: The file cannot be opened or is no Parquet file.
    """
    try:
        return list(pq.read_schema(file).names)
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error


def read_parquet(file: Path) -> TextTable:
    """Read a Parquet file: nulls and NaN are blank, true is ``1``, 3.0 is ``3``.

    Raises:
        DatasetError: The file cannot be read, has no rows or two columns of one name.
    """
    try:
        with pq.ParquetFile(file) as parquet:
            table = parquet.read()
    except (OSError, pa.ArrowException) as error:
        raise _unreadable(file, error) from error
    if table.num_rows == 0:
        raise DatasetError(f"{file} has no rows", "Export the table again.")
    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{file}: two columns are called {', '.join(map(repr, twice))}",
            "Give every column its own name.",
        )
    text = [as_text(column.combine_chunks()) for column in table.columns]
    cells = pa.Table.from_arrays(text, names=names)
    return TextTable(file, cells, partial(_parquet_places, file))


def as_text(column: pa.Array) -> pa.StringArray:
    """Any column as a CSV would hold it: null and NaN blank, true ``1``, 3.0 ``3``.

    >>> as_text(pa.array([1.0, None, float("nan")])).to_pylist()
    ['1', '', '']
    """
    if pa.types.is_nested(column.type):
        return pa.repeat(pa.scalar(_NESTED, pa.string()), len(column))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_boolean(column.type):
        column = pc.cast(column, pa.int8())
    if pa.types.is_floating(column.type):
        column = _whole_numbers(pc.cast(column, pa.float64()))
    return pc.fill_null(pc.cast(column, pa.string()), "")


def _whole_numbers(column: pa.DoubleArray) -> pa.Array:
    """NaN to null; to integers if all are whole, like the ids of a data frame."""
    column = pc.if_else(pc.is_nan(column), pa.scalar(None, pa.float64()), column)
    whole = pc.and_(pc.equal(pc.floor(column), column), pc.less(pc.abs(column), _EXACT))
    all_whole = pc.all(whole).as_py() is not False  # None: nothing but nulls
    return pc.cast(column, pa.int64()) if all_whole else column


def _parquet_places(file: Path, rows: Sequence[int]) -> list[str]:
    return [f"{file}, {place}" for place in row_places(rows)]


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"cannot read {file}: {error}", "Check that it is a complete Parquet file."
    )
