"""CheXpert (v1.0, v1.0-small), CheXlocalize and visualCheXbert: one family of tables.

All have a `Path` and the same label columns; CheXlocalize leaves out sex, age and view,
and visualCheXbert writes no blanks and no uncertainty.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.plural import counted

from ...findings import CHEXPERT_TOKENS, NO_FINDING
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import ages, label_states, sexes, text_or_null
from ..tables.delimited import TextTable, join_places, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.packed import find_tables

__all__ = ["CHEXPERT_FILES", "find_chexpert_tables", "read_chexpert"]

#: Official split -> its possible files; the first that exists is read, because
#: CheXlocalize's `val_labels.csv` lists the images of `valid.csv` once more.
CHEXPERT_FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "train": ("train.csv",),
    "validation": ("valid.csv", "val_labels.csv"),
    "test": ("test.csv", "test_labels.csv"),
}

_PATH, _SEX, _AGE, _SIDE, _VIEW = "Path", "Sex", "Age", "Frontal/Lateral", "AP/PA"
#: Folders of the releases; CheXlocalize calls its own ``CheXpert``.
#: The full size comes in four such folders: `batch 1 (validate & csv)` and so on.
_BATCHES: Final = "CheXpert-v1.0 batch *"
_RELEASES: Final = ("CheXpert-v1.0", "CheXpert-v1.0-small", "CheXpert")
_RELEASE_PREFIX: Final = r"^CheXpert-v1\.0(-small)?/"
_SEGMENTS: Final = r"(?:^|/)(?P<patient>patient[^/]+)/(?P<study>study[^/]+)/[^/]+$"
_SIDE_IN_NAME: Final = r"_(?P<side>frontal|lateral)\.[^./]+$"


def find_chexpert_tables(root: Path) -> dict[str, Path]:
    """Official split -> table, in `root` or in a release's folder inside it."""
    releases = [root / release for release in _RELEASES]
    for folder in (root, *releases, *sorted(root.glob(_BATCHES))):
        there = {
            split: [file for name in names for file in find_tables(folder, name)]
            for split, names in CHEXPERT_FILES.items()
        }
        if any(there.values()):
            return {split: files[0] for split, files in there.items() if files}
    return {}


def read_chexpert(root: Path, options: TableOptions) -> LabelTable:
    """Read CheXpert's tables, those that are there, or those that options name.

    `file` may name several, with commas between them: visualCheXbert's for training and
    the experts' for evaluation.

    Raises:
        DatasetError: No table is there, or one of them cannot be read.
    """
    if options.file:
        files = [root / name.strip() for name in options.file.split(",")]
        split_tables: list[tuple[str | None, Path]] = [(_split_of(f), f) for f in files]
    else:
        split_tables = [*find_chexpert_tables(root).items()]
    tables = [read_csv(file) for _, file in split_tables]
    if not tables:
        names = ", ".join(name for names in CHEXPERT_FILES.values() for name in names)
        raise DatasetError(
            f"{root} holds none of {names}",
            "Give the folder that holds CheXpert's label tables.",
        )
    parts = [
        _read_one(root, split, table)
        for (split, _), table in zip(split_tables, tables, strict=True)
    ]
    images = pa.concat_tables([part.images for part in parts]).combine_chunks()
    if len(parts) > 1:  # an image may be listed in two files
        places = join_places(tables)
        check_paths(images.column("path").combine_chunks(), places)
    return LabelTable(
        layout="chexpert",
        images=images,
        findings=tuple(CHEXPERT_TOKENS.values()),
        states=np.concatenate([part.states for part in parts]),
        warnings=tuple(warning for part in parts for warning in part.warnings),
    )


def _split_of(file: Path) -> str | None:
    """The split that a file's name speaks of, as in ``train_visualCheXbert.csv``."""
    for split, start in (("train", "train"), ("validation", "val"), ("test", "test")):
        if file.name.lower().startswith(start):
            return split
    return None


def _read_one(root: Path, split: str | None, table: TextTable) -> LabelTable:
    """One of the tables; sex, age and view may be missing, findings may not."""
    table.require([_PATH, *CHEXPERT_TOKENS])
    names = table.cells.column_names
    written = tidy_paths(table.column(_PATH))
    check_paths(written, table.places)
    columns = {"view": _views(table, written)}
    columns["patient_id"], columns["study_id"] = _patient_and_study(table, written)
    columns["official_split"] = pa.repeat(pa.scalar(split, pa.string()), len(written))
    warnings: list[str] = []
    for name, column, convert in (("sex", _SEX, sexes), ("age", _AGE, ages)):
        if column in names:
            columns[name], odd = convert(table.column(column), column)
            warnings += odd
    if NO_FINDING in names:
        label_states(table, [NO_FINDING])  # derived, so not kept; but it must be sound
    known = {_PATH, _SEX, _AGE, _SIDE, _VIEW, NO_FINDING, *CHEXPERT_TOKENS}
    other = [name for name in names if name not in known]
    if other:
        warnings.append(f"{counted(len(other), 'column')} not read: {', '.join(other)}")
    return LabelTable(
        layout="chexpert",
        images=image_columns(path=_as_on_disk(root, written), **columns),
        findings=tuple(CHEXPERT_TOKENS.values()),
        states=label_states(table, list(CHEXPERT_TOKENS)),
        warnings=tuple(f"{table.file.name}: {warning}" for warning in warnings),
    )


def _patient_and_study(
    table: TextTable, paths: pa.StringArray
) -> tuple[pa.StringArray, pa.StringArray]:
    """Ids from the path: ``patient00001`` and ``patient00001/study1``."""
    segments = pc.extract_regex(paths, _SEGMENTS)
    if segments.null_count:
        row = pc.index(pc.is_null(segments), True).as_py()
        raise DatasetError(
            f"{table.places([row])[0]}: no patient and study in the path"
            f" {paths[row].as_py()!r}",
            "CheXpert's paths end in patientNNNNN/studyN/FILE; for other paths use the"
            " layout table.",
        )
    patient = pc.struct_field(segments, "patient")
    study = pc.struct_field(segments, "study")
    return patient, pc.binary_join_element_wise(patient, study, "/")


def _views(table: TextTable, paths: pa.StringArray) -> pa.StringArray:
    """The projection where one is given, else frontal or lateral."""
    if _SIDE in table.cells.column_names:
        side = text_or_null(table.column(_SIDE))
    else:
        side = pc.struct_field(pc.extract_regex(paths, _SIDE_IN_NAME), "side")
    if _VIEW in table.cells.column_names:
        side = pc.coalesce(text_or_null(table.column(_VIEW)), side)
    return pc.utf8_upper(side)


def _as_on_disk(root: Path, paths: pa.StringArray) -> pa.StringArray:
    """Paths from `root`, whatever release they name and wherever that lies.

    The tables write ``CheXpert-v1.0-small/train/…`` (or nothing, or the other release);
    the root may be the folder around the release or the release itself.
    """
    named = paths[0].as_py().split("/", 1)[0]
    folder = next(
        (r for r in (named, *_RELEASES) if r in _RELEASES and (root / r).is_dir()), ""
    )
    paths = pc.replace_substring_regex(paths, _RELEASE_PREFIX, "")
    base = root / folder
    for written, other in (("valid", "val"), ("val", "valid")):
        # CheXlocalize keeps in val/ what its table, like CheXpert, calls valid/.
        if (base / other).is_dir() and not (base / written).is_dir():
            paths = pc.replace_substring_regex(paths, f"^{written}/", f"{other}/")
    if folder:
        return choose_arrangement(
            root, [pc.binary_join_element_wise(folder, paths, "/"), paths]
        )
    return choose_arrangement(root, [paths, *_in_batches(root, paths)])


def _in_batches(root: Path, paths: pa.StringArray) -> list[pa.StringArray]:
    """Paths in the folders of the full size, which have `train/` inside or not."""
    bare = pc.replace_substring_regex(paths, r"^(train|valid|val|test)/", "")
    return [
        pc.binary_join_element_wise(folder.name, inside, "/")
        for folder in sorted(root.glob(_BATCHES))
        for inside in (paths, bare)
    ]
