"""Data-efficiency curves: a request becomes figures, and rows of the store."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.plural import counted
from retune.store.results import add_result, new_result_id

from ...encode.concatenation import concatenated_encoder
from ...learn.curves.curve import (
    LOGISTIC_REGRESSION,
    ZERO_SHOT,
    Curve,
    CurveConfig,
    CurvePoint,
    measure_curve,
)
from ...learn.curves.draws import parse_shots
from ...learn.problem.targets import BlankPolicy, UncertainPolicy
from ...learn.runs.learning_set import LearningSet, load_learning_set, named_findings
from ...learn.runs.selection import Selection
from ...progress import ProgressCallback, silent

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["METHODS", "SHOTS", "CurveRequest", "CurveResult", "curve"]

SHOTS = ("8", "16", "32", "64", "128", "all")
METHODS = (ZERO_SHOT, "analytic", "finetune", LOGISTIC_REGRESSION)


@dataclass(frozen=True)
class CurveRequest:
    """What to measure.

    Attributes:
        shots: Numbers of training patients, or ``all``.
        seeds: Draws of patients.
        seed: Seed of the first draw.
        methods: ``zero-shot``, ``logistic-regression``, or names of methods.
        selection: Which images and descriptions.
        findings: Only these; None for all that can be trained.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        min_positives: Test images of each class that a finding needs to count.
        backbone: Use the vectors of this backbone; ``A+B``: of both, side by side.
        fingerprint: Use the vectors of this encoder.
    """

    shots: Sequence[str | int] = SHOTS
    seeds: int = 5
    seed: int = 0
    methods: Sequence[str] = METHODS
    selection: Selection = field(default_factory=Selection)
    findings: tuple[str, ...] | None = None
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    min_positives: int = 5
    backbone: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class CurveResult:
    """A curve as it was entered into the store.

    Attributes:
        curve_id: Under which its rows stand in the table `curves`.
        curve: Points and scores.
        learning_set: The images.
    """

    curve_id: str
    curve: Curve
    learning_set: LearningSet

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """Means over findings and draws, with intervals."""
        return self.curve.points

    def frame(self) -> "pd.DataFrame":
        """The points as a pandas DataFrame, a row each."""
        import pandas as pd

        columns = list(CurvePoint.__dataclass_fields__)
        return pd.DataFrame([vars(one) for one in self.points], columns=columns)

    def plot(self, path: str | Path) -> None:
        """Draw the points: a .png, .svg or .pdf file. Needs the extra ``report``.

        Raises:
            ConfigurationError: matplotlib is missing, or the file cannot be written.
        """
        from ...report.curve_figure import draw_curve

        title = f"{self.learning_set.encoder.backbone}, {self.curve_id}"
        rows = [
            (one.method, one.n_patients, one.auroc, one.low, one.high)
            for one in self.points
        ]
        draw_curve(rows, Path(path), title)

    def __repr__(self) -> str:
        methods = list(dict.fromkeys(one.method for one in self.points))
        return (
            f"CurveResult({self.curve_id}: {', '.join(methods)}; "
            f"{counted(len(self.points), 'point')}, "
            f"{counted(len(self.curve.findings), 'finding')})"
        )


def curve(
    store: FeatureStore, request: CurveRequest, progress: ProgressCallback = silent
) -> CurveResult:
    """Measure a curve and enter it.

    Args:
        store: With vectors and labels.
        request: What to measure.
        progress: Told after each draw of patients.

    Raises:
        ConfigurationError: A name is unknown, or no number of patients fits.
        LeakageError: Splits share patients or pictures.
        TrainingError: No finding has enough test images of both classes.
        StoreWriteError: The disk refused.
    """
    shots = parse_shots(request.shots)
    if not request.methods:
        raise ConfigurationError(
            "`methods` names no method", f"Example: {','.join(METHODS)}"
        )
    joined = concatenated_encoder(store, request.backbone, progress)
    learning_set = load_learning_set(
        store,
        request.selection,
        backbone=None if joined else request.backbone,
        fingerprint=joined or request.fingerprint,
    )
    features = learning_set.features
    config = CurveConfig(
        shots,
        request.seeds,
        request.seed,
        tuple(dict.fromkeys(request.methods)),
        named_findings(request.findings, features.findings),
        request.uncertain,
        request.blank,
        request.min_positives,
    )
    measured = measure_curve(features, learning_set.prompts, config, progress)
    made_at = datetime.now(UTC).replace(tzinfo=None)
    curve_id = new_result_id(made_at)
    described = {
        "shots": ["all" if one is None else one for one in shots],
        "seeds": config.seeds,
        "uncertain": config.uncertain,
        "blank": config.blank,
        "min_positives": config.min_positives,
        "selection": asdict(learning_set.provenance.selection),
    }
    fixed = {
        "curve_id": curve_id,
        "fingerprint": learning_set.encoder.fingerprint,
        "config": json.dumps(described, ensure_ascii=False),
        "made_at": made_at,
    }
    add_result(store, "curves", _rows(measured, fixed))
    return CurveResult(curve_id, measured, learning_set)


def _rows(measured: Curve, fixed: dict[str, Any]) -> pa.Table:
    """A row per point, and one per score."""
    points = [
        {
            "method": one.method,
            "n_patients": one.n_patients,
            "n_images": one.n_images,
            "seed": None,
            "finding": None,
            "metric": "auroc",
            "value": one.auroc,
            "ci_low": one.low,
            "ci_high": one.high,
        }
        for one in measured.points
    ]
    scores = [
        {
            "method": one.method,
            "n_patients": one.n_patients,
            "n_images": float(one.n_images),
            "seed": one.seed,
            "finding": one.finding,
            "metric": "auroc",
            "value": one.auroc,
            "ci_low": None,
            "ci_high": None,
        }
        for one in measured.scores
    ]
    schema = pa.schema(
        [
            ("curve_id", pa.string()), ("fingerprint", pa.string()),
            ("config", pa.string()), ("made_at", pa.timestamp("us")),
            ("method", pa.string()), ("n_patients", pa.int64()),
            ("n_images", pa.float64()), ("seed", pa.int32()),
            ("finding", pa.string()), ("metric", pa.string()),
            ("value", pa.float64()), ("ci_low", pa.float64()),
            ("ci_high", pa.float64()),
        ]
    )  # fmt: skip
    return pa.Table.from_pylist([fixed | one for one in points + scores], schema)
