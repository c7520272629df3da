"""A dataset's label table becomes rows of a store."""

from dataclasses import dataclass, field
from os import PathLike
from pathlib import Path
from typing import Any

from retune.store import DatasetChange, FeatureStore

from ..datasets.contract import TableOptions
from ..datasets.ingest import read_dataset
from ..datasets.layouts import known_layouts
from ..datasets.pseudonyms import read_key
from ..healed import tell_healed
from ..progress import Progress, ProgressCallback, silent

__all__ = ["IngestRequest", "IngestSummary", "SplitCount", "ingest"]


@dataclass(frozen=True)
class IngestRequest:
    """Which dataset to read, and how.

    Attributes:
        root: Folder with the label table and the images.
        layout: Name of the layout; None: it is recognised.
        dataset: Name in the store; None: the layout's.
        options: What to know about the table.
        split_seed: Seed of the patient-disjoint splits.
        ignore_official_splits: Divide all patients by their hash.
        moved: The dataset lies in another folder than before.
        key_file: Its key turns patient, study and image ids into pseudonyms.
        follow_links: Follow links that lead out of the dataset's folder.
    """

    root: Path
    layout: str | None = None
    dataset: str | None = None
    options: TableOptions = field(default_factory=TableOptions)
    split_seed: int = 0
    ignore_official_splits: bool = False
    moved: bool = False
    key_file: Path | None = None
    follow_links: bool = False


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
    """

    dataset: str
    layout: str
    change: DatasetChange
    splits: tuple[SplitCount, ...]
    warnings: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return {"dataset": self.dataset, "layout": self.layout, **vars(self.change)}


def ingest(
    store: str | PathLike[str],
    request: IngestRequest,
    progress: ProgressCallback = silent,
) -> IngestSummary:
    """Read a dataset's label table into a store, which is made if there is none.

    Args:
        store: Folder of the store; not touched if the table cannot be read.
        request: What to read.
        progress: Told each warning, before anything is written.

    Raises:
        ConfigurationError: Unknown layout, option or an unusable name.
        DatasetError: No such folder, or tables that cannot be read.
        StoreBusyError: Another process writes to the store.
        StoreWriteError: The store cannot be made or written.
    """
    plan = read_dataset(
        request.root,
        request.layout,
        dataset=request.dataset,
        options=request.options,
        split_seed=request.split_seed,
        ignore_official_splits=request.ignore_official_splits,
        key=None if request.key_file is None else read_key(request.key_file),
        follow_links=request.follow_links,
    )
    for warning in plan.warnings:
        progress(Progress("Note", 0, 0, warning))
    feature_store = FeatureStore.create(store)
    with feature_store.writer("ingest") as writer:
        tell_healed(writer.reconciled, progress)
        change = writer.replace_dataset(
            plan.images,
            plan.findings,
            plan.states,
            dataset=plan.dataset,
            layout=plan.layout,
            root=plan.root,
            split_seed=request.split_seed,
            warnings=plan.warnings,
            moved=request.moved,
            key_check=plan.key_check,
            population=known_layouts()[plan.layout].population,
            follow_links=request.follow_links,
        )
    rows = feature_store.sql(
        """SELECT split, count(DISTINCT patient_id), count(*) FROM images
        WHERE dataset = ? GROUP BY split ORDER BY count(*) DESC""",
        [plan.dataset],
    ).fetchall()
    splits = tuple(SplitCount(*row) for row in rows)
    return IngestSummary(plan.dataset, plan.layout, change, splits, plan.warnings)
