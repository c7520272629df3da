"""What other learners reach on the same features, to compare a run with."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from ..problem.features import Features
from ..problem.scenarios import Scenario, merge_tasks, plan_scenario
from ..problem.targets import SOFT_TARGET, Targets
from ..stats.catalog_names import Bound
from ..stats.intervals import PatientInfluence
from ..stats.metrics import auroc
from .record import ExperimentConfig
from .run_problem import RunProblem

__all__ = ["logistic_regression_scores", "measure_bounds"]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def measure_bounds(run: RunProblem, scenario: Scenario) -> dict[str, PatientInfluence]:
    """Test AUROC of what a scenario is compared with.

    Args:
        run: Its images.
        scenario: Its tasks.

    Returns:
        `Bound` -> AUROC on test; nothing without training images. Logistic regression
        is left out where the vectors stay in a file: it would need all in memory.
    """
    influences: dict[str, PatientInfluence] = {}
    features, config = run.features, run.config
    train = features.rows("train")
    if not len(train):
        return influences
    every = plan_scenario(
        "joint", run.targets, features.patient, train, features.findings
    ).tasks[0]
    if scenario.name != "joint":
        influences[Bound.JOINT] = run.learned_at_once(every)
    if scenario.name in ("class", "label"):
        merged = merge_tasks(scenario.tasks, len(features.image_id))
        influences[Bound.JOINT_OBSERVED] = run.learned_at_once(merged)
    elif scenario.name == "data":  # its parts are all cells
        influences[Bound.JOINT_OBSERVED] = influences[Bound.JOINT]
    if config.method != "analytic" and config.train.pooling == "mean":
        exact = _exact_config(config)
        influences[Bound.ANALYTIC] = run.learned_at_once(every, exact)
    if not isinstance(features.embedding, np.memmap):
        scores = logistic_regression_scores(features, run.targets)
        influences[Bound.LOGISTIC_REGRESSION] = run.rows("test").influence(scores)
    return influences


def _exact_config(config: ExperimentConfig) -> ExperimentConfig:
    """How the exact method learns the same."""
    train = replace(config.train, options={})
    return replace(config, method="analytic", train=train, score="difference")


def logistic_regression_scores(
    features: Features, targets: Targets
) -> npt.NDArray[np.float64]:
    """scikit-learn's logistic regression, one per finding, trained on all labels.

    Features are standardised on the training rows; the regularisation strength C is
    chosen per finding by AUROC on validation.

    Returns:
        Decision values, shape (N, K); NaN for a finding with one class in training.
    """
    # Loaded here: it takes a second, and many runs need none of it.
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    train, validation = features.rows("train"), features.rows("validation")
    plain = features.embedding.astype(np.float32)
    x = StandardScaler().fit(plain[train]).transform(plain)
    scores = np.full(targets.value.shape, np.nan)
    for finding in range(targets.value.shape[1]):
        # It takes no target in between; those of an uncertain label are left out.
        observed = targets.observed[:, finding] & (
            targets.value[:, finding] != SOFT_TARGET
        )
        rows = train[observed[train]]
        labels = targets.value[rows, finding]
        if len(np.unique(labels)) < 2:
            continue
        candidates = [
            LogisticRegression(C=strength, max_iter=2000)
            .fit(x[rows], labels)
            .decision_function(x)
            for strength in _STRENGTHS
        ]
        quality = auroc(
            np.stack([one[validation] for one in candidates], axis=1),
            np.repeat(targets.value[validation, finding, None], len(candidates), 1),
            np.repeat(observed[validation, None], len(candidates), 1),
        )
        # Without both classes in validation the middle strength is as good a guess.
        middle = len(candidates) // 2
        best = middle if np.isnan(quality).all() else int(np.nanargmax(quality))
        scores[:, finding] = candidates[best]
    return scores
