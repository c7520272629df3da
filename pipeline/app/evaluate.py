"""Evaluating a run: on its own images, or on others of the store."""

from dataclasses import dataclass

from retune.store import FeatureStore, find_run

from ..learn.erasing.marks import refuse_erased
from ..learn.problem.targets import BlankPolicy, UncertainPolicy
from ..learn.runs.external import ExternalEvaluation, evaluate_run
from ..learn.stats.catalog_names import Metric

__all__ = ["EvaluateRequest", "FindingFigures", "evaluate", "figures_of"]


@dataclass(frozen=True)
class EvaluateRequest:
    """What to evaluate, and on which images.

    Attributes:
        run: Run id, the beginning of one, or ``latest``.
        datasets: Only these; None for those of the run.
        split: ``train``, ``validation``, ``test`` or ``all``.
        where: A SQL condition over the columns of `images`.
        uncertain: Policy for uncertain labels; None: the run's.
        blank: Policy for findings not mentioned; None: the run's.
        allow_leakage: Also on patients and pictures that the run was trained on.
        allow_contaminated: Also on patients that the backbone was trained on.
        allow_erased: Also a run that was trained on erased data.
    """

    run: str
    datasets: tuple[str, ...] | None = None
    split: str = "test"
    where: str | None = None
    uncertain: UncertainPolicy | None = None
    blank: BlankPolicy | None = None
    allow_leakage: bool = False
    allow_contaminated: bool = False
    allow_erased: bool = False


@dataclass(frozen=True)
class FindingFigures:
    """Metrics of one finding; NaN where undefined."""

    finding: str
    positive: int
    images: int
    auroc: float
    low: float
    high: float
    ap: float
    f1: float


def evaluate(store: FeatureStore, request: EvaluateRequest) -> ExternalEvaluation:
    """Evaluate a run and enter the figures into `metrics`; see `evaluate_run`.

    Raises:
        ErasedDataError: The run was trained on somebody who is erased.
    """
    refuse_erased(
        store, find_run(store, request.run).run_id, allow_erased=request.allow_erased
    )
    return evaluate_run(
        store,
        request.run,
        datasets=request.datasets,
        split=request.split,
        where=request.where,
        uncertain=request.uncertain,
        blank=request.blank,
        allow_leakage=request.allow_leakage,
        allow_contaminated=request.allow_contaminated,
    )


def figures_of(result: ExternalEvaluation) -> tuple[FindingFigures, ...]:
    """The metrics of each finding, in order."""
    figures = result.evaluation
    return tuple(
        FindingFigures(
            name,
            int(figures.n_positive[place]),
            int(figures.n_observed[place]),
            float(figures.auroc[place]),
            float(figures.low[place]),
            float(figures.high[place]),
            float(figures.others[Metric.AVERAGE_PRECISION][place]),
            float(figures.others[Metric.F1][place]),
        )
        for place, name in enumerate(result.findings)
    )
