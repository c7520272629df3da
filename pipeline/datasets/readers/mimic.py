"""MIMIC-CXR-JPG: labels per study, and what is known of each image in other tables.

`mimic-cxr-2.x.x-{chexpert,negbio}`, `-metadata` and `-split`, as CSV, packed or not.
"""

from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT
from retune.store.plural import counted

from ...findings import CHEXPERT_TOKENS, NO_FINDING
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import (
    count_values,
    label_states,
    required_ids,
    text_or_null,
    translate,
)
from ..tables.delimited import TextTable, read_csv
from ..tables.image_paths import check_paths
from ..tables.packed import find_tables

__all__ = ["find_mimic_table", "read_mimic"]

_IMAGE, _PATIENT, _STUDY, _VIEW = "dicom_id", "subject_id", "study_id", "ViewPosition"
_SPLITS: Final = {"train": "train", "validate": "validation", "test": "test"}
#: The labellers in the order of preference.
_LABELLERS: Final = ("chexpert", "negbio")


def find_mimic_table(root: Path, part: str) -> Path | None:
    """One of MIMIC's tables, such as ``metadata``, in `root`, or None."""
    return next(iter(find_tables(root, f"mimic-cxr-2*-{part}.csv")), None)


def read_mimic(root: Path, options: TableOptions) -> LabelTable:
    """Read MIMIC-CXR-JPG; `file` names another label table than CheXpert's.

    Raises:
        DatasetError: A table is missing or cannot be read, a study has two rows of
            labels, or tables contradict each other.
    """
    labels = read_csv(_label_file(root, options))
    labels.require([_PATIENT, _STUDY, *CHEXPERT_TOKENS])
    metadata = read_csv(_needed(root, "metadata"))
    metadata.require([_IMAGE, _PATIENT, _STUDY, _VIEW])
    patients = required_ids(metadata, _PATIENT)
    studies = text_or_null(metadata.column(_STUDY))
    paths = _paths(root, metadata, patients, studies)
    states, unlabelled = _states(labels, metadata, patients, studies)
    split, warnings = _splits(root, metadata)
    images = image_columns(
        path=paths,
        patient_id=patients,
        study_id=studies,
        view=pc.utf8_upper(text_or_null(metadata.column(_VIEW))),
        official_split=split,
    )
    findings = tuple(CHEXPERT_TOKENS.values())
    return LabelTable("mimic", images, findings, states, (*unlabelled, *warnings))


def _label_file(root: Path, options: TableOptions) -> Path:
    if options.file:
        return root / options.file
    label_files = [find_mimic_table(root, labeller) for labeller in _LABELLERS]
    file = next((one for one in label_files if one is not None), None)
    return file or _needed(root, _LABELLERS[0])


def _needed(root: Path, part: str) -> Path:
    file = find_mimic_table(root, part)
    if file is None:
        raise DatasetError(
            f"{root} holds no mimic-cxr-2.0.0-{part}.csv.gz",
            "Give the folder that holds MIMIC-CXR-JPG's tables; all three are needed: "
            "labels (chexpert or negbio), metadata and, for the official split, split.",
        )
    return file


def _paths(
    root: Path, table: TextTable, patients: pa.Array, studies: pa.Array
) -> pa.StringArray:
    images = text_or_null(table.column(_IMAGE))
    folder = pc.binary_join_element_wise(
        pc.binary_join_element_wise(
            "files/p", pc.utf8_slice_codeunits(patients, 0, 2), ""
        ),
        pc.binary_join_element_wise("p", patients, ""),
        pc.binary_join_element_wise("s", studies, ""),
        "/",
    )
    stem = pc.binary_join_element_wise(folder, images, "/")
    blank = pc.is_null(stem)
    if pc.any(blank).as_py():
        location = table.places([pc.index(blank, True).as_py()])[0]
        raise DatasetError(
            f"{location}: {_IMAGE} or {_STUDY} is missing", "Download the table again."
        )
    jpg, dcm = (pc.binary_join_element_wise(stem, end, "") for end in (".jpg", ".dcm"))
    check_paths(jpg, table.places)
    return choose_arrangement(root, [jpg, dcm])


def _states(
    labels: TextTable, metadata: TextTable, patients: pa.Array, studies: pa.Array
) -> tuple[np.ndarray, list[str]]:
    """Each image's states are those of its study, absent where it has no labels."""
    if NO_FINDING in labels.cells.column_names:
        label_states(labels, [NO_FINDING])  # derived, so not kept; but it must be sound
    by_study = label_states(labels, list(CHEXPERT_TOKENS))
    known = pc.utf8_trim_whitespace(labels.column(_STUDY))
    _check_studies(labels, known)
    where = pc.index_in(studies, value_set=known)
    missing = pc.is_null(where)
    rows = pc.fill_null(where, 0)
    owner = pc.utf8_trim_whitespace(labels.column(_PATIENT)).take(rows)
    torn = pc.and_(pc.invert(missing), pc.not_equal(owner, patients))
    if pc.any(torn).as_py():
        row = pc.index(torn, True).as_py()
        raise DatasetError(
            f"{metadata.places([row])[0]}: study {studies[row]} is of patient "
            f"{patients[row]} here, of {owner[row]} in {labels.file.name}",
            "Use tables of one release.",
        )
    states = by_study[rows.to_numpy()]
    states[missing.to_numpy(zero_copy_only=False)] = ABSENT
    n_missing = pc.sum(missing).as_py()
    if not n_missing:
        return states, []
    return states, [
        f"{counted(n_missing, 'image', 'are')} of studies without labels in "
        f"{labels.file.name}"
    ]


def _check_studies(labels: TextTable, studies: pa.StringArray) -> None:
    if pc.count_distinct(studies).as_py() == len(studies):
        return
    codes = pc.dictionary_encode(studies).indices.to_numpy()
    _, first = np.unique(codes, return_index=True)
    again = int(np.setdiff1d(np.arange(len(codes)), first)[0])
    before, location = labels.places([int(first[codes[again]]), again])
    raise DatasetError(
        f"study {studies[again]} has labels twice: {before} and {location}",
        "Keep one row per study.",
    )


def _splits(root: Path, metadata: TextTable) -> tuple[pa.Array, list[str]]:
    images = pc.utf8_trim_whitespace(metadata.column(_IMAGE))
    file = find_mimic_table(root, "split")
    if file is None:
        return pa.nulls(len(images), pa.string()), [
            "no table of the official split: patients are split by hash"
        ]
    table = read_csv(file)
    table.require([_IMAGE, "split"])
    words = pc.utf8_trim_whitespace(table.column("split"))
    splits = translate(words, _SPLITS)
    if splits.null_count:
        odd = pc.is_null(splits)
        location = table.places([pc.index(odd, True).as_py()])[0]
        raise DatasetError(
            f"{location}: not a split: {count_values(words.filter(odd))}",
            f"A split is one of {', '.join(_SPLITS)}.",
        )
    listed = pc.utf8_trim_whitespace(table.column(_IMAGE))
    sides = splits.take(pc.index_in(images, value_set=listed))
    lacking = sides.null_count
    warnings = (
        [f"{counted(lacking, 'image', 'are')} not in {file.name}"] if lacking else []
    )
    return sides, warnings
