"""What a finished run says of its test images, read back from the store."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, Run
from retune.store.errors import ConfigurationError, FingerprintMismatchError
from retune.store.plural import counted

from ..problem.chosen_findings import with_findings
from ..problem.targets import Targets, make_targets
from .learning_set import ImageSet
from .record import ExperimentConfig
from .reopened import ReopenedRun, load_model_of, load_own_images, reopen_run
from .saved_model import predict

__all__ = ["ScoredRun", "check_comparable", "score_run"]

Scores = npt.NDArray[np.float32]
#: Images that are named in a message.
_FEW = 3


@dataclass(frozen=True)
class ScoredRun:
    """Scores of n test images for K findings, with the labels they are compared with.

    Attributes:
        run: The run.
        findings: K names.
        image_id: Shape (n,), ascending.
        patient_id: Shape (n,).
        score: s⁺ − s⁻ after the last task, or the score that the run was asked for,
            shape (n, K).
        probability: Shape (n, K).
        targets: Under the run's own label policies; n rows.
        source: ``predictions`` if they stood in the catalog, ``model`` if the saved
            model has scored the images again.
        config: How it was trained.
        notes: What a reader must know of its images and labels.
    """

    run: Run
    findings: tuple[str, ...]
    image_id: npt.NDArray[np.object_]
    patient_id: npt.NDArray[np.object_]
    score: Scores
    probability: Scores
    targets: Targets
    source: str
    config: ExperimentConfig
    notes: tuple[str, ...] = ()

    @property
    def score_name(self) -> str:
        """One of `SCORES`."""
        return self.config.score

    @property
    def preset(self) -> str:
        """The name that its training options came from."""
        return self.config.preset

    def columns(self, names: tuple[str, ...]) -> "ScoredRun":
        """The same for some of the findings, in the order given."""
        chosen = [self.findings.index(name) for name in names]
        return ScoredRun(
            self.run,
            names,
            self.image_id,
            self.patient_id,
            self.score[:, chosen],
            self.probability[:, chosen],
            Targets(self.targets.value[:, chosen], self.targets.observed[:, chosen]),
            self.source,
            self.config,
            self.notes,
        )


def score_run(store: FeatureStore, run: Run) -> ScoredRun:
    """Scores of the test images of a run, exactly those that it had.

    Kept predictions are used if they cover these images; otherwise the saved model
    scores them again, from the vectors in the store.

    Raises:
        TrainingError: The run's folder is damaged, or its record cannot be read.
        ConfigurationError: The store no longer has images that the run was tested on.
    """
    reopened = reopen_run(store, run)
    images = load_own_images(store, reopened, ["test"])
    features, config = images.features, reopened.record.config
    rows = features.rows("test")
    if not len(rows):
        raise ConfigurationError(
            f"no image of {store.path} is in the test split of run {run.run_id}",
            "Train again: the images were ingested anew since.",
        )
    rows = rows[np.argsort(features.image_id[rows].astype(str))]
    kept = _kept_predictions(store, run, features.image_id[rows])
    findings, score, probability = kept or _scored_again(store, reopened, images, rows)
    labelled = with_findings(features, findings)
    targets = make_targets(
        labelled.states[rows], config.uncertain, config.blank, findings=findings
    )
    return ScoredRun(
        run,
        findings,
        features.image_id[rows],
        features.patient_id[rows],
        score,
        probability,
        targets,
        "predictions" if kept else "model",
        config,
        _notes(reopened, images),
    )


def _notes(reopened: ReopenedRun, images: ImageSet) -> tuple[str, ...]:
    """What a reader must know of the labels and images that metrics are of."""
    then = reopened.record.provenance.label_versions
    now = images.provenance.label_versions
    run_id = reopened.run.run_id
    notes = [
        f"labels of {name} changed since run {run_id}: version {then[name]} then, "
        f"{version} now"
        for name, version in now.items()
        if then.get(name, version) != version
    ]
    if reopened.listed is None:
        notes.append(
            f"run {run_id} is from before runs kept their images: these are the ones "
            "that its selection gives now"
        )
    return tuple(notes)


def _kept_predictions(
    store: FeatureStore, run: Run, image_id: npt.NDArray[np.object_]
) -> tuple[tuple[str, ...], Scores, Scores] | None:
    """Predictions after the last task, if there is one for every image and finding."""
    kept = store.sql(
        """SELECT image_id, finding, score, probability FROM predictions
        WHERE run_id = ? AND task = (
            SELECT max(task) FROM predictions WHERE run_id = ?)""",
        [run.run_id, run.run_id],
    ).fetchnumpy()
    if not len(kept["image_id"]):
        return None
    findings, column = np.unique(kept["finding"].astype(str), return_inverse=True)
    nearest = np.searchsorted(image_id.astype(str), kept["image_id"].astype(str))
    nearest = np.minimum(nearest, len(image_id) - 1)
    ours = image_id[nearest] == kept["image_id"]
    scores = np.full((2, len(image_id), len(findings)), np.nan, dtype=np.float32)
    for values, name in zip(scores, ("score", "probability"), strict=True):
        values[nearest[ours], column[ours]] = kept[name][ours]
    if np.isnan(scores).any():
        return None
    return tuple(findings.tolist()), scores[0], scores[1]


def _scored_again(
    store: FeatureStore,
    reopened: ReopenedRun,
    images: ImageSet,
    rows: npt.NDArray[np.int64],
) -> tuple[tuple[str, ...], Scores, Scores]:
    saved = load_model_of(store, reopened)
    prediction = predict(saved.model, images.features.embedding[rows]).ranking_by(
        reopened.record.config.score, reopened.run.method
    )
    return saved.findings, prediction.score, prediction.probability


def check_comparable(
    first: ScoredRun, second: ScoredRun, *, across_encoders: bool = False
) -> tuple[ScoredRun, ScoredRun]:
    """Two runs on their common findings, which are known to be about the same cells.

    Args:
        first: A run.
        second: Another.
        across_encoders: Whether vectors of different encoders may be behind them.

    Raises:
        FingerprintMismatchError: They are, and may not be.
        ConfigurationError: They are one run, their test images or labels differ, or
            they share no finding.
    """
    one, other = first.run, second.run
    if one.run_id == other.run_id:
        raise ConfigurationError(
            f"both names mean run {one.run_id}", "Name two different runs."
        )
    if one.fingerprint != other.fingerprint and not across_encoders:
        raise FingerprintMismatchError(
            f"run {one.run_id} is of encoder {one.fingerprint}, run {other.run_id} of "
            f"{other.fingerprint}",
            "A difference would be that of the encoders too. If that is what you want "
            "to see, add `across_encoders`.",
        )
    _check_same_images(first, second)
    shared = tuple(name for name in first.findings if name in second.findings)
    if not shared:
        raise ConfigurationError(
            f"run {one.run_id} knows {', '.join(first.findings)}; run {other.run_id} "
            f"knows {', '.join(second.findings)}: no finding is in both"
        )
    first, second = first.columns(shared), second.columns(shared)
    same = (first.targets.observed == second.targets.observed) & (
        first.targets.value == second.targets.value
    )
    if not same.all():
        raise ConfigurationError(
            f"runs {one.run_id} and {other.run_id} count labels differently: "
            f"{counted(int((~same).sum()), 'cell', 'differ')} among their test images",
            "Compare runs with the same `uncertain` and `blank`.",
        )
    return first, second


def _check_same_images(first: ScoredRun, second: ScoredRun) -> None:
    one, other = set(first.image_id.tolist()), set(second.image_id.tolist())
    if one == other:
        return
    lone = sorted(one ^ other)
    raise ConfigurationError(
        f"runs {first.run.run_id} and {second.run.run_id} have different test images: "
        f"{len(one - other)} only in the first, {len(other - one)} only in the second, "
        f"such as {', '.join(lone[:_FEW])}",
        "Compare runs with the same `datasets`, `where` and `split_seed`. An image "
        "that tests one run may have trained the other.",
    )
