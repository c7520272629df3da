"""Runs side by side: figures, the matrix of each, curves per finding."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from retune.store import FeatureStore

from ...report.records import Figure, ReportedRun, read_runs
from ..run_entries import list_runs

__all__ = ["Curve", "RunView", "RunsPage", "read_runs_page"]

_SUMMARY = {
    "final_auroc": "final AUROC",
    "average_incremental_auroc": "average over tasks",
    "zero_shot_auroc": "zero-shot AUROC",
    "forgetting": "forgetting",
    "backward_transfer": "backward transfer",
    "joint_gap": "gap to joint",
}


@dataclass(frozen=True)
class Curve:
    """Test AUROC of one finding after each task, of one run; None: undefined."""

    title: str
    index: int
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class RunView:
    """A run as the page shows it.

    Attributes:
        run_id: Its id.
        title: Its name or id, scenario and method.
        findings: K names.
        rows: What was learned last, and the AUROC of each finding with whether it was
            learned by then.
        summary: Figure -> value with its interval, as text.
    """

    run_id: str
    title: str
    findings: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[float | None, bool], ...]], ...]
    summary: dict[str, str]


@dataclass(frozen=True)
class RunsPage:
    """Chosen runs.

    Attributes:
        runs: In the order chosen.
        findings: Findings of any of them, in order.
        curves: Finding -> a curve per run that knows it.
        summary_names: Rows of the table of figures.
        differ: Why they may not be compared; empty where they may.
    """

    runs: tuple[RunView, ...]
    findings: tuple[str, ...]
    curves: dict[str, tuple[Curve, ...]]
    summary_names: tuple[str, ...]
    differ: tuple[str, ...]


def read_runs_page(store: FeatureStore, chosen: Sequence[str]) -> RunsPage:
    """Read the chosen runs; the newest two where none is chosen.

    Raises:
        ConfigurationError: There is no such run.
    """
    entries = {entry.run_id: entry for entry in list_runs(store)}
    wanted = list(dict.fromkeys(chosen)) or list(entries)[:2]
    records = {run.run_id: run for run in read_runs(store, wanted)} if wanted else {}
    runs = [records[one] for one in entries if one in records]
    findings = tuple(dict.fromkeys(name for run in runs for name in run.findings))
    titles = {
        run.run_id: f"{entries[run.run_id].name or run.run_id} · {run.scenario} · "
        f"{run.method}"
        for run in runs
    }
    curves = {
        name: tuple(
            Curve(titles[run.run_id], index, tuple(map(_known, _column(run, name))))
            for index, run in enumerate(runs)
            if name in run.findings
        )
        for name in findings
    }
    return RunsPage(
        tuple(_view(run, titles[run.run_id]) for run in runs),
        findings,
        curves,
        tuple(_SUMMARY.values()),
        _differences(runs),
    )


def _column(run: ReportedRun, finding: str) -> list[float]:
    column = run.findings.index(finding)
    return [float(value) for value in run.matrix()[:, column]]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _view(run: ReportedRun, title: str) -> RunView:
    matrix = run.matrix()
    names = ["before", *(f"{t} {name}" for t, name in enumerate(run.task_names(), 1))]
    rows = tuple(
        (
            label,
            tuple(
                (_known(value), bool(task) and int(first) <= task)
                for value, first in zip(matrix[task], run.introduced, strict=True)
            ),
        )
        for task, label in enumerate(names)
    )
    summary = {words: _text(run.figure(metric)) for metric, words in _SUMMARY.items()}
    return RunView(run.run_id, title, run.findings, rows, summary)


def _text(figure: Figure) -> str:
    if np.isnan(figure.value):
        return "–"
    text = f"{figure.value:.3f}"
    if not (np.isnan(figure.low) or np.isnan(figure.high)):
        text += f" ({figure.low:.3f} to {figure.high:.3f})"
    return text.replace("-", "−")


def _differences(runs: Sequence[ReportedRun]) -> tuple[str, ...]:
    kinds: dict[str, set[object]] = {
        "encoders": {run.fingerprint for run in runs},
        "findings": {frozenset(run.findings) for run in runs},
        "test images": {repr(run.record.provenance.splits.get("test")) for run in runs},
    }
    return tuple(name for name, values in kinds.items() if len(values) > 1)
