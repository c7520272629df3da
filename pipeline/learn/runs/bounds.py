"""What other learners reach on the same features: bounds to hold results against."""

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ..problem.features import Features
from ..problem.targets import SOFT_TARGET, Targets
from ..stats.metrics import auroc

__all__ = ["logistic_regression_scores"]

_STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


def logistic_regression_scores(
    features: Features, targets: Targets
) -> npt.NDArray[np.float64]:
    """scikit-learn's logistic regression, one per finding, trained on all labels.

    Features are standardised on the training rows; the regularisation strength C is
    chosen per finding by AUROC on validation.

    Returns:
        Decision values, shape (N, K); NaN for a finding with one class in training.
    """
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
