"""A dataset's label table becomes rows of a store."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

from retune.store import DatasetChange, FeatureStore
from retune.store.errors import ConfigurationError, DatasetError

from ..datasets.contract import TableOptions
from ..datasets.ingest import IngestPlan, read_dataset
from ..datasets.layouts import known_layouts
from ..datasets.path_hiding import hide_paths
from ..datasets.pseudonyms import read_key
from ..datasets.table_map import load_map
from ..healed import tell_healed
from ..progress import Progress, ProgressCallback, silent
from .erasing.returning import keep_erased_out
from .ingesting.changes import reading_changes
from .ingesting.proposal import map_text, write_map
from .ingesting.remembered import (
    Remembered,
    as_reading,
    hidden_paths_file,
    joined_options,
    remembered,
)

__all__ = [
    "IngestRequest", "IngestSummary", "SplitCount", "ingest", "propose_map",
]  # fmt: skip


@dataclass(frozen=True)
class IngestRequest:
    """Which dataset to read, and how.

    Attributes:
        root: Folder with the label table and the images.
        layout: Name of the layout; None: as before, or it is recognised.
        dataset: Name in the store; None: as before, or the layout's.
        options: What to know about the table; what is not said is as it was before.
        split_seed: Seed of the patient-disjoint splits; None: as before, or 0.
        ignore_official_splits: Divide all patients by their hash.
        moved: The dataset lies in another folder than before.
        key_file: Its key turns patient, study and image ids into pseudonyms.
        follow_links: Follow links that lead out of the dataset's folder.
        map_file: A map: it says all there is to say of the table.
        anew: Forget how the table was understood before.
        append: The table has new rows only; those that are there stay.
        dates_from_dicom: Open the heads of DICOM files for dates that the table lacks.
        dry_run: Read and tell, but write nothing.
        un_forget: Let erased patients back in whom the table has.
        hide_paths: File that keeps the paths; the store gets digests of them. None: as
            before.
    """

    root: Path
    layout: str | None = None
    dataset: str | None = None
    options: TableOptions = field(default_factory=TableOptions)
    split_seed: int | None = None
    ignore_official_splits: bool = False
    moved: bool = False
    key_file: Path | None = None
    follow_links: bool = False
    map_file: Path | None = None
    anew: bool = False
    append: bool = False
    dates_from_dicom: bool = False
    dry_run: bool = False
    un_forget: bool = False
    hide_paths: Path | None = None


@dataclass(frozen=True)
class SplitCount:
    """Patients and images of one split."""

    split: str
    patients: int
    images: int


@dataclass(frozen=True)
class IngestSummary:
    """What an ingest did.

    Attributes:
        dataset: Its name in the store.
        layout: The layout it was read as.
        change: Numbers of images that are new or gone, and the version of the labels.
        splits: The largest first.
        warnings: What was odd but usable, each with its count.
        understood: Part of the table -> how it was understood.
        reading_changes: What is understood otherwise than before, and what it changes.
        written: Whether it is in the store now.
    """

    dataset: str
    layout: str
    change: DatasetChange
    splits: tuple[SplitCount, ...]
    warnings: tuple[str, ...]
    understood: Mapping[str, str] = field(default_factory=dict)
    reading_changes: tuple[str, ...] = ()
    written: bool = True

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {
            "dataset": self.dataset,
            "layout": self.layout,
            **vars(self.change),
            "warnings": list(self.warnings),
            "understood": dict(self.understood),
            "reading_changes": list(self.reading_changes),
            "written": self.written,
        }


def ingest(
    store: str | PathLike[str],
    request: IngestRequest,
    progress: ProgressCallback = silent,
) -> IngestSummary:
    """Read a dataset's label table into a store, which is made if there is none.

    A dataset that was read from the same folder before is understood as it was then,
    but for what the request says; what that changes is told before it is done.

    Args:
        store: Folder of the store; not touched if the table cannot be read.
        request: What to read.
        progress: Told each warning and change, before anything is written.

    Raises:
        ConfigurationError: Unknown layout, option or an unusable name.
        DatasetError: No such folder, or tables that cannot be read.
        StoreBusyError: Another process writes to the store.
        StoreWriteError: The store cannot be made or written.
    """
    hidden = request.hide_paths or hidden_paths_file(
        store, request.root, request.dataset
    )
    before = None
    if not request.anew:
        folder = hidden or request.root
        before = remembered(store, folder, request.dataset, request.layout)
    request = _as_before(request, before)
    plan = _read(request)
    apart = None if hidden is None else hide_paths(plan, hidden)
    if apart is not None:
        plan = apart.plan
    changes: tuple[str, ...] = ()
    if before is not None and before.understood:
        other = request.options != before.options
        changes = reading_changes(store, plan, before.understood, other_options=other)
    for note in (*plan.warnings, *changes):
        progress(Progress("Note", 0, 0, note))
    if request.dry_run:
        change = DatasetChange(len(plan.images), 0, 0, len(plan.findings), 0, False)
        return _summary(plan, change, (), changes, written=False)
    feature_store = FeatureStore.create(store)
    if apart is not None:
        _check_apart(feature_store, apart.file)
        apart.keys.write(apart.file)  # before the store names its digests
    change = _write(feature_store, plan, request, progress)
    rows = feature_store.rows(
        """SELECT split, count(DISTINCT patient_id), count(*) FROM images
        WHERE dataset = ? GROUP BY split ORDER BY count(*) DESC""",
        [plan.dataset],
    )
    splits = tuple(SplitCount(*row) for row in rows)
    return _summary(plan, change, splits, changes)


def _check_apart(store: FeatureStore, file: Path) -> None:
    if file.resolve().is_relative_to(store.path.resolve()):
        raise ConfigurationError(
            f"{file} lies in the store, which must not name anybody",
            "Keep `hide_paths` elsewhere.",
        )


def propose_map(
    request: IngestRequest, file: Path | None = None, store: Path | None = None
) -> Path:
    """Write how a table was understood into a file, for a person to edit.

    Args:
        request: What to read.
        file: Where to; None: ``TABLE.map.yaml`` in the current folder.
        store: Where the dataset may be known from; None: nowhere.

    Returns:
        The file.

    Raises:
        ConfigurationError: There is such a file already, or the layout has no map.
        DatasetError: The table cannot be read.
        StoreWriteError: The disk refused.
    """
    if store is not None and not request.anew:
        before = remembered(store, request.root, request.dataset, request.layout)
        request = _as_before(request, before)
    plan = _read(request)
    if plan.proposal is None:
        raise DatasetError(
            f"the layout {plan.layout!r} needs no map",
            "Maps are for `layout` table.",
        )
    name = plan.understood["table"].split(": ")[0]
    file = file or Path(f"{name.split('.')[0]}.map.yaml")
    write_map(file, map_text(name, plan.proposal))
    return file


def _as_before(request: IngestRequest, before: Remembered | None) -> IngestRequest:
    """The request, completed by what is remembered."""
    options = request.options
    if request.map_file is not None:
        options = replace(options, mapping=load_map(request.map_file))
    if before is None:
        seed = request.split_seed or 0
        return replace(request, options=options, split_seed=seed)
    seed = before.split_seed if request.split_seed is None else request.split_seed
    return replace(
        request,
        options=joined_options(options, before.options),
        layout=request.layout or before.layout,
        dataset=request.dataset or before.dataset,
        dates_from_dicom=request.dates_from_dicom or before.dates_from_dicom,
        split_seed=seed,
    )


def _read(request: IngestRequest) -> IngestPlan:
    return read_dataset(
        request.root,
        request.layout,
        dataset=request.dataset,
        options=request.options,
        split_seed=request.split_seed or 0,
        ignore_official_splits=request.ignore_official_splits,
        key=None if request.key_file is None else read_key(request.key_file),
        follow_links=request.follow_links,
        dates_from_dicom=request.dates_from_dicom,
    )


def _write(
    store: FeatureStore,
    plan: IngestPlan,
    request: IngestRequest,
    progress: ProgressCallback,
) -> DatasetChange:
    population = known_layouts()[plan.layout].population
    reading = as_reading(
        request.options,
        plan.understood,
        plan.proposal.dates if plan.proposal else None,
        dates_from_dicom=request.dates_from_dicom,
    )
    with store.writer("ingest") as writer:
        tell_healed(writer.reconciled, progress)
        returning = keep_erased_out(
            store, plan, population, un_forget=request.un_forget
        )
        if returning.note:
            progress(Progress("Note", 0, 0, returning.note))
        plan = returning.plan
        return writer.replace_dataset(
            plan.rows,
            plan.findings,
            plan.states,
            dataset=plan.dataset,
            layout=plan.layout,
            root=plan.root,
            split_seed=request.split_seed or 0,
            warnings=plan.warnings,
            moved=request.moved,
            key_check=plan.key_check,
            population=population,
            reading=reading,
            append=request.append,
            follow_links=request.follow_links,
        )


def _summary(
    plan: IngestPlan,
    change: DatasetChange,
    splits: tuple[SplitCount, ...],
    changes: tuple[str, ...],
    *,
    written: bool = True,
) -> IngestSummary:
    return IngestSummary(
        plan.dataset,
        plan.layout,
        change,
        splits,
        plan.warnings,
        plan.understood,
        changes,
        written,
    )
