"""BRAX: `master_spreadsheet_update.csv`, with CheXpert's findings and states."""

from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError

from ...findings import CHEXPERT_TOKENS, NO_FINDING
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import ages, label_states, required_ids, sexes, text_or_null
from ..tables.delimited import TextTable, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.packed import find_tables

__all__ = ["find_brax_table", "read_brax"]

_PNG, _DICOM, _PATIENT, _STUDY = "PngPath", "DicomPath", "PatientID", "AccessionNumber"
_SEX, _AGE, _VIEW = "PatientSex", "PatientAge", "ViewPosition"
#: BRAX gives ages in steps of five years and ends with this.
_OLDEST: Final = "85 or more"


def find_brax_table(root: Path) -> Path | None:
    """BRAX's label table in `root`, or None."""
    return next(iter(find_tables(root, "master_spreadsheet*.csv")), None)


def read_brax(root: Path, options: TableOptions) -> LabelTable:
    """Read BRAX: PNG files where they are there, else DICOM.

    Raises:
        DatasetError: There is no label table, or it cannot be read.
    """
    file = root / options.file if options.file else find_brax_table(root)
    if file is None:
        raise DatasetError(
            f"{root} holds no master_spreadsheet_update.csv",
            "Give the folder that holds BRAX's label table.",
        )
    table = read_csv(file)
    table.require([_PNG, _PATIENT, _SEX, _AGE, _VIEW, *CHEXPERT_TOKENS])
    if NO_FINDING in table.cells.column_names:
        label_states(table, [NO_FINDING])  # derived, so not kept; but it must be sound
    names = table.cells.column_names
    sex, sex_odd = sexes(table.column(_SEX), _SEX)
    years = pc.utf8_trim_whitespace(table.column(_AGE))
    age, age_odd = ages(pc.if_else(pc.equal(years, _OLDEST), "85", years), _AGE)
    given = {"study_id": text_or_null(table.column(_STUDY))} if _STUDY in names else {}
    images = image_columns(
        path=_paths(root, table),
        patient_id=required_ids(table, _PATIENT),
        view=pc.utf8_upper(text_or_null(table.column(_VIEW))),
        sex=sex,
        age=age,
        **given,
    )
    return LabelTable(
        "brax",
        images,
        tuple(CHEXPERT_TOKENS.values()),
        label_states(table, list(CHEXPERT_TOKENS)),
        (*sex_odd, *age_odd),
    )


def _paths(root: Path, table: TextTable) -> pa.StringArray:
    ways = [tidy_paths(table.column(_PNG))]
    check_paths(ways[0], table.places)
    if _DICOM in table.cells.column_names:
        dicom = tidy_paths(table.column(_DICOM))
        if pc.all(pc.not_equal(dicom, "")).as_py():
            ways.append(dicom)
    return choose_arrangement(root, ways)
