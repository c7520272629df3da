"""The layout `table`: any CSV or Parquet file with paths and label columns.

The way in for a hospital's own data. Columns are found by the catalog's names (`path`,
`patient_id`, `study_id`, `view`, `sex`, `age`, `split`, in any case) or by the option
that names them; every other column of 1, 0, -1 and blanks is a finding.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError

from ...findings import NO_FINDING, known_spelling, spelling_key
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import (
    ages,
    are_labels,
    count_values,
    label_states,
    required_ids,
    sexes,
    text_or_null,
    translate,
)
from ..tables.columnar import parquet_columns, read_parquet
from ..tables.delimited import TextTable, read_csv, read_header
from ..tables.image_paths import check_paths, tidy_paths

__all__ = ["find_single_table", "read_hospital_table", "table_columns"]

_SUFFIXES: Final = (".csv", ".csv.gz", ".parquet")

#: Option of `TableOptions` -> column name where the option is not given.
_ROLES: Final[Mapping[str, str]] = {
    "path_column": "path",
    "patient_column": "patient_id",
    "study_column": "study_id",
    "view_column": "view",
    "sex_column": "sex",
    "age_column": "age",
    "split_column": "split",
}

#: How hospitals and public data sets write the three splits, in lower case.
_SPLITS: Final[Mapping[str, str]] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


@dataclass(frozen=True)
class _Roles:
    """Which column of a table plays which part; None where none does."""

    path: str
    patient: str | None
    study: str | None
    view: str | None
    sex: str | None
    age: str | None
    split: str | None

    def columns(self) -> set[str]:
        """The columns that have a part."""
        return {name for name in vars(self).values() if name is not None}


def find_single_table(root: Path) -> Path | None:
    """The one CSV or Parquet file in `root`; None where there is none or several."""
    files = _tables_in(root)
    return files[0] if len(files) == 1 else None


def table_columns(file: Path) -> list[str]:
    """The column names of a CSV or Parquet file, without reading its rows.

    Raises:
        DatasetError: The file cannot be read.
    """
    return parquet_columns(file) if _is_parquet(file) else read_header(file)


def read_hospital_table(root: Path, options: TableOptions) -> LabelTable:
    """Read a table of images, whatever its columns are called.

    Raises:
        DatasetError: No table, or several and no option; a column that is not there; no
            patients and no `patient_is_image`; no findings; a cell that cannot be read.
    """
    file = _file(root, options)
    table = read_parquet(file) if _is_parquet(file) else read_csv(file)
    roles = _roles(table, options)
    paths = tidy_paths(table.column(roles.path))
    check_paths(paths, table.places)
    columns, warnings = _finding_columns(table, roles, options)
    images, image_warnings = _images(table, paths, roles)
    return LabelTable(
        layout="table",
        images=images,
        findings=_canonical(table, columns),
        states=label_states(table, columns),
        warnings=(*warnings, *image_warnings),
    )


def _tables_in(root: Path) -> list[Path]:
    return sorted(p for p in root.iterdir() if p.name.lower().endswith(_SUFFIXES))


def _file(root: Path, options: TableOptions) -> Path:
    if options.file:
        return root / options.file
    file = find_single_table(root)
    if file is None:
        names = ", ".join(path.name for path in _tables_in(root)) or "none"
        raise DatasetError(
            f"{root} must hold one CSV or Parquet file, but holds: {names}",
            "Name the one to read with `file`.",
        )
    return file


def _is_parquet(file: Path) -> bool:
    return file.suffix.lower() == ".parquet"


def _roles(table: TextTable, options: TableOptions) -> _Roles:
    """Match columns to roles: by the option's name, else by the catalog's."""
    found: dict[str, str | None] = {}
    for option, default in _ROLES.items():
        named = getattr(options, option)
        if named is not None:
            table.require([named])
        found[option] = named or _column_called(table.cells.column_names, default)
    path = found["path_column"]
    if path is None:
        names = ", ".join(map(repr, table.cells.column_names))
        raise DatasetError(
            f"{table.file} has no column 'path'; the columns are {names}",
            "Name the column with the image paths with `path_column`.",
        )
    roles = _Roles(path, *(found[option] for option in list(_ROLES)[1:]))
    if roles.patient is None and not options.patient_is_image:
        raise DatasetError(
            f"{table.file} has no column 'patient_id', and splits keep patients apart",
            "Name the column with the patients with `patient_column`; only if every"
            " image is of another patient, say `patient_is_image`.",
        )
    if roles.patient is not None and options.patient_is_image:
        raise DatasetError(
            f"{table.file} has patients in column {roles.patient!r}, so its images are"
            " not patients of their own",
            "Leave out `patient_is_image`.",
        )
    return roles


def _column_called(columns: list[str], name: str) -> str | None:
    """The column of this name, in any case if only one is spelled so."""
    if name in columns:
        return name
    alike = [column for column in columns if column.casefold() == name]
    return alike[0] if len(alike) == 1 else None


def _images(
    table: TextTable, paths: pa.StringArray, roles: _Roles
) -> tuple[pa.Table, list[str]]:
    """The image columns that the table has, and warnings about odd values in them."""
    columns: dict[str, pa.Array] = {}
    warnings: list[str] = []
    if roles.study:
        columns["study_id"] = text_or_null(table.column(roles.study))
    if roles.view:
        columns["view"] = pc.utf8_upper(text_or_null(table.column(roles.view)))
    if roles.sex:
        columns["sex"], odd = sexes(table.column(roles.sex), roles.sex)
        warnings += odd
    if roles.age:
        columns["age"], odd = ages(table.column(roles.age), roles.age)
        warnings += odd
    if roles.split:
        columns["official_split"] = _splits(table, roles.split)
    patients = required_ids(table, roles.patient) if roles.patient else paths
    return image_columns(paths, patients, **columns), warnings


def _splits(table: TextTable, column: str) -> pa.StringArray:
    """Official splits; blank becomes null, and any other word is an error."""
    words = text_or_null(table.column(column))
    found = translate(pc.utf8_lower(words), _SPLITS)
    unknown = pc.and_(pc.is_null(found), pc.is_valid(words))
    if pc.any(unknown).as_py():
        row = pc.index(unknown, True).as_py()
        raise DatasetError(
            f"{table.places([row])[0]}, column {column!r}: not a split:"
            f" {count_values(words.filter(unknown))}",
            f"A split is one of {', '.join(_SPLITS)}, or blank.",
        )
    return found


def _finding_columns(
    table: TextTable, roles: _Roles, options: TableOptions
) -> tuple[list[str], list[str]]:
    """The columns that are findings, and a warning that names those left out."""
    derived = spelling_key(NO_FINDING)
    if options.finding_columns is not None:
        table.require(options.finding_columns)
        candidates = list(options.finding_columns)
    else:
        used = roles.columns()
        candidates = [name for name in table.cells.column_names if name not in used]
    columns, ignored, warnings = [], [], []
    for name in candidates:
        if spelling_key(name) == derived:
            warnings.append(f"column {name!r} not read: it follows from the findings")
        elif options.finding_columns is not None or are_labels(table.column(name)):
            columns.append(name)
        else:
            ignored.append(name)
    if not columns:
        raise DatasetError(
            f"{table.file} has no column of labels; looked at:"
            f" {', '.join(map(repr, candidates)) or 'none'}",
            "A finding's column holds only 1, 0, -1 (uncertain) and blanks.",
        )
    if ignored:
        names = ", ".join(map(repr, ignored))
        warnings.append(f"{len(ignored):,} columns not read, not all labels: {names}")
    return columns, warnings


def _canonical(table: TextTable, columns: list[str]) -> tuple[str, ...]:
    """The vocabulary's names for findings that it has, the table's own for the rest."""
    names = [known_spelling(column) or column for column in columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        same = [c for c, name in zip(columns, names, strict=True) if name in twice]
        raise DatasetError(
            f"{table.file}: columns {', '.join(map(repr, same))} are the same finding",
            "Keep one column per finding.",
        )
    return tuple(names)
