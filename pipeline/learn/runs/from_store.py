"""Between learning and the store: arrays in, runs out."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import (
    EncoderRow,
    FeatureStore,
    Run,
    choose_encoder,
    find_run,
    read_descriptions,
    read_labelled_images,
    record_run,
)
from retune.store.errors import FingerprintMismatchError

from ...datasets.leakage import check_leakage, read_populations
from ...findings import canonical_name
from ..problem.config import untrained
from ..problem.features import Features, Prompts
from .checkpoints import Checkpoints
from .experiment import Experiment, ExperimentConfig
from .saved_model import SavedModel, save_model
from .state import STATE_FILE, RunState, load_state, save_state

__all__ = [
    "LearningSet",
    "checkpoints_of",
    "find_state",
    "load_features",
    "load_learning_set",
    "named_findings",
    "new_run_id",
    "run_folder",
    "run_state",
    "save_run",
]


@dataclass(frozen=True)
class LearningSet:
    """All that a run starts from.

    Attributes:
        encoder: Whose vectors these are.
        features: The images.
        prompts: The descriptions of all findings.
        images: The catalog's columns of the images, for subgroups and predictions.
    """

    encoder: EncoderRow
    features: Features
    prompts: Prompts
    images: pa.Table


def load_features(
    store: FeatureStore,
    fingerprint: str,
    *,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
    split_seed: int | None = None,
    stream: bool = False,
    shared_patients: bool = False,
) -> tuple[Features, pa.Table]:
    """Read images with vectors and labels.

    Args:
        store: Where to read.
        fingerprint: Of the encoder.
        datasets: Only these; None for all.
        where: A SQL condition over `images`.
        split_seed: Divide all patients anew by a seeded hash, instead of using the
            splits that ingest assigned.
        stream: Leave the vectors in a file; see `read_labelled_images`.
        shared_patients: Equal ids in datasets of one population, such as two pools of
            ChestX-ray14, are one patient; otherwise each dataset has its own.

    Returns:
        The arrays, and the catalog's columns of the same images.
    """
    read = read_labelled_images(
        store, fingerprint, datasets=datasets, where=where, in_file=stream
    )
    columns = read.images.select(["image_id", "patient_id", "dataset", "split"])
    image_id, patient_id, dataset, split = (
        np.asarray(column.to_pylist(), dtype=object) for column in columns.columns
    )
    if split_seed is not None:
        from ...datasets.splits import resplit

        # By the id alone, as ingest does it: two datasets may share patients.
        split = np.asarray(resplit(patient_id, seed=split_seed), dtype=object)
    # Patient 17 of one hospital is not patient 17 of another.
    owners = read_populations(store) if shared_patients else {}
    owner = np.array([owners.get(name, name) for name in dataset], dtype=object)
    patient_id = owner + "/" + patient_id
    features = Features(
        image_id, patient_id, split, read.embedding, read.findings, read.states
    )
    return features, read.images


def load_learning_set(
    store: FeatureStore,
    *,
    backbone: str | None = None,
    fingerprint: str | None = None,
    datasets: Sequence[str] | None = None,
    where: str | None = None,
    split_seed: int | None = None,
    description_set: str = "default",
    stream: bool = False,
    allow_leakage: bool = False,
) -> LearningSet:
    """Read images and descriptions of one encoder.

    Raises:
        ConfigurationError: The encoder, a dataset or the set is not there.
        LeakageError: Splits share patients or pictures, and `allow_leakage` is False;
            with a `split_seed` patients are divided anew and cannot be shared.
        QueryError: `where` is no condition.
    """
    encoder = choose_encoder(store, backbone=backbone, fingerprint=fingerprint)
    if split_seed is None and not allow_leakage:
        check_leakage(store, datasets=datasets, where=where)
    features, images = load_features(
        store,
        encoder.fingerprint,
        datasets=datasets,
        where=where,
        split_seed=split_seed,
        stream=stream,
        shared_patients=not allow_leakage,
    )
    read = read_descriptions(
        store, encoder.fingerprint, description_set, features.findings
    )
    place = {name: index for index, name in enumerate(features.findings)}
    prompts = Prompts(
        read.embedding.astype(np.float32),
        np.array([place[name] for name in read.finding], dtype=np.int64),
        read.positive,
    )
    return LearningSet(encoder, features, prompts, images)


def named_findings(
    names: Sequence[str] | None, known: Sequence[str]
) -> tuple[str, ...] | None:
    """Users' spellings of findings as the store spells them.

    Raises:
        ConfigurationError: One is unknown; close names are suggested.
    """
    if names is None:
        return None
    return tuple(canonical_name(name, known) for name in names)


def run_folder(store: FeatureStore, run_id: str) -> Path:
    """Where a run's adaptors lie."""
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
    chosen: dict[str, object],
    started_at: datetime,
    seconds: float,
    with_predictions: bool = False,
) -> Run:
    """Write a run's adaptors into the store's folder and its rows into the catalog.

    Args:
        store: Where to.
        learning_set: What it was trained on.
        experiment: What it gave.
        chosen: How the images were chosen (datasets, where, splits, descriptions).
        started_at: In UTC.
        seconds: Reading, training and evaluating.
        with_predictions: Also enter scores of all test images.
    """
    config = json.dumps(
        {"experiment": asdict(experiment.config), "chosen": chosen}, sort_keys=True
    )
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
    train = experiment.config.train
    saved = SavedModel(
        model=experiment.model,
        config=train if experiment.scenario.tasks else untrained(train),
        findings=experiment.findings,
        thresholds=experiment.thresholds,
        fingerprint=run.fingerprint,
        dim=learning_set.encoder.dim,
        prompts=experiment.prompts,
        method=experiment.config.method if experiment.scenario.tasks else "finetune",
    )
    # Adaptors first: a run that is in the catalog has its files.
    save_model(run_folder(store, run.run_id), saved)
    if experiment.state:
        state = run_state(experiment.config, learning_set.encoder, experiment)
        save_state(run_folder(store, run.run_id) / STATE_FILE, state)
    predictions = None
    if with_predictions:
        predictions = _prediction_rows(learning_set.features, experiment)
    record_run(store, run, experiment.metrics, predictions)
    return run


def run_state(
    config: ExperimentConfig, encoder: EncoderRow, experiment: Experiment
) -> RunState:
    """A finished experiment as a state to go on from."""
    return RunState(
        config.method,
        config.train,
        experiment.findings,
        encoder.fingerprint,
        experiment.prompts,
        experiment.state,
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
    known = [row[0] for row in store.sql("SELECT fingerprint FROM encoders").fetchall()]
    if state.fingerprint not in known:
        raise FingerprintMismatchError(
            f"{path} is of encoder {state.fingerprint}; {store.path} has "
            f"{', '.join(known) or 'none'}",
            "Embed this store's images with the backbone of the run.",
        )
    return state


def checkpoints_of(
    store: FeatureStore,
    learning_set: LearningSet,
    config: ExperimentConfig,
    chosen: dict[str, object],
) -> Checkpoints:
    """Where the states of exactly this run on exactly these images are kept."""
    digest = hashlib.blake2b(digest_size=8)
    features, prompts = learning_set.features, learning_set.prompts
    described = {"experiment": asdict(config), "chosen": chosen}
    digest.update(json.dumps(described, sort_keys=True).encode())
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


def _prediction_rows(features: Features, experiment: Experiment) -> pa.Table:
    """One row per test image and finding."""
    rows = features.rows("test")
    n_findings = len(experiment.findings)

    def flat(values: npt.NDArray[np.float32]) -> pa.Array:
        return pa.array(values[rows].reshape(-1))

    return pa.table(
        {
            "task": pa.array(
                np.full(len(rows) * n_findings, len(experiment.scenario.tasks)),
                pa.int32(),
            ),
            "image_id": pa.array(np.repeat(features.image_id[rows], n_findings)),
            "finding": pa.array(list(experiment.findings) * len(rows)),
            "score": flat(experiment.prediction.difference),
            "probability": flat(experiment.prediction.probability),
        }
    )
