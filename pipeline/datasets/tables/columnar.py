"""Parquet files as text, so that a reader sees what a CSV of them would have held."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from retune.store.errors import DatasetError

from .delimited import TextTable, check_names, legible
from .image_paths import row_places
from .listing import check_table_file
from .packed import check_table_size

__all__ = ["as_text", "parquet_columns", "read_parquet"]

#: Stands in the cells of lists and structs: never an id, a path or a label.
_NESTED: Final = "(nested)"

#: Rows that are unpacked before the limit is checked again.
_BATCH_ROWS: Final = 4_096

#: Below this, every integer is exact as a float64.
_EXACT: Final = float(2**53)


def parquet_columns(file: Path) -> list[str]:
    """The column names of a Parquet file.

    Raises:
        DatasetError: The file cannot be opened, is too large or is no Parquet file.
    """
    check_table_size(file, check_table_file(file), is_packed=False)
    try:
        names = list(pq.read_schema(file).names)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    check_names(str(file), names)
    return names


def read_parquet(file: Path) -> TextTable:
    """Read a Parquet file: nulls and NaN are blank, true is ``1``, 3.0 is ``3``.

    Raises:
        ConfigurationError: The limit in the environment is not a number.
        DatasetError: The file cannot be read, is larger unpacked than a table may be,
            has no rows or two columns of one name.
    """
    names = parquet_columns(file)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DatasetError(
            f"{file}: two columns are called {', '.join(map(repr, twice))}",
            "Give every column its own name.",
        )
    try:
        table = _read_within_limit(file)
        text = [as_text(column.combine_chunks()) for column in table.columns]
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _unreadable(file, error) from error
    if table.num_rows == 0:
        raise DatasetError(f"{file} has no rows", "Export the table again.")
    cells = pa.Table.from_arrays(text, names=table.column_names)
    return TextTable(file, cells, partial(_parquet_places, file))


def _read_within_limit(file: Path) -> pa.Table:
    """The rows of a Parquet file: a few kilobytes of it may unpack to any size."""
    batches, n_bytes = [], 0
    with pq.ParquetFile(file) as parquet:
        for batch in parquet.iter_batches(_BATCH_ROWS):
            plain = {name: _plain(batch[name]) for name in batch.schema.names}
            n_bytes += sum(column.nbytes for column in plain.values())
            check_table_size(file, n_bytes, is_packed=True)
            batches.append(pa.table(plain))
        return pa.concat_tables(batches) if batches else parquet.read()


def _plain(column: pa.Array) -> pa.Array:
    """A column as long as it says it is; a dictionary holds equal values once."""
    is_dictionary = pa.types.is_dictionary(column.type)
    return column.dictionary_decode() if is_dictionary else column


def as_text(column: pa.Array) -> pa.StringArray:
    """Any column as a CSV would hold it: null and NaN blank, true ``1``, 3.0 ``3``.

    >>> as_text(pa.array([1.0, None, float("nan")])).to_pylist()
    ['1', '', '']
    """
    if pa.types.is_nested(column.type):
        return pa.repeat(pa.scalar(_NESTED, pa.string()), len(column))
    column = _plain(column)
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
    return [f"{file}, {line}" for line in row_places(rows)]


def _unreadable(file: Path, error: Exception) -> DatasetError:
    return DatasetError(
        f"cannot read {file}: {legible(error)}",
        "Check that it is a complete Parquet file.",
    )
