"""Which labels contradict what images of other patients say."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, TrainingError
from retune.store.plural import counted
from retune.store.results import add_result, new_result_id

from ...learn.audit.doubts import doubt_labels
from ...learn.audit.held_out import held_out_scores
from ...learn.methods.analytic.method import Analytic
from ...learn.problem.chosen_findings import choose_findings, select_findings
from ...learn.problem.config import TrainConfig
from ...learn.problem.targets import (
    SOFT_TARGET,
    BlankPolicy,
    UncertainPolicy,
    make_targets,
)
from ...learn.runs.learning_set import LearningSet, load_learning_set, named_findings
from ...learn.runs.selection import Selection
from ...learn.stats.calibration import Line, platt
from ..queries.listing import Listing

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DoubtfulLabel", "FindingDoubts", "LabelAudit", "LabelAuditRequest",
           "audit_labels"]  # fmt: skip

Floats = npt.NDArray[np.float64]
#: Rows that are entered into the store, at most.
_MOST = 10_000


@dataclass(frozen=True)
class LabelAuditRequest:
    """Whose labels to look at.

    Attributes:
        selection: Which images and descriptions; images of all splits count.
        findings: Only these; None for all with both classes.
        uncertain: Policy for uncertain labels.
        blank: Policy for findings not mentioned.
        k: Labels to show.
        backbone: Use the vectors of this backbone.
        fingerprint: Use the vectors of this encoder.
    """

    selection: Selection = field(default_factory=Selection)
    findings: tuple[str, ...] | None = None
    uncertain: UncertainPolicy = "ignore"
    blank: BlankPolicy = "negative"
    k: int = 20
    backbone: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True)
class DoubtfulLabel:
    """One label.

    Attributes:
        rank: From 1, the most doubtful first.
        image_id: The image.
        finding: The finding.
        label: 1 or 0, as it stands in the store.
        probability: Probability of the finding, by images of other patients.
        disagreement: From 0 to 1.
        suspected: Whether the rule of confident learning calls it wrong.
    """

    rank: int
    image_id: str
    finding: str
    label: int
    probability: float
    disagreement: float
    suspected: bool


@dataclass(frozen=True)
class FindingDoubts:
    """What the rule says of one finding.

    Attributes:
        finding: Its name.
        positive: Positive labels.
        negative: Negative labels.
        auroc: AUROC of the probabilities against the labels themselves.
        suspected_positive: Positive labels that the rule calls wrong.
        suspected_negative: Negative labels that it calls wrong.
    """

    finding: str
    positive: int
    negative: int
    auroc: float
    suspected_positive: int
    suspected_negative: int


@dataclass(frozen=True)
class LabelAudit:
    """An audit as it was entered into the store.

    Attributes:
        audit_id: Under which its rows stand in the table `label_audits`.
        labels: The most doubtful ones, `k` of them.
        findings: A row for each finding.
        n_labels: Labels that were compared.
        n_known: Images of patients that the backbone was trained on: it may have seen
            their labels.
    """

    audit_id: str
    labels: Listing[DoubtfulLabel]
    findings: Listing[FindingDoubts]
    n_labels: int
    n_known: int

    def frame(self) -> "pd.DataFrame":
        """The labels as a pandas DataFrame."""
        return self.labels.frame()

    def __repr__(self) -> str:
        suspected = sum(
            one.suspected_positive + one.suspected_negative for one in self.findings
        )
        return (
            f"LabelAudit({self.audit_id}: {counted(self.n_labels, 'label')}, "
            f"{suspected:,} "
            "suspected)"
        )


@dataclass(frozen=True)
class _Cells:
    """Labels of all findings in one row: n of them.

    Attributes:
        row: Row of the image, shape (n,).
        finding: Its number, shape (n,).
    """

    row: npt.NDArray[np.int64]
    finding: npt.NDArray[np.int64]
    label: npt.NDArray[np.int64]
    probability: Floats
    disagreement: Floats
    suspected: npt.NDArray[np.bool_]


def audit_labels(store: FeatureStore, request: LabelAuditRequest) -> LabelAudit:
    """Rank labels by how much other patients' images contradict them, and enter them.

    Args:
        store: With vectors and labels.
        request: Which labels.

    Raises:
        ConfigurationError: A name is unknown, or `k` is below 1.
        LeakageError: Splits share patients or pictures; they do not matter here, and
            can be allowed.
        TrainingError: No finding has labels of both classes.
        StoreWriteError: The disk refused.
    """
    if request.k < 1:
        raise ConfigurationError(f"`k` {request.k} is below 1", "Use `k` 20.")
    learning_set = load_learning_set(
        store,
        request.selection,
        backbone=request.backbone,
        fingerprint=request.fingerprint,
    )
    names, cells, table = _doubts(learning_set, request)
    order = np.lexsort((cells.row, -cells.disagreement))
    image_id = learning_set.features.image_id
    wanted = max(request.k, min(_MOST, int(cells.suspected.sum())))
    rows = [
        DoubtfulLabel(
            rank,
            str(image_id[cells.row[at]]),
            names[cells.finding[at]],
            int(cells.label[at]),
            float(cells.probability[at]),
            float(cells.disagreement[at]),
            bool(cells.suspected[at]),
        )
        for rank, at in enumerate(order[:wanted], start=1)
    ]
    made_at = datetime.now(UTC).replace(tzinfo=None)
    audit_id = new_result_id(made_at)
    fingerprint = learning_set.encoder.fingerprint
    add_result(store, "label_audits", _table(rows, audit_id, fingerprint, made_at))
    return LabelAudit(
        audit_id,
        Listing.of(rows[: request.k], list(DoubtfulLabel.__dataclass_fields__)),
        Listing.of(table, list(FindingDoubts.__dataclass_fields__)),
        len(cells.row),
        learning_set.provenance.n_contaminated,
    )


def _doubts(
    learning_set: LearningSet, request: LabelAuditRequest
) -> tuple[list[str], _Cells, list[FindingDoubts]]:
    """All labels of the findings that can be compared."""
    features, prompts = learning_set.features, learning_set.prompts
    targets = make_targets(
        features.states, request.uncertain, request.blank, findings=features.findings
    )
    positive = targets.observed & (targets.value > SOFT_TARGET)
    negative = targets.observed & ~positive
    dropped = {
        name: f"{one} positive and {other} negative images"
        for name, one, other in zip(
            features.findings, positive.sum(axis=0), negative.sum(axis=0), strict=True
        )
        if not one or not other
    }
    asked = named_findings(request.findings, features.findings)
    names = choose_findings(features.findings, dropped, asked, None)
    places = [features.findings.index(name) for name in names]
    features, prompts = select_findings(features, prompts, names)
    prompts.check(features.findings)
    observed, positive = targets.observed[:, places], positive[:, places]
    model = Analytic.build_model(
        TrainConfig(), prompts, len(names), features.embedding.shape[1]
    )

    def features_of(rows: npt.NDArray[np.int64]) -> npt.NDArray[np.floating]:
        x = torch.from_numpy(features.embedding[rows])
        with torch.inference_mode():
            phi: npt.NDArray[np.floating] = model.features(x.float()).numpy()
        return phi

    scores = held_out_scores(
        features_of,
        positive.astype(np.float32),
        observed,
        features.patient,
        model.weight.numpy(),
    )
    parts, table = [], []
    for k, name in enumerate(names):
        rows = np.flatnonzero(~np.isnan(scores[:, k]))
        label = positive[rows, k]
        if not len(rows) or label.all() or not label.any():
            continue
        part, row = _of_finding(rows, k, name, scores[rows, k], label)
        parts.append(part)
        table.append(row)
    if not parts:
        raise TrainingError(
            "no finding has labels of both classes by several patients",
            "Check labels with `retune-cli status`.",
        )
    joined = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in _Cells.__dataclass_fields__
    }
    return names, _Cells(**joined), table


def _of_finding(
    rows: npt.NDArray[np.int64],
    k: int,
    name: str,
    score: Floats,
    label: npt.NDArray[np.bool_],
) -> tuple[_Cells, FindingDoubts]:
    from ...learn.stats.ranking import rank

    share = (label.sum() + 1) / (len(label) + 2)
    line = platt(score, label, Line.tangent(float(share)))
    probability = 1 / (1 + np.exp(-(line.slope * score + line.offset)))
    doubts = doubt_labels(probability, label)
    cells = _Cells(
        rows,
        np.full(len(rows), k),
        label.astype(np.int64),
        probability,
        doubts.disagreement,
        doubts.suspected,
    )
    return cells, FindingDoubts(
        name,
        int(label.sum()),
        int((~label).sum()),
        rank(score, label).auroc(),
        int((doubts.suspected & label).sum()),
        int((doubts.suspected & ~label).sum()),
    )


def _table(
    rows: list[DoubtfulLabel], audit_id: str, fingerprint: str, made_at: datetime
) -> pa.Table:
    fixed = {"audit_id": audit_id, "fingerprint": fingerprint, "made_at": made_at}
    schema = pa.schema(
        [
            ("audit_id", pa.string()), ("fingerprint", pa.string()),
            ("made_at", pa.timestamp("us")), ("rank", pa.int64()),
            ("image_id", pa.string()), ("finding", pa.string()), ("label", pa.int8()),
            ("probability", pa.float64()), ("disagreement", pa.float64()),
            ("suspected", pa.bool_()),
        ]
    )  # fmt: skip
    return pa.Table.from_pylist([fixed | vars(one) for one in rows], schema)
