"""Images that a run has seen: figures on them, or on their patients, are too good."""

from collections.abc import Collection, Iterable, Sequence

import numpy as np

from retune.store import FeatureStore, Run
from retune.store.errors import TrainingError
from retune.store.opening.kept_catalogs import opening_once
from retune.store.plural import counted

from ...datasets.leakage import read_identities
from ...datasets.splits import resplit
from .image_list import ImageList
from .record import read_record
from .reopened import ReopenedRun, reopen_run
from .selection import Contribution

__all__ = ["check_not_learned", "check_states_apart", "find_seen_images"]

#: These learn from no image of the store by themselves.
_UNTRAINED = ("merge", "zero-shot")
#: Splits whose images are in the sums of a method that counts images.
_COUNTED = ("train", "validation")


@opening_once
def find_seen_images(
    store: FeatureStore, reopened: ReopenedRun, image_ids: Collection[str]
) -> list[str]:
    """Images that a run was trained on, and those of its training patients.

    Also those of the runs of this store that it continued or merged. What came from
    elsewhere is not known here.

    Args:
        store: With the run and the images.
        reopened: What is evaluated.
        image_ids: The images to evaluate on.

    Returns:
        Those of them that are of patients, or are pictures, that the run learned from.

    Raises:
        TrainingError: The record of a run cannot be read.
    """
    lists = [_trained_on(store, reopened)]
    digests = {one.digest for one in reopened.record.lineage.contributions}
    lists += [one.of_splits(["train"]) for one in _lists_of(store, digests).values()]
    patients = {patient for one in lists for patient in one.owners()}
    pictures = {one for part in lists for one in part.content_digest.tolist()} - {None}
    wanted = set(image_ids)
    images = read_identities(store)
    columns = ("image_id", "population", "patient_id", "content_digest")
    return [
        image_id
        for image_id, population, patient_id, picture in zip(
            *(images[name].to_pylist() for name in columns), strict=True
        )
        if image_id in wanted
        and ((population, patient_id) in patients or picture in pictures)
    ]


def _trained_on(store: FeatureStore, reopened: ReopenedRun) -> ImageList:
    """The images that were in the run's training split."""
    if reopened.run.scenario in _UNTRAINED:
        return _named(())
    if reopened.listed is not None:
        return reopened.listed.of_splits(["train"])
    selection = reopened.record.provenance.selection
    images = read_identities(store, datasets=selection.datasets, where=selection.where)
    listed = _named(
        zip(
            *(
                images[name].to_pylist()
                for name in (
                    "image_id", "population", "patient_id", "content_digest", "split",
                )
            ),
            strict=True,
        )
    )  # fmt: skip
    if selection.split_seed is not None:
        split = resplit(listed.patient_id, seed=selection.split_seed)
        listed = ImageList.of(
            listed.image_id, listed.population, listed.patient_id,
            listed.content_digest, np.asarray(split, dtype=object),
        )  # fmt: skip
    return listed.of_splits(["train"])


def _named(rows: Iterable[tuple[str, ...]]) -> ImageList:
    columns = list(zip(*rows, strict=True)) or [()] * 5
    return ImageList.of(*columns)


def _lists_of(store: FeatureStore, digests: Collection[str]) -> dict[str, ImageList]:
    """Runs of this store that made some of the contributions, with their images."""
    if not digests:
        return {}
    rows = store.rows(
        "SELECT * FROM runs WHERE status = 'finished' ORDER BY started_at"
    )
    lists = {}
    for run in (Run(*row) for row in rows):
        record = read_record(run)
        own = {one.digest for one in record.provenance.contributions}
        if record.pinned and own & set(digests) and run.scenario not in _UNTRAINED:
            listed = reopen_run(store, run).listed
            assert listed is not None
            lists[run.run_id] = listed
    return lists


def check_not_learned(
    store: FeatureStore, listed: ImageList, learned: Iterable[Contribution]
) -> None:
    """Refuse to learn images again that a state has counted.

    Images of states that this store made are compared one by one; of a state from
    elsewhere only whole contributions are known, so that two hospitals which share
    some patients are not noticed.

    Args:
        store: Where to learn.
        listed: The images to learn from.
        learned: What the state has learned from.

    Raises:
        TrainingError: Some would count twice.
    """
    digests = {one.digest for one in learned}
    here = set(listed.of_splits(_COUNTED).content_digest.tolist())
    for run_id, images in _lists_of(store, digests).items():
        both = here & set(images.of_splits(_COUNTED).content_digest.tolist())
        if both:
            raise TrainingError(
                f"run {run_id} has learned from {len(both):,} of these "
                f"{counted(len(here), 'image')} already, and the state goes on from "
                "it: they would count twice",
                "Go on with other images (`datasets`, `where`), or train anew.",
            )


def check_states_apart(
    store: FeatureStore, learned: Sequence[Iterable[Contribution]]
) -> None:
    """Refuse to add states that have counted images in common.

    Args:
        store: Where runs that made the states are looked for.
        learned: What each state has learned from.

    Raises:
        TrainingError: Two have counted the same image, as far as this store knows.
    """
    known: dict[str, str] = {}
    for number, contributions in enumerate(learned, start=1):
        digests = {one.digest for one in contributions}
        here: dict[str, str] = {}
        for run_id, images in _lists_of(store, digests).items():
            of_run = images.of_splits(_COUNTED).content_digest.tolist()
            here |= dict.fromkeys(of_run, run_id)
        both = [name for name in here if name in known]
        if both:
            raise TrainingError(
                f"run {here[both[0]]} in state {number} and run {known[both[0]]} "
                f"before it have learned from {counted(len(both), 'image')} in common: "
                "they would count twice",
                "Merge runs on different images (`datasets`, `where`).",
            )
        known |= here
