"""Images that a run has seen: figures on them, or on their patients, are too good."""

from collections.abc import Collection
from typing import TypeAlias

import pyarrow as pa

from retune.store import FeatureStore, Run

from ...datasets.leakage import read_identities
from ...datasets.splits import resplit
from .record import recorded_config

__all__ = ["find_seen_images"]

#: These learn from no image of the store by themselves.
_UNTRAINED = ("merge", "zero-shot")

#: Image id; population and patient id; digest of the file, if it was read.
_Identity: TypeAlias = tuple[str, tuple[str, str], str | None]


def find_seen_images(
    store: FeatureStore, run: Run, image_ids: Collection[str]
) -> list[str]:
    """Images that a run was trained on, and those of its training patients.

    What a run was continued with or merged from elsewhere is not known here.

    Args:
        store: With the run and the images.
        run: What is evaluated.
        image_ids: The images to evaluate on.

    Returns:
        Those of them that are of patients, or are pictures, that the run learned from.

    Raises:
        TrainingError: The run's record cannot be read.
    """
    if run.scenario in _UNTRAINED:
        return []
    trained = _trained_on(store, run)
    patients = {patient for _, patient, _ in trained}
    pictures = {picture for _, _, picture in trained} - {None}
    wanted = set(image_ids)
    return [
        image_id
        for image_id, patient, picture in _identities(read_identities(store))
        if image_id in wanted and (patient in patients or picture in pictures)
    ]


def _trained_on(store: FeatureStore, run: Run) -> list[_Identity]:
    """The images that were in the run's training split."""
    _, chosen = recorded_config(run)
    images = read_identities(
        store, datasets=chosen.get("datasets"), where=chosen.get("where")
    )
    split = images["split"].to_numpy(zero_copy_only=False)
    if chosen.get("split_seed") is not None:
        patients = images["patient_id"].to_numpy(zero_copy_only=False)
        split = resplit(patients, seed=chosen["split_seed"])
    return _identities(images.filter(split == "train"))


def _identities(images: pa.Table) -> list[_Identity]:
    image_id, population, patient_id, picture = (
        images[name].to_pylist()
        for name in ("image_id", "population", "patient_id", "content_digest")
    )
    patient = zip(population, patient_id, strict=True)
    return list(zip(image_id, patient, picture, strict=True))
