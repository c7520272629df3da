"""From a folder to rows that are ready to be stored: images, splits, label states."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

from .acquisition import dates_from_dicom as read_dates
from .acquisition import shifted_dates
from .contract import DETAIL_SCHEMA, LabelTable, TableOptions
from .layouts import read_layout, recognise
from .missing_files import found_files, missing_warning
from .moved_files import find_moved, moved_note
from .pseudonyms import key_check, pseudonyms
from .splits import assign_splits, resplit
from .table_map import TableMap
from .tables.image_paths import check_paths
from .tables.listing import listing_of

__all__ = ["PLAN_SCHEMA", "IngestPlan", "read_dataset"]

#: Layouts whose file names say which image they are of, wherever they lie.
_PUBLIC: Final = frozenset(
    ("nih", "chexpert", "chexpert-plus", "mimic", "padchest", "vindr", "openi")
)

#: The catalog's `images`, less the digest, which only reading the pixels can give.
PLAN_SCHEMA: Final = pa.schema(
    [
        pa.field("image_id", pa.string(), nullable=False),
        pa.field("dataset", pa.string(), nullable=False),
        pa.field("path", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("study_id", pa.string()),
        pa.field("view", pa.string()),
        pa.field("sex", pa.string()),
        pa.field("age", pa.float32()),
        pa.field("split", pa.string(), nullable=False),
    ]
)


@dataclass(frozen=True)
class IngestPlan:
    """What will be stored of one data set.

    Attributes:
        dataset: Its name in the store.
        layout: The layout it was read as.
        root: Absolute path that the image paths are relative to.
        images: N rows of `PLAN_SCHEMA`.
        findings: K names.
        states: (N, K) int8 codes of `retune.store.label_states`.
        warnings: What was odd but usable, each with its count.
        key_check: Tells which key made the pseudonyms; None if ids are as they were.
        details: N rows of `DETAIL_SCHEMA`, then columns that are kept.
        understood: Part of the table -> how it was understood, for a person.
        proposal: The same as a map that says all of it.
    """

    dataset: str
    layout: str
    root: Path
    images: pa.Table
    findings: tuple[str, ...]
    states: np.ndarray
    warnings: tuple[str, ...]
    key_check: str | None = None
    details: pa.Table | None = None
    understood: Mapping[str, str] = field(default_factory=dict)
    proposal: TableMap | None = None

    @property
    def rows(self) -> pa.Table:
        """The images with their details: what the catalog's `images` holds of them."""
        rows = self.images
        if self.details is not None:
            for name in self.details.column_names:
                rows = rows.append_column(name, self.details.column(name))
        return rows


def read_dataset(
    root: Path,
    layout: str | None = None,
    *,
    dataset: str | None = None,
    options: TableOptions | None = None,
    split_seed: int = 0,
    ignore_official_splits: bool = False,
    key: bytes | None = None,
    follow_links: bool = False,
    dates_from_dicom: bool = False,
) -> IngestPlan:
    """Read a data set's label tables and assign its splits. No image is opened.

    Args:
        root: Folder that holds the label tables and, below it, the images.
        layout: A name in `LAYOUTS`; None to recognise it.
        dataset: Name in the store; by default the layout's.
        options: What to know about the table, if anything.
        split_seed: Seed of the patient hash, where official splits leave a choice.
        ignore_official_splits: Split all patients by hash.
        key: Turns patient, study and image ids into pseudonyms; None leaves them.
        follow_links: Read tables and find images also behind links that leave `root`.
        dates_from_dicom: Open the heads of DICOM files for dates that the table lacks.

    Raises:
        ConfigurationError: Unknown layout, option or an unusable data set name.
        DatasetError: No such folder, an empty one, tables that cannot be read, or a
            link that leaves the folder.
    """
    root = _checked_root(root)
    with listing_of(root, follow_links=follow_links):
        layout = layout or recognise(root)
        dataset = _checked_name(layout if dataset is None else dataset)
        table = read_layout(layout, root, options or TableOptions())
        paths, missing, notes = _on_disk(root, table)
    warnings = (*table.warnings, *notes)
    if missing and layout != "nih":  # whose reader looks for them and has said so
        warnings = (*warnings, missing_warning(missing, len(paths)))
    details = _details(table)
    if dates_from_dicom:
        details, undated = _dated(details, root, paths)
        warnings = (*warnings, *undated)
    if key is not None:
        warnings = (*warnings, *_telling_paths(table.images), *_telling_kept(details))
        details = _hidden_details(details, table, key)
        table = _pseudonymized(table, key)
    patients = _strings(table.images.column("patient_id"))
    if ignore_official_splits:
        split = resplit(patients, seed=split_seed)
    else:
        official = _strings(table.images.column("official_split"))
        split = assign_splits(patients, official, seed=split_seed)
    return IngestPlan(
        dataset=dataset,
        layout=layout,
        root=root,
        images=_planned_images(dataset, table, paths, split, key),
        findings=table.findings,
        states=table.states,
        warnings=warnings,
        key_check=None if key is None else key_check(key),
        details=details,
        understood=table.understood,
        proposal=table.proposal,
    )


def _details(table: LabelTable) -> pa.Table:
    """N rows of `DETAIL_SCHEMA`, null where nothing is said, then kept columns."""
    given = table.details if table.details is not None else pa.table({})
    n_rows = table.images.num_rows
    columns = {
        one.name: given.column(one.name)
        if one.name in given.column_names
        else pa.nulls(n_rows, one.type)
        for one in DETAIL_SCHEMA
    }
    kept = {n: given.column(n) for n in given.column_names if n not in columns}
    return pa.table(columns | kept)


def _dated(
    details: pa.Table, root: Path, paths: pa.StringArray
) -> tuple[pa.Table, list[str]]:
    """Details with dates from DICOM where the table has none; a note if any lack."""
    times = details.column("acquired_at").to_pylist()
    rows = [row for row, time in enumerate(times) if time is None]
    dates = read_dates(root, [paths[row].as_py() for row in rows])
    for row, time in zip(rows, dates, strict=True):
        times[row] = time
    dated = pa.array(times, pa.timestamp("us"))
    column_index = details.column_names.index("acquired_at")
    details = details.set_column(column_index, "acquired_at", dated)
    if not dated.null_count:
        return details, []
    return details, [
        f"{counted(dated.null_count, 'image', 'have')} no date in table or DICOM file"
    ]


def _hidden_details(details: pa.Table, table: LabelTable, key: bytes) -> pa.Table:
    """Details with shifted dates and other series ids."""
    patients = table.images.column("patient_id").combine_chunks()
    times = details.column("acquired_at").combine_chunks()
    series = details.column("series_id").combine_chunks()
    for name, column in (
        ("acquired_at", shifted_dates(key, patients, times)),
        ("series_id", pseudonyms(key, "series", series)),
    ):
        details = details.set_column(details.column_names.index(name), name, column)
    return details


def _telling_kept(details: pa.Table) -> list[str]:
    """A warning that kept columns are no pseudonyms."""
    kept = [name for name in details.column_names if name not in DETAIL_SCHEMA.names]
    if not kept:
        return []
    return [f"kept as they are, even if they identify patients: {', '.join(kept)}"]


def _checked_root(root: Path) -> Path:
    hint = "Give the folder that holds the label table and the images."
    if not root.exists():
        raise DatasetError(f"there is no folder {root}", hint)
    if not root.is_dir():
        raise DatasetError(f"{root} is a file, not a folder", hint)
    try:
        empty = next(root.iterdir(), None) is None
    except OSError as error:
        reason = error.strerror or str(error)
        raise DatasetError(f"cannot list {root}: {reason}", hint) from error
    if empty:
        raise DatasetError(f"{root} is empty", hint)
    return root.resolve()


def _on_disk(
    root: Path, table: LabelTable
) -> tuple[pa.StringArray, list[str], list[str]]:
    """Image paths as the disk spells them, those that are not there, and a note."""
    written = table.images.column("path").combine_chunks()
    names, notes = written.to_pylist(), []
    files_there = found_files(root, written)
    rows = [row for row, there in enumerate(files_there) if there is None]
    if rows and table.layout in _PUBLIC:
        taken = set(files_there)
        elsewhere = find_moved(root, names, rows)
        moved = {row: path for row, path in elsewhere.items() if path not in taken}
        for row, path in moved.items():
            files_there[row] = path
        if moved:
            notes.append(moved_note(list(moved.values()), len(names)))
    pairs = list(zip(names, files_there, strict=True))
    paths = pa.array([there or path for path, there in pairs], pa.string())
    if not paths.equals(written):  # two spellings may be one file
        check_paths(paths)
    return paths, [path for path, there in pairs if there is None], notes


def _checked_name(dataset: str) -> str:
    # The name is the first part of every image id, up to the first slash.
    if not dataset.strip() or "/" in dataset or not dataset.isprintable():
        raise ConfigurationError(
            f"{dataset!r} cannot name a data set",
            "Use letters, digits, '-' and '_', as in nih-320.",
        )
    return dataset


def _strings(column: pa.ChunkedArray) -> np.ndarray:
    """(N,) object array of str and None."""
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=object)


def _telling_paths(images: pa.Table) -> list[str]:
    """A warning where paths, which are stored as they are, have patients in them."""
    paths, patients = (
        images.column(name).to_pylist() for name in ("path", "patient_id")
    )
    telling = sum(
        patient in path for path, patient in zip(paths, patients, strict=True)
    )
    if not telling:
        return []
    return [
        f"{telling:,} of {len(paths):,} image paths contain their patient's id, and"
        " paths are stored as they are: rename the files first if that must not be"
    ]


def _pseudonymized(table: LabelTable, key: bytes) -> LabelTable:
    """The table with other patient and study ids; splits are made of these."""
    images = table.images
    for id_type in ("patient", "study"):
        name = f"{id_type}_id"
        ids = pseudonyms(key, id_type, images.column(name).combine_chunks())
        column_index = images.column_names.index(name)
        images = images.set_column(column_index, images.schema.field(name), ids)
    return replace(table, images=images)


def _planned_images(
    dataset: str,
    table: LabelTable,
    on_disk: pa.StringArray,
    split: np.ndarray,
    key: bytes | None,
) -> pa.Table:
    """The rows to store; ids are made of the table's spelling, on any disk."""
    images = table.images
    path = images.column("path").combine_chunks()
    if key is not None:
        path = pseudonyms(key, "image", path)
    columns = {
        **{name: images.column(name) for name in images.column_names},
        "path": on_disk,
        "image_id": pc.binary_join_element_wise(dataset, path, "/"),
        "dataset": pa.repeat(pa.scalar(dataset, pa.string()), images.num_rows),
        "split": pa.array(split.tolist(), pa.string()),
    }
    return pa.Table.from_arrays(
        [columns[name] for name in PLAN_SCHEMA.names], schema=PLAN_SCHEMA
    )
