"""NIH ChestX-ray14: `Data_Entry_2017*.csv` beside folders of images.

The table of 2020 says `Patient Sex` where that of 2017 said `Patient Gender`. Kaggle's
mirrors have `sample_labels.csv`, ages such as ``060Y`` and folders of other names.

The labeller states its whole vocabulary for every image (Wang et al., CVPR 2017), so a
finding that is not listed is negative, not absent.
"""

import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE
from retune.store.plural import counted

from ...findings import NIH_TOKENS, NO_FINDING
from ..contract import LabelTable, TableOptions, image_columns
from ..moved_files import find_moved
from ..tables.cells import ages, required_ids, sexes, text_or_null
from ..tables.delimited import TextTable, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.listing import check_table_file, current_listing
from ..tables.packed import find_tables

__all__ = ["find_nih_table", "read_nih"]

_IMAGE, _LABELS, _PATIENT = "Image Index", "Finding Labels", "Patient ID"
_VISIT: Final = "Follow-up #"
_REQUIRED: Final = (_IMAGE, _LABELS, _VISIT, _PATIENT)
#: Columns that a table may have, under one of these names.
_AGE: Final = ("Patient Age", "Age")
_SEX: Final = ("Patient Sex", "Patient Gender", "Sex", "Gender")
_VIEW: Final = ("View Position", "ViewPosition", "View")

#: The corrected table (2020), preferred where the first one lies beside it.
_CORRECTED: Final = "Data_Entry_2017_v2020.csv"

_LISTS: Final[Mapping[str, str]] = {
    "train_val_list.txt": "train",
    "test_list.txt": "test",
}
#: Where images lie: NIH's archives, then Kaggle's mirrors.
_FOLDERS: Final = (
    *("images", "images_*/images", "images_*", "images/images"),
    *("images-*/images-*", "images-*", "sample/images", "sample/sample/images"),
)
_FINDINGS: Final = tuple(NIH_TOKENS.values())


def find_nih_table(root: Path) -> Path | None:
    """The label table of ChestX-ray14 in `root`, or None where there is none.

    Raises:
        DatasetError: There are several, and none is the corrected one of 2020.
    """
    tables = find_tables(root, "Data_Entry_2017*.csv")
    candidates = find_tables(root, _CORRECTED)[:1] or tables
    if not candidates:
        samples = [root / "sample_labels.csv", root / "sample" / "sample_labels.csv"]
        candidates = [file for file in samples if file.is_file()][:1]
    if len(candidates) > 1:
        names = ", ".join(table.name for table in candidates)
        raise DatasetError(
            f"{root} holds several label tables: {names}",
            "Name the one to read with `file`.",
        )
    return candidates[0] if candidates else None


def read_nih(root: Path, options: TableOptions) -> LabelTable:
    """Read ChestX-ray14, in full or cut down to some of its rows.

    Images are looked for in ``images/``, ``images_*/images/`` and the folders of
    Kaggle's mirrors; one that is in none of them keeps the path ``images/NAME`` and is
    counted in a warning. Sex, age and view may be missing.

    Raises:
        DatasetError: There is no label table, or it cannot be read.
    """
    file = root / options.file if options.file else find_nih_table(root)
    if file is None:
        raise DatasetError(
            f"{root} holds no Data_Entry_2017*.csv and no sample_labels.csv",
            "Give the folder that holds NIH's label table.",
        )
    table = read_csv(file)
    table.require(_REQUIRED)
    states, label_warnings = _states(table)
    names = tidy_paths(table.column(_IMAGE))
    check_paths(names, table.places)
    paths, path_warnings = _on_disk(root, names)
    patients = required_ids(table, _PATIENT)
    columns, odd = _optional_columns(table, patients)
    columns["official_split"], split_warnings = _official_split(root, names)
    images = image_columns(path=paths, patient_id=patients, **columns)
    warnings = (*label_warnings, *path_warnings, *odd, *split_warnings)
    return LabelTable("nih", images, _FINDINGS, states, warnings)


def _optional_columns(
    table: TextTable, patients: pa.StringArray
) -> tuple[dict[str, pa.Array], list[str]]:
    """Study, view, sex and age, where the table has them, and what was odd."""
    visit = text_or_null(table.column(_VISIT))
    columns = {"study_id": pc.binary_join_element_wise(patients, visit, "_")}
    there = table.cells.column_names
    view, sex, age = (
        next((name for name in names if name in there), None)
        for names in (_VIEW, _SEX, _AGE)
    )
    lacking = [
        names[0]
        for names, name in ((_VIEW, view), (_SEX, sex), (_AGE, age))
        if name is None
    ]
    warnings = [f"no column {name!r}: it is unknown" for name in lacking]
    if view:
        columns["view"] = pc.utf8_upper(text_or_null(table.column(view)))
    if sex:
        columns["sex"], odd = sexes(table.column(sex), sex)
        warnings += odd
    if age:
        columns["age"], odd = ages(table.column(age), age)
        warnings += odd
    return columns, warnings


def _states(table: TextTable) -> tuple[np.ndarray, list[str]]:
    """Label states (N, 14); only the few distinct label strings are parsed."""
    encoded = pc.dictionary_encode(table.column(_LABELS))
    rows = encoded.indices.to_numpy()
    counts = np.bincount(rows, minlength=len(encoded.dictionary))
    codes = np.full((len(counts), len(_FINDINGS)), NEGATIVE, dtype=np.int8)
    unknown: dict[str, int] = {}
    blank = contradictory = 0
    for i, labels in enumerate(encoded.dictionary.to_pylist()):
        tokens = {token.strip() for token in labels.split("|")} - {""}
        if not tokens:
            codes[i] = ABSENT
            blank += int(counts[i])
        if NO_FINDING in tokens and len(tokens) > 1:
            contradictory += int(counts[i])
        for token in sorted(tokens - {NO_FINDING}):
            if token in NIH_TOKENS:
                codes[i, _FINDINGS.index(NIH_TOKENS[token])] = POSITIVE
            else:
                unknown[token] = unknown.get(token, 0) + int(counts[i])
    warnings = [
        f"column {_LABELS!r}: unknown label {token!r} ignored in "
        f"{counted(count, 'row')}"
        for token, count in sorted(unknown.items())
    ]
    if blank:
        warnings.append(
            f"column {_LABELS!r}: blank in {counted(blank, 'row')}; nothing is known "
            "of them"
        )
    if contradictory:
        warnings.append(
            f"column {_LABELS!r}: {NO_FINDING!r} beside a finding in"
            f" {counted(contradictory, 'row')}; the findings were kept"
        )
    return codes[rows], warnings


def _on_disk(root: Path, names: pa.StringArray) -> tuple[pa.StringArray, list[str]]:
    """Paths relative to the root, and a warning for the images that are not there."""
    listing = current_listing(root)
    folders = [
        folder.relative_to(root).as_posix()
        for pattern in _FOLDERS
        for folder in sorted(root.glob(pattern))
        if folder.is_dir()
    ]
    # NIH names are unique over all folders; a copy further on is not looked at.
    places: dict[str, str] = {}
    for folder in folders:
        for name in listing.names(folder):
            places.setdefault(unicodedata.normalize("NFC", name), f"{folder}/{name}")
    wanted = names.to_pylist()
    listed = [places.get(unicodedata.normalize("NFC", name)) for name in wanted]
    there = [None if path is None else listing.find(path) for path in listed]
    pairs = list(zip(wanted, there, strict=True))
    paths = pa.array([path or f"images/{name}" for name, path in pairs], pa.string())
    rows = [row for row, path in enumerate(there) if path is None]
    # Their paths stay as they are, for ids are made of them; ingest finds them too.
    moved = find_moved(root, wanted, rows) if rows else {}
    missing = [wanted[row] for row in rows if row not in moved]
    if not missing:
        return paths, []
    shown = ", ".join(missing[:10])
    return paths, [
        f"{len(missing):,} of {counted(len(names), 'image', 'are')} not in images/ or"
        f" images_*/images/, nor in {', '.join(folders) or 'a folder of a mirror'}:"
        f" {shown}{', …' if len(missing) > 10 else ''}"
    ]


def _official_split(
    root: Path, names: pa.StringArray
) -> tuple[pa.StringArray, list[str]]:
    """NIH's own lists, where they lie beside the table; null for images in neither."""
    split = pa.nulls(len(names), pa.string())
    warnings = []
    for file_name, value in _LISTS.items():
        file = root / file_name
        if not file.is_file():  # as Kaggle's mirror of small images calls it
            file = file.with_stem(f"{file.stem}_NIH")
        if not file.is_file():
            continue
        check_table_file(file)
        listed = _listed_names(file)
        here = pc.is_in(names, value_set=listed)
        both = pc.and_(here, pc.is_valid(split))
        if pc.any(both).as_py():
            first = names[pc.index(both, True).as_py()].as_py()
            raise DatasetError(
                f"{counted(pc.sum(both).as_py(), 'image', 'are')} in both "
                f"{' and '.join(_LISTS)},"
                f" first {first!r}",
                "Download NIH's two lists again.",
            )
        split = pc.if_else(here, value, split)
        absent = len(listed) - pc.sum(here).as_py()
        if absent:
            warnings.append(
                f"{file_name}: {counted(absent, 'image')} that the table has not"
            )
    unlisted = split.null_count
    if 0 < unlisted < len(names):
        warnings.append(f"{counted(unlisted, 'image', 'are')} in neither official list")
    return split, warnings


def _listed_names(file: Path) -> pa.StringArray:
    try:
        lines = file.read_text(encoding="utf-8-sig").split()
    except (OSError, UnicodeDecodeError) as error:
        raise DatasetError(
            f"cannot read {file}: {error}", "Download NIH's lists again."
        ) from error
    return pc.unique(pa.array(lines, pa.string()))
