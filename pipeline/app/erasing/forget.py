"""`forget`: patients leave a store, and everything that was learned from them."""

import getpass
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from retune.store import FeatureStore
from retune.store.erasure.erasing import ErasureRequest, erase, open_staging
from retune.store.erasure.journal import finish_erasure
from retune.store.erasure.new_catalog import count_rows
from retune.store.erasure.people import Erased, find_erased
from retune.store.erasure.receipts import RECEIPTS_FOLDER, Receipt, load_receipt
from retune.store.erasure.searching import SearchReport, search_store
from retune.store.errors import ConfigurationError

from ...datasets.leakage import populations_query
from ...learn.erasing.marks import TRAINED
from ...learn.erasing.unlearning import learn_anew
from ...progress import Progress, ProgressCallback, silent
from .nights import clear_nights, night_folders
from .path_files import clear_path_files, with_real_paths
from .patients import choose_patients, listed_images

__all__ = [
    "IMAGE_HOOKS",
    "ForgetRequest",
    "ForgetSummary",
    "forget",
    "verify_erased",
]


def _remove_thumbnails(store_path: Path, image_ids: Sequence[str]) -> int:
    from ..gallery.thumbnails import remove_thumbnails  # loads Pillow

    return remove_thumbnails(store_path, image_ids)


#: Whatever keeps something of images outside of catalog, shards and runs, such as
#: thumbnails, removes it here: called with the store's folder and ids of images, gives
#: how many files it removed. It may be called twice for the same images.
IMAGE_HOOKS: Final[list[Callable[[Path, Sequence[str]], int]]] = [_remove_thumbnails]


@dataclass(frozen=True)
class ForgetRequest:
    """Whom to erase.

    Attributes:
        patients: Ids, or files with one id a line.
        where: A SQL condition over `images`: all patients with such an image.
        datasets: Only patients of these datasets.
        requested_by: Who asked for it; None: the user of this process.
        retrain: Train runs of gradient methods again on what stays.
        orphans: Also erase what belongs to images that no dataset has any more.
        dry_run: Only say what would be erased.
    """

    patients: Sequence[str] = ()
    where: str | None = None
    datasets: tuple[str, ...] | None = None
    requested_by: str | None = None
    retrain: bool = False
    orphans: bool = False
    dry_run: bool = False


@dataclass(frozen=True)
class ForgetSummary:
    """What was erased, or would be.

    Attributes:
        n_patients: Patients who were there.
        n_erased_before: Those of the patients asked for who had been erased already.
        n_images: Images of theirs.
        n_vectors: Vectors of theirs.
        rows: Table -> rows removed.
        runs: Run id -> what became of it.
        notes: What a reader must know.
        receipt: Where the receipt lies; None if nothing was erased now.
        erasure_id: Id of the receipt.
    """

    n_patients: int
    n_erased_before: int
    n_images: int
    n_vectors: int
    rows: Mapping[str, int]
    runs: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    receipt: Path | None = None
    erasure_id: str = ""

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        where = None if self.receipt is None else str(self.receipt)
        return vars(self) | {"receipt": where}

    @property
    def marked(self) -> tuple[str, ...]:
        """Runs whose weights still depend on the erased."""
        return tuple(run for run, what in self.runs.items() if TRAINED in what)


def forget(
    store: FeatureStore, request: ForgetRequest, progress: ProgressCallback = silent
) -> ForgetSummary:
    """Erase patients from a store: rows, vectors, files, and what runs learned.

    It happens at once as seen from outside: a process that ends before the new state is
    complete has changed nothing, and one that ends after is finished by the next
    command that writes.

    Args:
        store: With the patients.
        request: Whom to erase.
        progress: Called at each stage.

    Raises:
        ConfigurationError: Nobody is meant, or an id is unknown or ambiguous.
        QueryError: `where` is no condition.
        StoreBusyError: Another process writes; nothing was erased.
        StoreWriteError: The disk refused; see `retune.store.erasure.erasing.erase`.
    """
    asked = request.patients or request.where or request.orphans
    if not (asked or request.retrain):
        raise ConfigurationError(
            "no patient was named", "Name patient ids, a file of ids, or `where`."
        )
    if request.dry_run:
        return _preview(store, request)
    with store.writer("forget"):  # finishes what was interrupted
        patients, before = _choose(store, request)
        if not (patients or request.orphans or request.retrain):
            return ForgetSummary(
                0, len(before), 0, 0, {}, notes=("they had been erased before",)
            )
        erased = _find(store, patients, request)
        try:
            return _erase(store, request, erased, len(before), progress)
        finally:
            # After a failure: what was decided is finished, anything else undone.
            finish_erasure(store.path, store.catalog)


def _choose(
    store: FeatureStore, request: ForgetRequest
) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
    return choose_patients(
        store, request.patients, where=request.where, datasets=request.datasets
    )


def _find(
    store: FeatureStore,
    patients: tuple[tuple[str, str], ...],
    request: ForgetRequest,
) -> Erased:
    listed = listed_images(store, patients)
    populations = populations_query(store)
    # A temporary table needs no right to write.
    with store.catalog.read() as connection:
        erased = find_erased(
            connection, patients, populations, listed, orphans=request.orphans
        )
    return with_real_paths(store, erased)


def _preview(store: FeatureStore, request: ForgetRequest) -> ForgetSummary:
    patients, before = _choose(store, request)
    erased = _find(store, patients, request)
    populations = populations_query(store)
    with store.catalog.read() as connection:
        rows = count_rows(connection, erased, populations)
    return ForgetSummary(
        len(patients),
        len(before),
        len(erased.image_ids),
        rows.get("features", 0),
        rows,
        notes=("nothing was erased: this was a dry run",),
    )


def _erase(
    store: FeatureStore,
    request: ForgetRequest,
    erased: Erased,
    n_before: int,
    progress: ProgressCallback,
) -> ForgetSummary:
    staging = open_staging(store.path)
    learned = learn_anew(
        store, erased, staging, retrain=request.retrain, progress=progress
    )
    progress(Progress("rewriting shards and catalog", 0, 0))
    for hook in IMAGE_HOOKS:
        hook(store.path, erased.image_ids)
    notes = clear_nights(store.path, erased)
    clear_path_files(store, erased)
    receipt = erase(
        store.path,
        store.catalog,
        ErasureRequest(
            erased,
            populations_query(store),
            request.requested_by or _this_user(),
            learned,
            notes,
        ),
    )
    return ForgetSummary(
        len(erased.patients),
        n_before,
        len(erased.image_ids),
        receipt.files["vectors_removed"],
        receipt.rows,
        receipt.runs,
        receipt.notes,
        store.path / RECEIPTS_FOLDER / f"{receipt.erasure_id}.json",
        receipt.erasure_id,
    )


def _this_user() -> str:
    with suppress(OSError, KeyError, ImportError):
        return getpass.getuser()
    return "unknown"


def verify_erased(
    store: FeatureStore, receipt: str | Path
) -> tuple[Receipt, SearchReport]:
    """Search every byte of a store for those whom a receipt says to be erased.

    Args:
        store: That wrote the receipt.
        receipt: The receipt's file, or the id of an erasure.

    Returns:
        The receipt, and what was searched and found; an empty report is false.

    Raises:
        StoreCorruptError: The receipt cannot be read, or is no receipt.
    """
    path = Path(receipt)
    if not path.is_file():
        path = store.path / RECEIPTS_FOLDER / f"{path.name}.json"
    loaded = load_receipt(path)
    report = search_store(
        store.path,
        store.catalog,
        loaded,
        populations_query(store),
        night_folders(store.path),
    )
    return loaded, report
