"""A run read back from the store: its state, its model and exactly its images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from retune.store import (
    FeatureStore,
    Run,
    choose_encoder,
    find_run,
    read_labelled_images,
)
from retune.store.changes.manifests import MANIFEST_NAME, check_manifest
from retune.store.errors import (
    ConfigurationError,
    FingerprintMismatchError,
    TrainingError,
)
from retune.store.opening.kept_catalogs import opening_once
from retune.store.plural import counted

from ...datasets.leakage import read_populations
from ...datasets.splits import resplit
from ..problem.features import SET_ASIDE
from .image_list import ImageList, read_image_list
from .learning_set import ImageSet, load_images, place_images
from .record import RunRecord, read_record
from .saved_model import SavedModel, load_model
from .saving import run_folder
from .selection import Selection
from .state import STATE_FILE, RunState, load_state

__all__ = [
    "ReopenedRun",
    "check_sound",
    "find_state",
    "load_model_of",
    "load_other_images",
    "load_own_images",
    "load_run_model",
    "reopen_run",
]

#: Images that are named in a message.
_FEW = 3
Names = npt.NDArray[np.object_]


@dataclass(frozen=True)
class ReopenedRun:
    """A run of a store with its record.

    Attributes:
        run: Its row of the catalog.
        record: How it was made.
        listed: Its images; None for runs from before they were listed.
    """

    run: Run
    record: RunRecord
    listed: ImageList | None


def reopen_run(store: FeatureStore, run: Run) -> ReopenedRun:
    """Read a run's record and the list of its images.

    Raises:
        TrainingError: One of them cannot be read.
    """
    record = read_record(run)
    folder = run_folder(store, run.run_id)
    check_folder(folder, pinned=record.pinned)
    return ReopenedRun(run, record, read_image_list(folder) if record.pinned else None)


def check_folder(folder: Path, *, pinned: bool) -> None:
    """Refuse files of a run that are not as they were written.

    Args:
        folder: Folder of the run.
        pinned: Whether the run is of a version that writes checksums.

    Raises:
        TrainingError: Names the file.
    """
    problems = check_manifest(folder)
    if pinned and not problems and not (folder / MANIFEST_NAME).is_file():
        problems = [f"{folder / MANIFEST_NAME} is missing"]
    if problems:
        raise TrainingError(
            problems[0], "The run's folder is damaged or was changed: train again."
        )


def load_run_model(store: FeatureStore, run: Run) -> SavedModel:
    """The model of a run.

    Raises:
        TrainingError: Its folder is damaged, is another run's, or holds weights that
            are no finite numbers.
    """
    folder = run_folder(store, run.run_id)
    check_folder(folder, pinned=read_record(run).pinned)
    return _sound_model(folder, run)


def load_model_of(store: FeatureStore, reopened: ReopenedRun) -> SavedModel:
    """The model of a run whose files `reopen_run` has checked.

    Raises:
        TrainingError: As `load_run_model`.
    """
    return _sound_model(run_folder(store, reopened.run.run_id), reopened.run)


def _sound_model(folder: Path, run: Run) -> SavedModel:
    saved = load_model(folder)
    hint = "Train again: the run's folder is damaged or was exchanged."
    if saved.fingerprint != run.fingerprint:
        raise TrainingError(
            f"{folder} is of encoder {saved.fingerprint}, run {run.run_id} of "
            f"{run.fingerprint}",
            hint,
        )
    check_sound(saved, folder)
    return saved


def check_sound(saved: SavedModel, file: Path) -> None:
    """Refuse weights that are no finite numbers.

    Args:
        saved: The model.
        file: What messages call its file.

    Raises:
        TrainingError: Names the tensor.
    """
    for name, tensor in saved.model.state_dict().items():
        # An infinite limit says that the model does not know what is unlike its images.
        sound = ~torch.isnan(tensor) if name == "distance_limit" else tensor.isfinite()
        if not sound.all():
            raise TrainingError(
                f"{file} cannot be used: {name} holds values that are no finite "
                "numbers",
                "Train again: the file is damaged or was exchanged.",
            )


@opening_once
def load_own_images(
    store: FeatureStore, reopened: ReopenedRun, splits: Sequence[str]
) -> ImageSet:
    """Exactly the images that the run had in some splits.

    Runs from before images were listed get those that now fit what was asked for then.

    Raises:
        ConfigurationError: Some of the images are gone, or are not encoded any more.
        TrainingError: The run has no image in these splits.
    """
    record, run = reopened.record, reopened.run
    if reopened.listed is None:
        asked = replace(record.provenance.selection, allow_leakage=True)
        images = load_images(store, asked, fingerprint=run.fingerprint)
        return _with_owner(images, record)
    listed = reopened.listed.of_splits(splits)
    if not len(listed):
        raise TrainingError(
            f"run {run.run_id} had no image in the splits {', '.join(splits)}",
            "Choose another split.",
        )
    _check_all_there(store, run, listed)
    encoder = choose_encoder(store, fingerprint=run.fingerprint)
    read = read_labelled_images(
        store, run.fingerprint, image_ids=listed.table["image_id"].combine_chunks()
    )
    split = _splits_of(listed, read.images["image_id"].to_pylist())
    # What was set aside or allowed then is what the list says.
    selection = replace(record.provenance.selection, allow_contaminated=True)
    return place_images(store, encoder, read, split, selection)


def _with_owner(images: ImageSet, record: RunRecord) -> ImageSet:
    """The patients named as the run named them: shared by datasets, or not."""
    if record.provenance.selection.allow_leakage:
        return images
    owner = images.listed.population + "/" + images.listed.patient_id
    return replace(images, features=replace(images.features, patient_id=owner))


def _splits_of(listed: ImageList, image_ids: Sequence[str]) -> Names:
    split = dict(zip(listed.image_id.tolist(), listed.split.tolist(), strict=True))
    return np.array([split[name] for name in image_ids], dtype=object)


def _check_all_there(store: FeatureStore, run: Run, listed: ImageList) -> None:
    """Refuse to report metrics of fewer images than the run had.

    Raises:
        ConfigurationError: Says how many are gone, which, and why.
    """
    with store.catalog.read() as connection:
        connection.register("listed", listed.table.select(["image_id"]))
        gone = connection.execute(
            """SELECT image_id, images.image_id IS NULL AS dropped
            FROM listed LEFT JOIN images USING (image_id)
            WHERE images.content_digest IS NULL OR images.content_digest NOT IN (
                SELECT item_id FROM features
                WHERE modality = 'image' AND fingerprint = ?)
            ORDER BY image_id""",
            [run.fingerprint],
        ).fetchall()
    if not gone:
        return
    reasons = {
        "no longer in the store": [name for name, dropped in gone if dropped],
        f"without a vector of encoder {run.fingerprint}": [
            name for name, dropped in gone if not dropped
        ],
    }
    told = "; ".join(
        f"{len(names):,} {reason}, such as {', '.join(names[:_FEW])}"
        for reason, names in reasons.items()
        if names
    )
    raise ConfigurationError(
        f"{len(gone):,} of the {counted(len(listed), 'image')} of run {run.run_id} "
        f"are gone: {told}",
        "Its metrics are of exactly these images. Ingest and embed them again, or "
        "train again on those that are left.",
    )


@opening_once
def load_other_images(
    store: FeatureStore,
    reopened: ReopenedRun,
    *,
    datasets: Sequence[str] | None,
    where: str | None,
    allow_contaminated: bool = False,
) -> ImageSet:
    """Images to evaluate a run on; those that the run had keep the split of then.

    A run that divided patients anew divides others by the same seed; else they are in
    the store's splits.

    Args:
        store: With the images.
        reopened: The run.
        datasets: Only these; None for those of the run.
        where: A SQL condition over the columns of `images`; None for all.
        allow_contaminated: Also images of patients that the backbone was trained on.

    Raises:
        ConfigurationError: A dataset is unknown, or no image fits.
        QueryError: `where` is no condition.
    """
    asked = reopened.record.provenance.selection
    selection = Selection(
        tuple(datasets) if datasets is not None else asked.datasets,
        where,
        asked.split_seed,
        allow_leakage=asked.allow_leakage,
        allow_contaminated=allow_contaminated or asked.allow_contaminated,
    )
    encoder = choose_encoder(store, fingerprint=reopened.run.fingerprint)
    read = read_labelled_images(
        store, encoder.fingerprint, datasets=selection.datasets, where=where
    )
    patients = np.asarray(read.images["patient_id"].to_pylist(), dtype=object)
    split = np.asarray(read.images["split"].to_pylist(), dtype=object)
    if selection.split_seed is not None:
        split = np.asarray(resplit(patients, seed=selection.split_seed), dtype=object)
    if reopened.listed is not None:
        owners = read_populations(store)
        population = [owners[name] for name in read.images["dataset"].to_pylist()]
        split = _as_then(split, reopened.listed, population, patients)
    return place_images(store, encoder, read, split, selection)


def _as_then(
    split: Names, listed: ImageList, population: Sequence[str], patients: Names
) -> Names:
    """Patients of the run in the split that the run had them in."""
    then: Mapping[tuple[str, str], str] = {
        (population_then, patient): split_then
        for population_then, patient, split_then in zip(
            listed.population.tolist(),
            listed.patient_id.tolist(),
            listed.split.tolist(),
            strict=True,
        )
        if split_then != SET_ASIDE
    }
    who = zip(population, patients.tolist(), strict=True)
    return np.array(
        [then.get(patient, now) for patient, now in zip(who, split, strict=True)],
        dtype=object,
    )


def find_state(store: FeatureStore, name: str) -> RunState:
    """The state of a run.

    Args:
        store: With the run, if `name` is no path.
        name: A state file, a run's folder, a run id, its beginning, or ``latest``.

    Raises:
        ConfigurationError: There is no such run.
        FingerprintMismatchError: The store has no embeddings of the run's encoder.
        TrainingError: The state is missing or damaged.
    """
    path = Path(name)
    if path.is_dir():
        path = path / STATE_FILE
    elif not path.is_file():
        path = run_folder(store, find_run(store, name).run_id) / STATE_FILE
    state = load_state(path)
    known = [row[0] for row in store.rows("SELECT fingerprint FROM encoders")]
    if state.fingerprint not in known:
        raise FingerprintMismatchError(
            f"{path} is of encoder {state.fingerprint}; {store.path} has "
            f"{', '.join(known) or 'none'}",
            "Embed this store's images with the backbone of the run.",
        )
    return state
