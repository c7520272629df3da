"""Which runs have to do with somebody who is erased."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from retune.store import FeatureStore, Run
from retune.store.erasure.people import Erased
from retune.store.errors import TrainingError

from ..problem.features import SPLITS
from ..runs.image_list import ImageList, read_image_list
from ..runs.record import RunRecord, read_record
from ..runs.reopened import ReopenedRun
from ..runs.saving import run_folder
from ..runs.selection import Contribution, SplitImages, contributions_of, images_digest
from .marks import TRAINED
from .prepared import Mask, Prepared

__all__ = ["UNTRAINED", "SeenRun", "look_at", "own_contributions"]

#: Scenarios that learn from no image of the store by themselves.
UNTRAINED = ("merge", "zero-shot")


@dataclass(frozen=True)
class SeenRun:
    """A run that has seen an erased patient, or goes on from one that has.

    Attributes:
        reopened: The run with all its images.
        gone: Which of them are of erased patients, shape (N,).
        record: Its record without them.
        staged: Where its files are prepared.
    """

    reopened: ReopenedRun
    gone: Mask
    record: RunRecord
    staged: Path

    @property
    def run(self) -> Run:
        """The run."""
        return self.reopened.run

    @property
    def listed(self) -> ImageList:
        """All its images."""
        assert self.reopened.listed is not None
        return self.reopened.listed

    @property
    def learned(self) -> bool:
        """Whether weights of this run's own training depend on the erased."""
        counted = np.isin(self.listed.split.astype(str), ("train", "validation"))
        return self.run.scenario not in UNTRAINED and bool((self.gone & counted).any())


def look_at(
    store: FeatureStore,
    run: Run,
    erased: Erased,
    staging: Path,
    work: Prepared,
    *,
    due: bool,
) -> SeenRun | None:
    """The run if it has to do with somebody erased, or is due to be trained again.

    Args:
        store: With the run.
        run: Any run.
        erased: Who goes.
        staging: Folder under which files are prepared.
        work: What is known of the runs before it; enters what this run adds.
        due: It is to be trained again in any case.
    """
    folder = run_folder(store, run.run_id)
    try:
        record = read_record(run)
        if not record.pinned:
            _judge_old(run, record, erased, work)
            return None
        listed = read_image_list(folder)
    except TrainingError as error:
        work.marks[run.run_id] = TRAINED
        work.outcomes[run.run_id] = f"cannot be read, marked '{TRAINED}'"
        work.notes.append(f"run {run.run_id}: {error.message}")
        return None
    gone = _of_erased(listed, erased)
    lineage = {one.digest for one in record.lineage.contributions}
    if not (due or gone.any() or lineage & set(work.renamed)):
        return None
    own = own_contributions(listed, gone, record)
    work.renamed |= own
    reopened = ReopenedRun(run, record, listed)
    less = _record_without(record, listed.only(~gone), work.renamed)
    seen = SeenRun(reopened, gone, less, staging / "runs" / run.run_id)
    if seen.learned:
        for digest in own:
            work.parts.setdefault(digest, []).append((reopened, gone))
    return seen


def _judge_old(run: Run, record: RunRecord, erased: Erased, work: Prepared) -> None:
    """A run from before runs listed their images: nobody knows whom it saw."""
    datasets = record.provenance.selection.datasets
    if run.scenario == "zero-shot" or not erased.datasets:
        return
    if datasets is None or set(datasets) & set(erased.datasets):
        work.marks[run.run_id] = TRAINED
        work.outcomes[run.run_id] = f"does not list its images, marked '{TRAINED}'"


def _of_erased(listed: ImageList, erased: Erased) -> Mask:
    patients, images = set(erased.patients), set(erased.image_ids)
    digests = set(erased.digests)
    return np.array(
        [
            patient in patients or image in images or digest in digests
            for patient, image, digest in zip(
                listed.owners(),
                listed.image_id.tolist(),
                listed.content_digest.tolist(),
                strict=True,
            )
        ],
        dtype=bool,
    )


def own_contributions(
    listed: ImageList, gone: Mask, record: RunRecord
) -> dict[str, Contribution]:
    """Digest of a contribution of the run -> what is left of it."""
    dataset = np.array(
        [name.partition("/")[0] for name in listed.image_id.tolist()], dtype=object
    )
    left = {
        one.dataset: one
        for one in contributions_of(dataset[~gone], listed.content_digest[~gone])
    }
    touched = set(dataset[gone].tolist())
    return {
        one.digest: left.get(
            one.dataset, Contribution(one.dataset, 0, images_digest([]))
        )
        for one in record.provenance.contributions
        if one.dataset in touched
    }


def _record_without(
    record: RunRecord, listed: ImageList, renamed: Mapping[str, Contribution]
) -> RunRecord:
    """The record of the run on the images that stay."""

    def left(contributions: Sequence[Contribution]) -> tuple[Contribution, ...]:
        return tuple(renamed.get(one.digest, one) for one in contributions)

    splits = {
        name: SplitImages(len(ids), images_digest(ids.tolist()))
        for name in SPLITS
        for ids in [listed.of_splits([name]).image_id]
    }
    provenance = replace(
        record.provenance,
        splits=splits,
        contributions=left(record.provenance.contributions),
    )
    lineage = replace(record.lineage, contributions=left(record.lineage.contributions))
    return replace(record, provenance=provenance, lineage=lineage)
