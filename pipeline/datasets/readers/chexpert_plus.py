"""CheXpert Plus: a table of images and reports, and CheXbert's labels in another file.

The reports stay where they are; only what the catalog names is read.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT
from retune.store.plural import counted

from ...findings import CHEXPERT_TOKENS
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import (
    ages,
    count_values,
    label_states,
    required_ids,
    sexes,
    text_or_null,
    translate,
)
from ..tables.delimited import TextTable, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.json_lines import read_json_lines
from ..tables.packed import find_tables

__all__ = ["find_chexpert_plus_table", "read_chexpert_plus"]

_PATH, _DICOM, _PATIENT = "path_to_image", "path_to_dcm", "deid_patient_id"
_SIDE, _VIEW, _AGE, _SEX, _SPLIT = "frontal_lateral", "ap_pa", "age", "sex", "split"
_SPLITS: Final = {"train": "train", "valid": "validation", "test": "test"}
#: CheXbert's labels of the whole report, else of a section, beside the table or in a
#: folder of their own.
_LABEL_FILES: Final = (
    "report_fixed.json",
    "impression_fixed.json",
    "findings_fixed.json",
)
_LABEL_FOLDERS: Final = ("", "chexbert_labels")


def find_chexpert_plus_table(root: Path) -> Path | None:
    """The table of images in `root`, or None."""
    return next(iter(find_tables(root, "df_chexpert_plus*.csv")), None)


def read_chexpert_plus(root: Path, options: TableOptions) -> LabelTable:
    """Read CheXpert Plus; `file` names the file of labels, JSON lines or CSV.

    Raises:
        DatasetError: A table is missing or cannot be read, or two rows of labels are of
            one image.
    """
    file = find_chexpert_plus_table(root)
    if file is None:
        raise DatasetError(
            f"{root} holds no df_chexpert_plus_240401.csv",
            "Give the folder that holds CheXpert Plus's table.",
        )
    table = read_csv(file)
    table.require([_PATH, _PATIENT, _SIDE, _VIEW, _AGE, _SEX, _SPLIT])
    written = tidy_paths(table.column(_PATH))
    check_paths(written, table.places)
    labels = _labels(root, options)
    states, odd = _states(labels, written)
    sex, sex_odd = sexes(table.column(_SEX), _SEX)
    age, age_odd = ages(table.column(_AGE), _AGE)
    views = text_or_null(table.column(_VIEW))
    patients = required_ids(table, _PATIENT)
    images = image_columns(
        path=_paths(root, table, written),
        patient_id=patients,
        study_id=_studies(written, patients),
        view=pc.utf8_upper(pc.coalesce(views, text_or_null(table.column(_SIDE)))),
        sex=sex,
        age=age,
        official_split=_official_split(table),
    )
    findings = tuple(CHEXPERT_TOKENS.values())
    return LabelTable(
        "chexpert-plus", images, findings, states, (*odd, *sex_odd, *age_odd)
    )


def _labels(root: Path, options: TableOptions) -> TextTable:
    places = [
        root / folder / name for name in _LABEL_FILES for folder in _LABEL_FOLDERS
    ]
    if options.file:
        places = [root / options.file]
    file = next((candidate for candidate in places if candidate.is_file()), None)
    if file is None:
        names = ", ".join(
            candidate.relative_to(root).as_posix() for candidate in places
        )
        raise DatasetError(
            f"{root} holds no labels; looked for {names}",
            "Download CheXpert Plus's CheXbert labels, or name a file with `file`.",
        )
    table = read_csv(file) if ".csv" in file.suffixes else read_json_lines(file)
    table.require([_PATH, *CHEXPERT_TOKENS])
    return table


def _states(labels: TextTable, paths: pa.StringArray) -> tuple[np.ndarray, list[str]]:
    known = tidy_paths(labels.column(_PATH))
    check_paths(known, labels.places)
    of_labels = label_states(labels, list(CHEXPERT_TOKENS))
    where = pc.index_in(paths, value_set=known)
    states = of_labels[pc.fill_null(where, 0).to_numpy()]
    missing = pc.is_null(where).to_numpy(zero_copy_only=False)
    states[missing] = ABSENT
    warnings = []
    if missing.any():
        warnings.append(
            f"{counted(int(missing.sum()), 'image', 'have')} no labels in "
            f"{labels.file.name}"
        )
    strange = len(known) - int((~missing).sum())
    if strange:
        warnings.append(
            f"{labels.file.name}: {counted(strange, 'row', 'are')} of images that the "
            "table has not"
        )
    return states, warnings


def _studies(paths: pa.StringArray, patients: pa.StringArray) -> pa.Array:
    study = pc.struct_field(
        pc.extract_regex(paths, r"/(?P<study>study[^/]+)/[^/]+$"), "study"
    )
    return pc.binary_join_element_wise(patients, study, "/")


def _official_split(table: TextTable) -> pa.Array:
    words = text_or_null(table.column(_SPLIT))
    splits = translate(words, _SPLITS)
    odd = pc.and_(pc.is_valid(words), pc.is_null(splits))
    if pc.any(odd).as_py():
        location = table.places([pc.index(odd, True).as_py()])[0]
        raise DatasetError(
            f"{location}: not a split: {count_values(words.filter(odd))}",
            f"A split is one of {', '.join(_SPLITS)}, or blank.",
        )
    return splits


def _paths(root: Path, table: TextTable, written: pa.StringArray) -> pa.StringArray:
    """JPEG, PNG or DICOM, whichever was downloaded."""
    png = pc.replace_substring_regex(written, r"\.[^./]+$", ".png")
    ways = [written, png, pc.binary_join_element_wise("PNG", png, "/")]
    if _DICOM in table.cells.column_names:
        dicom = tidy_paths(table.column(_DICOM))
        if pc.all(pc.not_equal(dicom, "")).as_py():
            ways += [dicom, pc.binary_join_element_wise("DICOM", dicom, "/")]
    return choose_arrangement(root, ways)
