"""What a run decides by: thresholds and answer sets, from its validation images."""

from dataclasses import replace

import numpy as np

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

from ..problem.chosen_findings import with_findings
from ..problem.targets import make_targets
from ..stats.conformal import ConformalRule, conformal_rule
from ..stats.metrics import Array, Floats, Mask
from ..stats.operating_point import (
    OperatingPoint,
    ThresholdOrigin,
    choose_thresholds,
)
from .reopened import ReopenedRun, load_own_images
from .saved_model import SavedModel, predict

__all__ = ["rule_of_validation", "stored_origins"]


def stored_origins(
    reopened: ReopenedRun, saved: SavedModel
) -> tuple[ThresholdOrigin, ...]:
    """Where the run's own thresholds come from, with the datasets of the run."""
    datasets = reopened.record.provenance.selection.datasets or ()
    return tuple(
        one if one.datasets else replace(one, datasets=tuple(datasets))
        for one in saved.threshold_origins
    )


def rule_of_validation(
    store: FeatureStore,
    reopened: ReopenedRun,
    saved: SavedModel,
    *,
    operating_point: str | None = None,
    coverage: float | None = None,
) -> tuple[Floats, tuple[ThresholdOrigin, ...], ConformalRule | None]:
    """Thresholds, their origins and, for a coverage, the rule of answer sets.

    Without an operating point the thresholds are the run's own; otherwise they, and
    answer sets in any case, are computed anew from the run's validation images.

    Args:
        store: With these images.
        reopened: The run.
        saved: Its model.
        operating_point: As `OperatingPoint.parse` reads it; None: the run's.
        coverage: Coverage of the answer sets, within (0, 1); None: no answer sets.

    Raises:
        ConfigurationError: An argument cannot be used, or validation images are gone.
        TrainingError: The run had no validation image.
    """
    thresholds, origins = saved.thresholds, stored_origins(reopened, saved)
    if operating_point is None and coverage is None:
        return thresholds, origins, None
    point = None if operating_point is None else OperatingPoint.parse(operating_point)
    if coverage is not None and not 0 < coverage < 1:
        raise ConfigurationError(
            f"`coverage` {coverage:g} is not between 0 and 1", "Use 0.9, for example."
        )
    cells = _validation(store, reopened, saved)
    if point is not None:
        datasets = reopened.record.provenance.selection.datasets or ()
        thresholds, origins = choose_thresholds(point, *cells, datasets)
    sets = None if coverage is None else conformal_rule(*cells, coverage)
    return thresholds, origins, sets


def _validation(
    store: FeatureStore, reopened: ReopenedRun, saved: SavedModel
) -> tuple[Array, Array, Mask]:
    """Probability, label and whether it is known, of the run's validation images."""
    images = load_own_images(store, reopened, ["validation"])
    rows = images.features.rows("validation")
    features = with_findings(images.features, list(saved.findings))
    config = reopened.record.config
    targets = make_targets(
        features.states[rows], config.uncertain, config.blank, findings=saved.findings
    )
    if not len(rows):
        return np.zeros((0, len(saved.findings))), targets.value, targets.observed
    probability = predict(saved.model, images.features.embedding[rows]).probability
    return probability, targets.value, targets.observed
