"""How well a trained mini does on patients that it never saw."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore

from ..learn.problem.chosen_findings import select_findings
from ..learn.problem.features import Features, Prompts
from ..learn.problem.targets import make_targets
from ..learn.runs.experiment import ExperimentConfig, run_experiment
from ..learn.runs.learning_set import load_learning_set
from ..learn.runs.saved_model import predict
from ..learn.runs.selection import Selection
from ..learn.stats.bootstrap import bootstrap_macro_auroc
from ..learn.stats.intervals import delong
from ..learn.training.trainer import build_model, preset, untrained

__all__ = ["MIN_POSITIVE", "Figure", "description_margins", "joint_gain", "zero_shot"]

#: A finding with fewer positive images says too little to be averaged.
MIN_POSITIVE = 20
_DRAWS = 1000


@dataclass(frozen=True)
class Figure:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f} to {self.high:.3f})"


def zero_shot(
    store: FeatureStore, fingerprint: str, dataset: str
) -> tuple[Figure, dict[str, Figure]]:
    """AUROC of s⁺ − s⁻ with the shipped descriptions, on validation and test patients.

    Returns:
        The mean over findings with at least `MIN_POSITIVE` positive images, with an
        interval by bootstrap over patients, and each of these with DeLong's.
    """
    features, prompts = _read(store, fingerprint, dataset)
    scores = _zero_shot_scores(features, prompts)
    return _figures(features, scores, np.flatnonzero(features.split != "train"))


def joint_gain(
    store: FeatureStore, fingerprint: str, dataset: str
) -> tuple[Figure, Figure]:
    """Zero-shot and, after RE-tune on all labels at once, `joint`, on test patients.

    The means are over findings with at least `MIN_POSITIVE` positive test images.
    """
    features, prompts = _read(store, fingerprint, dataset)
    config = ExperimentConfig("joint", with_bounds=False)
    run = run_experiment(features, prompts, config)
    features, prompts = select_findings(features, prompts, run.findings)
    rows = features.rows("test")
    before, _ = _figures(features, _zero_shot_scores(features, prompts), rows)
    after, _ = _figures(features, run.prediction.difference, rows)
    return before, after


def description_margins(store: FeatureStore, fingerprint: str) -> dict[str, float]:
    """Finding -> how much closer its assertions are to each other than to denials.

    The mean cosine of two different positive descriptions, minus that of a positive
    and a negative one.
    """
    rows = store.sql(
        """SELECT finding, polarity, embedding FROM text_features
        WHERE fingerprint = ? AND set_name = 'default'""",
        [fingerprint],
    ).fetchall()
    vectors: dict[str, dict[str, list[npt.NDArray[np.float64]]]] = {}
    for finding, polarity, embedding in rows:
        unit = np.asarray(embedding) / np.linalg.norm(embedding)
        vectors.setdefault(finding, {}).setdefault(polarity, []).append(unit)
    margins = {}
    for finding, both in sorted(vectors.items()):
        positive, negative = np.stack(both["positive"]), np.stack(both["negative"])
        pairs = (positive @ positive.T)[np.triu_indices(len(positive), 1)]
        margins[finding] = float(pairs.mean() - (positive @ negative.T).mean())
    return margins


def _read(
    store: FeatureStore, fingerprint: str, dataset: str
) -> tuple[Features, Prompts]:
    read = load_learning_set(
        store, Selection(datasets=(dataset,)), fingerprint=fingerprint
    )
    return read.features, read.prompts


def _zero_shot_scores(features: Features, prompts: Prompts) -> npt.NDArray[np.float32]:
    """s⁺ − s⁻ without adaptors, shape (N, K)."""
    shape = len(features.findings), features.embedding.shape[1]
    model = build_model(untrained(preset("default")), prompts, *shape)
    return predict(model, features.embedding).difference


def _figures(
    features: Features,
    scores: npt.NDArray[np.float32],
    rows: npt.NDArray[np.integer],
) -> tuple[Figure, dict[str, Figure]]:
    targets = make_targets(features.states)
    value, observed = targets.value[rows], targets.observed[rows]
    test = delong(scores[rows], value, observed)
    n_positive = ((value > 0) & observed).sum(axis=0)
    counted = np.flatnonzero((n_positive >= MIN_POSITIVE) & ~np.isnan(test.auroc))
    low, high = bootstrap_macro_auroc(
        scores[rows],
        value,
        observed,
        features.patient_id[rows],
        findings=counted,
        n_bootstrap=_DRAWS,
    )
    return Figure(float(test.auroc[counted].mean()), low, high), {
        features.findings[k]: Figure(
            float(test.auroc[k]), float(test.low[k]), float(test.high[k])
        )
        for k in counted
    }
