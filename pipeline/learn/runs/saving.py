"""A finished experiment becomes a run of the store: files first, then rows."""

import hashlib
import secrets
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import FeatureStore, Run, record_run
from retune.store.changes.manifests import write_manifest
from retune.store.erasure.tombstones import erased_among
from retune.store.errors import ErasedDataError
from retune.store.plural import counted

from ..problem.config import untrained
from ..problem.features import Features
from .checkpoints import Checkpoints
from .experiment import Experiment
from .image_list import write_image_list
from .learning_set import LearningSet
from .record import ExperimentConfig, Lineage, RunRecord
from .saved_model import SavedModel, predict, save_model
from .selection import Contribution
from .state import STATE_FILE, CarriedModel, RunState, save_state

__all__ = [
    "checkpoints_of",
    "new_run_id",
    "prediction_rows",
    "run_folder",
    "run_state",
    "save_run",
    "write_run_files",
]


def run_folder(store: FeatureStore, run_id: str) -> Path:
    """Where a run's files lie."""
    return store.path / "runs" / run_id


def new_run_id(started_at: datetime, config: str) -> str:
    """Time, a digest of what was run, and four random digits against a clash."""
    digest = hashlib.blake2b(config.encode(), digest_size=3).hexdigest()
    return f"{started_at:%Y%m%d-%H%M%S}-{digest}-{secrets.token_hex(2)}"


def save_run(
    store: FeatureStore,
    learning_set: LearningSet,
    experiment: Experiment,
    *,
    started_at: datetime,
    seconds: float,
    lineage: Lineage | None = None,
    with_predictions: bool = False,
) -> Run:
    """Write a run's files into the store's folder and its rows into the catalog.

    Args:
        store: Where to.
        learning_set: What it was trained on; its provenance goes with the run.
        experiment: What it gave.
        started_at: In UTC.
        seconds: Reading, training and evaluating.
        lineage: What it goes on from.
        with_predictions: Also enter scores of all test images.

    Raises:
        ErasedDataError: A patient was erased while the run was being made.
        StoreWriteError: The disk refused.
    """
    _check_not_erased(store, learning_set)
    lineage = lineage or Lineage()
    config = RunRecord(experiment.config, learning_set.provenance, lineage).to_json()
    run = Run(
        run_id=new_run_id(started_at, config),
        fingerprint=learning_set.encoder.fingerprint,
        scenario=experiment.config.scenario,
        method=experiment.config.method,
        seed=experiment.config.train.seed,
        config=config,
        started_at=started_at,
        seconds=seconds,
        status="finished",
    )
    # Files first: a run that is in the catalog has its files.
    write_run_files(run_folder(store, run.run_id), learning_set, experiment, lineage)
    predictions = None
    if with_predictions:
        predictions = prediction_rows(learning_set.features, experiment)
    record_run(store, run, experiment.metrics, predictions)
    return run


def _check_not_erased(store: FeatureStore, learning_set: LearningSet) -> None:
    """Refuse what was learned from somebody who has been erased since it was read."""
    owners = learning_set.listed.owners()
    gone = erased_among(store.path, store.catalog, owners)
    if gone:
        raise ErasedDataError(
            f"{counted(len(gone), 'patient', 'were')} erased while the run was being "
            "made",
            "Nothing was kept of the run: train again.",
        )


def write_run_files(
    folder: Path, learning_set: LearningSet, experiment: Experiment, lineage: Lineage
) -> None:
    """Write a run's files: its images, its model, its state and their checksums.

    Raises:
        StoreWriteError: The disk refused.
    """
    write_image_list(folder, learning_set.listed)
    saved = _saved_model(learning_set, experiment)
    save_model(folder, saved)
    if experiment.state:
        state = run_state(learning_set, experiment, lineage)
        carried = CarriedModel.of(folder.name, learning_set.encoder.spec, saved)
        save_state(folder / STATE_FILE, replace(state, model=carried))
    write_manifest(folder)


def _saved_model(learning_set: LearningSet, experiment: Experiment) -> SavedModel:
    train = experiment.config.train
    trained = bool(experiment.scenario.tasks)
    return SavedModel(
        model=experiment.model,
        config=train if trained else untrained(train),
        findings=experiment.findings,
        thresholds=experiment.thresholds,
        fingerprint=learning_set.encoder.fingerprint,
        dim=learning_set.encoder.dim,
        prompts=experiment.prompts,
        method=experiment.config.method if trained else "finetune",
        origins=tuple(
            replace(one, datasets=learning_set.provenance.selection.datasets or ())
            for one in experiment.origins
        ),
        prevalence=experiment.prevalence,
    )


def run_state(
    learning_set: LearningSet, experiment: Experiment, lineage: Lineage | None = None
) -> RunState:
    """A finished experiment as a state to go on from.

    It names what it has learned from: this store's images, unless it only adds states,
    and what the states that it goes on from had learned from.
    """
    added = lineage.contributions if lineage else ()
    own = learning_set.provenance.contributions
    return RunState(
        experiment.config.method,
        experiment.config.train,
        experiment.findings,
        learning_set.encoder.fingerprint,
        experiment.prompts,
        experiment.state,
        added if experiment.config.scenario == "merge" else united(added, own),
    )


def united(*parts: tuple[Contribution, ...]) -> tuple[Contribution, ...]:
    """Each contribution once, in the order of the first mention."""
    return tuple(dict.fromkeys(one for part in parts for one in part))


def checkpoints_of(
    store: FeatureStore, learning_set: LearningSet, config: ExperimentConfig
) -> Checkpoints:
    """Where the states of exactly this run on exactly these images are kept."""
    digest = hashlib.blake2b(digest_size=8)
    features, prompts = learning_set.features, learning_set.prompts
    record = RunRecord(config, learning_set.provenance).to_json()
    digest.update(record.encode())
    digest.update(learning_set.encoder.fingerprint.encode())
    who = [*features.image_id, *features.patient_id, *features.split]
    digest.update("\n".join(who).encode())
    digest.update(features.states.tobytes())
    digest.update(np.ascontiguousarray(prompts.embedding).tobytes())
    blank = RunState(
        config.method,
        config.train,
        features.findings,
        learning_set.encoder.fingerprint,
        prompts,
        {},
    )
    folder = store.path / "runs" / f"unfinished-{digest.hexdigest()}"
    return Checkpoints(folder, blank)


def prediction_rows(features: Features, experiment: Experiment) -> pa.Table:
    """One row per test image and finding."""
    rows = features.rows("test")
    n_findings = len(experiment.findings)
    x = features.embedding
    details = predict(experiment.model, x[rows], detailed=True)

    def flat(values: npt.NDArray[np.float32]) -> pa.Array:
        return pa.array(values[rows].reshape(-1))

    def known(values: npt.NDArray[Any] | None, arrow_type: pa.DataType) -> pa.Array:
        """NULL where the model does not know; one value per image is repeated."""
        if values is None:
            return pa.nulls(len(rows) * n_findings, arrow_type)
        each = values if values.ndim == 2 else np.repeat(values, n_findings)
        return pa.array(each.reshape(-1), arrow_type, from_pandas=True)

    distance, flag = details.distance, details.out_of_distribution
    if distance is not None and np.isnan(distance).all():
        flag = None  # nothing was trained on that an image could be unlike
    return pa.table(
        {
            "task": pa.array(
                np.full(len(rows) * n_findings, len(experiment.scenario.tasks)),
                pa.int32(),
            ),
            "image_id": pa.array(np.repeat(features.image_id[rows], n_findings)),
            "finding": pa.array(list(experiment.findings) * len(rows)),
            "score": flat(experiment.prediction.score),
            "probability": flat(experiment.prediction.probability),
            "uncertainty": known(details.uncertainty, pa.float32()),
            "distance": known(distance, pa.float32()),
            "out_of_distribution": known(flag, pa.bool_()),
        }
    )
