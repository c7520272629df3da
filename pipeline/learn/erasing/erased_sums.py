"""What the erased are of the sums that a run goes back to."""

from collections.abc import Mapping

import numpy as np

from retune.store import FeatureStore
from retune.store.errors import TrainingError

from ..problem.chosen_findings import with_findings
from ..problem.features import EVERY_SPLIT
from ..runs.reopened import ReopenedRun, load_own_images
from ..runs.saved_model import load_model
from ..runs.saving import run_folder
from ..runs.selection import Contribution
from .prepared import Mask, Prepared
from .seen_run import UNTRAINED, SeenRun, own_contributions
from .subtracting import PatientSums, patient_sums

__all__ = ["part_of_run", "sums_of_erased"]


def sums_of_erased(
    store: FeatureStore, seen: SeenRun, work: Prepared, findings: tuple[str, ...]
) -> list[PatientSums]:
    """What the erased are of each run that a run goes back to.

    Raises:
        TrainingError: Several runs made a contribution, and which is not known.
    """
    record = seen.reopened.record
    digests = {one.digest for one in record.lineage.contributions}
    if seen.run.scenario not in UNTRAINED:
        digests |= {one.digest for one in record.provenance.contributions}
    named = {record.lineage.continued, *record.lineage.merged, seen.run.run_id}
    parts: dict[str, PatientSums] = {}
    for digest in sorted(digests & set(work.parts)):
        makers = [
            (one, gone)
            for one, gone in work.parts[digest]
            if one.run.method == "analytic"
            and load_model(run_folder(store, one.run.run_id)).findings == findings
        ]
        chosen = [pair for pair in makers if pair[0].run.run_id in named] or makers
        kinds = {
            (one.record.config.scenario, one.record.config.train.seed)
            for one, _ in chosen
        }
        if len(kinds) != 1:
            raise TrainingError(
                f"{len(kinds)} kinds of runs have learned from a contribution of run "
                f"{seen.run.run_id}: which of them it goes back to is not known"
            )
        reopened, gone = chosen[0]
        if reopened.run.run_id not in parts:
            parts[reopened.run.run_id] = part_of_run(
                store, reopened, gone, work.renamed
            )
    return list(parts.values())


def part_of_run(
    store: FeatureStore,
    reopened: ReopenedRun,
    gone: Mask,
    renamed: Mapping[str, Contribution] | None = None,
) -> PatientSums:
    """What some images of a run are of its sums.

    Args:
        store: With the run, and still with the images.
        reopened: A run of `analytic` that learned from images of this store.
        gone: Which of its listed images, shape (N,).
        renamed: Digest of a contribution -> what is left of it; None: found here.

    Raises:
        ConfigurationError: Images of the run are gone.
        TrainingError: The run cannot be read.
    """
    assert reopened.listed is not None
    if renamed is None:
        renamed = own_contributions(reopened.listed, gone, reopened.record)
    images = set(reopened.listed.image_id[gone].tolist())
    image_set = load_own_images(store, reopened, EVERY_SPLIT)
    saved = load_model(run_folder(store, reopened.run.run_id))
    features = with_findings(image_set.features, saved.findings)
    mine = np.array([name in images for name in features.image_id.tolist()], dtype=bool)
    own = {one.digest for one in reopened.record.provenance.contributions}
    return patient_sums(
        features,
        saved.prompts,
        reopened.record.config,
        mine,
        {old: new for old, new in renamed.items() if old in own},
    )
