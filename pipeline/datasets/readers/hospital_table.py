"""The layout `table`: any table with image paths and label columns.

The way in for a hospital's own data, as its systems export it: CSV with any delimiter
and encoding, Parquet or Excel, in several languages. What was understood is said, and
what was not is counted and listed; a map (`table_map`) settles what is unclear.
"""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from retune.store.errors import DatasetError

from ..contract import LabelTable, TableOptions, image_columns
from ..table_map import TableMap
from ..tables.any_table import any_columns, read_any_table, tables_in
from ..tables.cells import required_ids
from ..tables.delimited import TextTable
from .table_cells import StudyDates, detail_columns, person_columns
from .table_findings import TableFindings, read_findings
from .table_notes import TableNotes
from .table_paths import relative_paths
from .table_roles import Roles, find_roles

__all__ = ["find_single_table", "read_hospital_table", "table_columns"]


def find_single_table(root: Path) -> Path | None:
    """The one table in `root`; None where there is none or several."""
    files = tables_in(root)
    return files[0] if len(files) == 1 else None


def table_columns(file: Path) -> list[str]:
    """The column names of a table, without reading its rows.

    Raises:
        ConfigurationError: It is a workbook, and openpyxl is not installed.
        DatasetError: The file cannot be read.
    """
    return any_columns(file)


def read_hospital_table(root: Path, options: TableOptions) -> LabelTable:
    """Read a table of images, whatever its columns are called.

    Raises:
        ConfigurationError: A map says of a column what cannot be, or openpyxl is
            needed.
        DatasetError: No table, or several and no option; a column that is not there; no
            patients and no `patient_is_image`; no findings; a path that is none.
    """
    mapping = options.mapping or TableMap()
    file = _file(root, options)
    table, written, said = read_any_table(
        file, encoding=mapping.encoding, sheet=mapping.sheet
    )
    notes = TableNotes(table, said)
    roles = find_roles(table, options, mapping)
    understood = {"table": f"{file.name}: {written}", **roles.columns}
    prefixes = (*options.path_prefix, *mapping.path_prefix.items())
    path_column = roles.columns["path"]
    paths = relative_paths(root, table, path_column, prefixes, notes)
    patients = _patients(table, roles["patient_id"], paths)
    details, dates = detail_columns(table, roles, mapping, options.keep, notes)
    people, meanings = person_columns(table, roles, mapping, dates, notes)
    findings = read_findings(table, roles, options, mapping, notes)
    return LabelTable(
        layout="table",
        images=image_columns(paths, patients, **people),
        findings=findings.names,
        states=findings.states,
        warnings=notes.told(),
        details=details,
        understood=understood | meanings | findings.understood,
        proposal=_proposal(roles, mapping, options, findings, dates),
    )


def _proposal(
    roles: Roles,
    mapping: TableMap,
    options: TableOptions,
    findings: TableFindings,
    dates: StudyDates,
) -> TableMap:
    """A map that says all that was found."""
    pairs = zip(findings.columns, findings.names, strict=True)
    return replace(
        mapping,
        columns=roles.columns,
        findings=findings.columns,
        aliases={column: name for column, name in pairs if column != name},
        values={
            **{name: words for name, words in findings.words.items() if words},
            **mapping.values,
        },
        units=mapping.units or ({"age": "years"} if roles["age"] else {}),
        dates=dates.order,
        path_prefix={**mapping.path_prefix, **dict(options.path_prefix)},
        keep=tuple(dict.fromkeys((*mapping.keep, *options.keep))),
    )


def _patients(
    table: TextTable, column: str | None, paths: pa.StringArray
) -> pa.StringArray:
    return required_ids(table, column) if column else paths


def _file(root: Path, options: TableOptions) -> Path:
    if options.file:
        return root / options.file
    file = find_single_table(root)
    if file is None:
        names = ", ".join(path.name for path in tables_in(root)) or "none"
        raise DatasetError(
            f"{root} must hold one CSV, Excel or Parquet file, but holds: {names}",
            "Name the one to read with `file`.",
        )
    return file
