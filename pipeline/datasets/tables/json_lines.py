"""Tables of one JSON object per line, as text: what a CSV of them would have held."""

import io
import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.json as pa_json

from retune.store.errors import DatasetError

from .columnar import as_text
from .delimited import TextTable, check_encoding, check_names, legible
from .packed import read_file

__all__ = ["read_json_lines"]

_BLOCK_BYTES = 1 << 24


def read_json_lines(file: Path) -> TextTable:
    """Read a file of JSON objects, one per line; null is blank, 1.0 is ``1``.

    Raises:
        DatasetError: The file cannot be read, has no rows, or a line is no object.
    """
    content = read_file(file)
    check_encoding(file, content)
    try:
        table = pa_json.read_json(
            pa.BufferReader(content), pa_json.ReadOptions(block_size=_BLOCK_BYTES)
        )
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise _explained(file, content, error) from error
    check_names(str(file), table.column_names)
    cells = [as_text(column.combine_chunks()) for column in table.columns]
    return TextTable(
        file,
        pa.Table.from_arrays(cells, names=table.column_names),
        partial(_places, file),
    )


def _explained(file: Path, content: bytes, error: Exception) -> DatasetError:
    """The first line that is no JSON object, or else what pyarrow said."""
    hint = "Every line must be one JSON object; download the file again."
    for number, line in enumerate(io.BytesIO(content), start=1):
        try:
            is_object = not line.strip() or isinstance(json.loads(line), dict)
        except (ValueError, RecursionError) as cause:
            return DatasetError(
                f"{file}, line {number}: no JSON: {legible(cause)}", hint
            )
        if not is_object:
            return DatasetError(f"{file}, line {number}: no JSON object", hint)
    return DatasetError(f"{file} cannot be parsed: {legible(error)}", hint)


def _places(file: Path, rows: Sequence[int]) -> list[str]:
    lines = io.BytesIO(read_file(file))
    numbers = [n for n, line in enumerate(lines, start=1) if line.strip()]
    return [f"{file}, line {numbers[row]}" for row in rows]
