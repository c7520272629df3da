"""NumPy's files and HDF5."""

import csv
import json
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import h5py
import numpy as np
import numpy.lib.format as npy
import numpy.typing as npt
import pyarrow as pa

from ..outgoing import VECTORS, OutgoingTable

__all__ = ["write_csv", "write_hdf5", "write_npy", "write_npz"]


def write_npy(table: OutgoingTable, path: Path) -> None:
    """The vectors; `write_csv` writes what belongs to each row."""
    with path.open("wb") as file:
        _write_matrix(table, file)


def write_csv(columns: pa.Table, path: Path) -> None:
    """Columns as CSV: nothing where there is nothing."""
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(columns.column_names)
        for batch in columns.to_batches():
            rows.writerows(
                zip(*(one.to_pylist() for one in batch.columns), strict=True)
            )


def write_npz(table: OutgoingTable, path: Path) -> None:
    """An archive with the vectors and an array for each column, none packed."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open(f"{VECTORS}.npy", "w", force_zip64=True) as file:
            _write_matrix(table, file)
        for name in table.columns.column_names:
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                npy.write_array(file, _array(table.columns[name]), allow_pickle=False)


def write_hdf5(table: OutgoingTable, path: Path) -> None:
    """A dataset for the vectors, in one block, and one for each column."""
    with h5py.File(path, "w") as file:
        shape = (len(table), table.dim)
        vectors = file.create_dataset(VECTORS, shape, dtype=table.dtype)
        at = 0
        for block in table.vectors():
            vectors[at : at + len(block)] = block
            at += len(block)
        for name in table.columns.column_names:
            values = _array(table.columns[name])
            if values.dtype.kind == "U":
                text = h5py.string_dtype()
                file.create_dataset(name, data=values.tolist(), dtype=text)
            else:
                file.create_dataset(name, data=values)
        file.attrs["retune"] = json.dumps(table.notes)


def _write_matrix(table: OutgoingTable, file: IO[bytes]) -> None:
    header = {
        "descr": npy.dtype_to_descr(np.dtype(table.dtype)),
        "fortran_order": False,
        "shape": (len(table), table.dim),
    }
    npy.write_array_header_2_0(file, header)
    for block in table.vectors():
        file.write(np.ascontiguousarray(block).data.cast("B"))


def _array(column: pa.ChunkedArray) -> npt.NDArray[np.generic]:
    """A column without objects: text with nothing for null, numbers with NaN."""
    values: Sequence[object] = column.to_pylist()
    if pa.types.is_string(column.type):
        return np.array(["" if one is None else one for one in values], dtype=np.str_)
    return np.array([np.nan if one is None else one for one in values], np.float32)
