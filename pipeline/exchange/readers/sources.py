"""Which files a user named, and how they belong together."""

import csv
import io
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

from ..contract import ColumnNames, VectorTable
from .columnar import ColumnarTable, text_of
from .hdf5 import Hdf5Table
from .matrices import ArchiveTable, MatrixFile, MatrixTable
from .tfrecord import ExampleTable

__all__ = ["open_vectors"]

_COLUMNAR = (".parquet", ".pq", ".arrow", ".feather", ".ipc")
_HDF5 = (".h5", ".hdf5", ".hdf")
_RECORDS = (".tfrecord", ".tfrecords")
_TABLES = (".csv", ".tsv", ".txt")
_KINDS = (
    "Parquet (.parquet), Arrow or Feather (.arrow, .feather), .npz, .npy with ids in "
    ".csv or .txt, HDF5 (.h5), TFRecord (.tfrecord), a folder of the package "
    "`datasets`, or one of clip-retrieval"
)
_CLIP_RETRIEVAL = re.compile(r"img_emb_(\d+)\.npy")


def open_vectors(paths: Sequence[Path], names: ColumnNames) -> list[VectorTable]:
    """The tables of vectors in some files and folders.

    Args:
        paths: Files, folders, and files of ids that belong to .npy files.
        names: How the user calls columns.

    Raises:
        ConfigurationError: A file is of no known kind, or files do not fit together.
        DatasetError: One is not there or cannot be read.
    """
    tables: list[VectorTable] = []
    matrices = [path for path in paths if path.suffix.lower() == ".npy"]
    lists = [path for path in paths if _suffix(path) in _TABLES]
    records = [path for path in paths if _suffix(path) in _RECORDS]
    for path in paths:
        if not path.exists():
            raise DatasetError(f"there is no file {path}", "Check the path.")
        if path.is_dir():
            tables += _folder(path, names)
        elif _suffix(path) in _COLUMNAR:
            tables.append(ColumnarTable(path, names))
        elif _suffix(path) == ".npz":
            tables.append(ArchiveTable(path, names))
        elif _suffix(path) in _HDF5:
            tables.append(Hdf5Table(path, names))
        elif path not in (*matrices, *lists, *records):
            raise ConfigurationError(f"{path} is of no kind that is read", _knows())
    if records:
        tables.append(ExampleTable(tuple(records), names))
    return [*tables, *_matrices(matrices, lists, names)]


def _suffix(path: Path) -> str:
    return path.suffix.lower()


def _knows() -> str:
    return f"Known are {_KINDS}."


def _matrices(
    matrices: Sequence[Path], lists: Sequence[Path], names: ColumnNames
) -> list[VectorTable]:
    """Each .npy with its ids: in the order given, or one list for all of them."""
    if not matrices:
        if lists:
            raise ConfigurationError(f"{lists[0]} holds ids, but no vectors", _knows())
        return []
    if not lists:
        return [MatrixTable(MatrixFile(path)) for path in matrices]
    if len(lists) != len(matrices):
        raise ConfigurationError(
            f"{len(matrices)} .npy files and {counted(len(lists), 'file')} of ids do "
            "not pair up",
            "Give as many of the one as of the other, in the same order.",
        )
    return [
        _paired(matrix, _read_list(beside), beside, names)
        for matrix, beside in zip(matrices, lists, strict=True)
    ]


def _paired(
    matrix: Path, table: pa.Table, beside: Path, names: ColumnNames
) -> MatrixTable:
    table_of_both = MatrixTable(MatrixFile(matrix), table, names.ids)
    if len(table) != table_of_both.n_rows:
        raise ConfigurationError(
            f"{matrix} has {counted(table_of_both.n_rows, 'vector')}, but {beside} has "
            f"{counted(len(table), 'row')}",
            "Row n of the one has to belong to row n of the other.",
        )
    return table_of_both


def _read_list(path: Path) -> pa.Table:
    """A CSV as text, or the lines of a .txt as the column `id`.

    Raises:
        DatasetError: It cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {path}: {error}", "It has to be text in UTF-8."
        ) from error
    if _suffix(path) == ".txt":
        return pa.table({"id": pa.array(text.splitlines(), pa.string())})
    first = text.partition("\n")[0]
    delimiter = "\t" if _suffix(path) == ".tsv" else ","
    if delimiter not in first:
        delimiter = next((mark for mark in ";\t" if mark in first), delimiter)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        header = next(rows, [])
        cells = [row for row in rows if row]
    except csv.Error as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    for number, row in enumerate(cells, start=2):
        if len(row) != len(header):
            raise DatasetError(
                f"{path}: row {number} has {counted(len(row), 'cell')}, the header "
                f"{len(header)}",
                "Repair that row.",
            )
    if len(set(header)) != len(header):
        raise DatasetError(f"{path} has two columns of one name: {', '.join(header)}")
    columns = list(zip(*cells, strict=True)) if cells else [()] * len(header)
    return pa.table(
        {
            name: pa.array(column, pa.string())
            for name, column in zip(header, columns, strict=True)
        }
    )


def _folder(folder: Path, names: ColumnNames) -> list[VectorTable]:
    """A folder of `datasets`, of clip-retrieval, or of files of one kind."""
    if (folder / "dataset_dict.json").is_file():
        splits = _json(folder / "dataset_dict.json").get("splits", [])
        tables: list[VectorTable] = []
        for split in splits if isinstance(splits, list) else []:
            tables += _dataset(_inside(folder, split), names)
        return tables
    if (folder / "state.json").is_file():
        return _dataset(folder, names)
    if (folder / "img_emb").is_dir():
        return _clip_retrieval(folder, names)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    known = (*_COLUMNAR, *_HDF5, *_RECORDS, ".npz")
    chosen = [path for path in files if _suffix(path) in known]
    kinds = {_suffix(path) for path in chosen}
    if len(kinds) != 1:
        raise ConfigurationError(
            f"{folder} holds "
            + (f"files of several kinds: {', '.join(sorted(kinds))}" if kinds else
               "no file of a kind that is read"),
            _knows(),
        )  # fmt: skip
    return open_vectors(chosen, names)


def _dataset(folder: Path, names: ColumnNames) -> list[VectorTable]:
    """What `Dataset.save_to_disk` wrote: Arrow streams, named in state.json."""
    listed = _json(folder / "state.json").get("_data_files")
    if not isinstance(listed, list) or not listed:
        raise DatasetError(
            f"{folder / 'state.json'} names no data files",
            "It has to be a folder as `Dataset.save_to_disk` writes it.",
        )
    files = [
        _inside(folder, one.get("filename") if isinstance(one, dict) else one)
        for one in listed
    ]
    return [ColumnarTable(path, names) for path in files]


def _clip_retrieval(folder: Path, names: ColumnNames) -> list[VectorTable]:
    """``img_emb/img_emb_N.npy`` with ``metadata/metadata_N.parquet``."""
    numbers = sorted(
        int(match[1])
        for path in (folder / "img_emb").iterdir()
        if (match := _CLIP_RETRIEVAL.fullmatch(path.name))
    )
    described = {path.name for path in folder.glob("metadata/metadata_*.parquet")}
    lone = sorted(described - {f"metadata_{one}.parquet" for one in numbers})
    if lone:
        vectors = lone[0].replace("metadata_", "img_emb_").replace(".parquet", ".npy")
        raise DatasetError(
            f"{folder / 'metadata' / lone[0]} has no {folder / 'img_emb' / vectors}",
            "clip-retrieval writes both; copy the folder `img_emb` as a whole.",
        )
    chosen = replace(names, ids=names.ids or "image_path")
    tables: list[VectorTable] = []
    for number in numbers:
        matrix = folder / "img_emb" / f"img_emb_{number}.npy"
        beside = folder / "metadata" / f"metadata_{number}.parquet"
        if not beside.is_file():
            raise DatasetError(
                f"{matrix} has no {beside}",
                "clip-retrieval writes both; copy the folder `metadata` too.",
            )
        tables.append(_paired(matrix, _texts(beside), beside, chosen))
    return tables


def _texts(path: Path) -> pa.Table:
    """The columns of a Parquet file that can be ids, as text."""
    try:
        schema = pq.read_schema(path)
        plain = [
            field.name
            for field in schema
            if pa.types.is_string(field.type)
            or pa.types.is_large_string(field.type)
            or pa.types.is_integer(field.type)
        ]
        table = pq.read_table(path, columns=plain)
    except (OSError, pa.ArrowException) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    return pa.table(
        {name: text_of(table[name].combine_chunks()) for name in table.column_names}
    )


def _json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    return content if isinstance(content, dict) else {}


def _inside(folder: Path, name: object) -> Path:
    """A file of a folder that the folder's own records name."""
    if not isinstance(name, str) or Path(name).name != name or name in ("", ".", ".."):
        raise DatasetError(
            f"{folder} names {name!r}, which is no name of a file in it",
            "Do not use this folder, or write it anew.",
        )
    return folder / name
