"""Images that a run has seen: figures on them, or on their patients, are too good."""

import json
from collections.abc import Collection

import numpy as np
import pyarrow as pa

from retune.store import FeatureStore, Run
from retune.store.errors import LeakageError
from retune.store.leakage import read_identities

from ..datasets.splits import resplit

__all__ = ["refuse_seen_images"]

#: These learn from no image of the store by themselves.
_UNTRAINED = ("merge", "zero-shot")


def refuse_seen_images(
    store: FeatureStore, run: Run, image_ids: Collection[str]
) -> None:
    """Refuse images that a run was trained on, and those of its training patients.

    What a run was continued with or merged from elsewhere is not known here.

    Args:
        store: With the run and the images.
        run: What is evaluated.
        image_ids: The images to evaluate on.

    Raises:
        LeakageError: Some are of patients, or are pictures, that the run learned from.
    """
    if run.scenario in _UNTRAINED:
        return
    chosen = json.loads(run.config).get("chosen", {})
    trained = read_identities(
        store, datasets=chosen.get("datasets"), where=chosen.get("where")
    )
    split = trained["split"].to_numpy(zero_copy_only=False)
    split_seed = chosen.get("split_seed")
    if split_seed is not None:
        patients = trained["patient_id"].to_numpy(zero_copy_only=False)
        split = resplit(patients, seed=split_seed)
    who, what = _who_and_what(trained.filter(split == "train"))
    patients_seen, pictures_seen = set(who), set(what) - {None}
    everything = read_identities(store)
    wanted = set(image_ids)
    asked = everything.filter(
        np.array([one in wanted for one in everything["image_id"].to_pylist()], bool)
    )
    patients, pictures = _who_and_what(asked)
    seen = [
        image_id
        for image_id, patient, picture in zip(
            asked["image_id"].to_pylist(), patients, pictures, strict=True
        )
        if patient in patients_seen or picture in pictures_seen
    ]
    if seen:
        raise LeakageError(
            f"{len(seen):,} of these {len(wanted):,} images are of patients, or are "
            f"pictures, that run {run.run_id} was trained on, such as {min(seen)}",
            "Leave them out with --split test, --datasets or --where, or say "
            "--allow-leakage if you mean it.",
        )


def _who_and_what(
    images: pa.Table,
) -> tuple[list[tuple[str, str]], list[str | None]]:
    """Each image's patient, and the digest of what it shows."""
    owners = images["population"].to_pylist()
    patients = images["patient_id"].to_pylist()
    pictures = images["content_digest"].to_pylist()
    return list(zip(owners, patients, strict=True)), pictures
