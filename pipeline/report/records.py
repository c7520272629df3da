"""Runs read back from the catalog as arrays."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError
from retune.store.opening.kept_catalogs import opening_once

from ..learn.runs.record import RunRecord
from ..learn.stats.catalog_names import Bound, Metric
from ..learn.stats.sufficiency import left_out_note, sufficient_findings

__all__ = ["Figure", "ReportedRun", "read_runs"]

Floats = npt.NDArray[np.float64]
_NONE = float("nan")


@dataclass(frozen=True)
class Figure:
    """A figure with the ends of its 95 % interval; NaN where there is none."""

    value: float = _NONE
    low: float = _NONE
    high: float = _NONE


#: Task, split, finding ('' for all) and metric -> the figure.
_Cells = Mapping[tuple[int, str, str, str], Figure]


@dataclass(frozen=True)
class ReportedRun:
    """A run as the catalog has it; K findings, T tasks.

    Attributes:
        run_id: Its id.
        store: Name of the store's folder.
        backbone: Backbone of its embeddings.
        fingerprint: Fingerprint of its encoder.
        scenario: One of the scenarios.
        method: A method's name.
        seconds: Reading, training and evaluating.
        record: How it was made, and from which images.
        findings: K names, in the order of their tasks.
        introduced: The task that introduced each finding, shape (K,).
        n_tasks: T.
        cells: All its figures.
    """

    run_id: str
    store: str
    backbone: str
    fingerprint: str
    scenario: str
    method: str
    seconds: float
    record: RunRecord
    findings: tuple[str, ...]
    introduced: npt.NDArray[np.int64]
    n_tasks: int
    cells: _Cells

    @property
    def test_images(self) -> str:
        """Stands for the images in its test split: their digest, if it was recorded."""
        split = self.record.provenance.splits.get("test")
        if split is not None:
            return split.digest
        selection = self.record.provenance.selection
        return repr((selection.datasets, selection.where, selection.split_seed))

    @property
    def n_test_images(self) -> int | None:
        """How many images are in its test split; None if nobody recorded it."""
        split = self.record.provenance.splits.get("test")
        return None if split is None else split.n_images

    def figure(
        self, metric: str, finding: str = "", task: int | None = None,
        split: str = "test",
    ) -> Figure:  # fmt: skip
        """A figure, by default after the last task on test; NaN if it is not there."""
        task = self.n_tasks if task is None else task
        return self.cells.get((task, split, finding, metric), Figure())

    def row(self, metric: str, task: int | None = None, split: str = "test") -> Floats:
        """Values of all findings, shape (K,)."""
        figures = [self.figure(metric, name, task, split) for name in self.findings]
        return np.array([figure.value for figure in figures])

    def matrix(self) -> Floats:
        """R: test AUROC before the first task and after each, shape (T+1, K)."""
        return np.stack([self.row(Metric.AUROC, t) for t in range(self.n_tasks + 1)])

    def counted(self) -> npt.NDArray[np.bool_]:
        """Findings that enter means, shape (K,)."""
        counted = sufficient_findings(*self._counts())
        return counted if counted.any() else np.ones(len(self.findings), dtype=bool)

    def left_out(self) -> str:
        """How many findings means leave out, in words; empty if none."""
        return left_out_note(*self._counts())

    def _counts(self) -> tuple[Floats, Floats, int]:
        rows = (self.row(one) for one in (Metric.N_POSITIVE, Metric.N_OBSERVED))
        positive, observed = (np.nan_to_num(one) for one in rows)
        return positive, observed, self.record.config.min_positives

    def task_names(self) -> list[str]:
        """What each task brought."""
        if self.scenario in ("class", "label"):
            names = dict(zip(self.introduced.tolist(), self.findings, strict=True))
            return [names.get(t, f"task {t}") for t in range(1, self.n_tasks + 1)]
        if self.scenario == "data":
            return [f"part {t} of {self.n_tasks}" for t in range(1, self.n_tasks + 1)]
        return [self.scenario] * self.n_tasks

    def bounds(self) -> dict[str, Floats]:
        """Test AUROC of the bounds that the run has, shape (K,) each."""
        rows = {bound.value: self.row(bound.auroc) for bound in Bound}
        return {name: row for name, row in rows.items() if not np.isnan(row).all()}

    def groups(self) -> list[str]:
        """Splits of groups of patients, such as ``test/sex=F``."""
        return sorted({split for _, split, _, _ in self.cells if "=" in split})


@opening_once
def read_runs(store: FeatureStore, names: Sequence[str] = ()) -> list[ReportedRun]:
    """Finished runs with their figures, oldest first.

    Args:
        store: Where they are.
        names: Run ids or their beginnings, or ``latest``; all if there is none.

    Raises:
        ConfigurationError: A name means no run or several, or there is no run at all.
    """
    from retune.store import find_run
    from retune.store.runs import enter_kept_runs

    enter_kept_runs(store)
    chosen = [find_run(store, name).run_id for name in names]
    rows = store.rows(
        """SELECT r.run_id, coalesce(e.backbone, '?'), r.fingerprint, r.scenario,
            r.method, r.seconds, r.config
        FROM runs r LEFT JOIN encoders e USING (fingerprint)
        WHERE r.status = 'finished' AND (len(?) = 0 OR list_contains(?, r.run_id))
        ORDER BY r.started_at, r.run_id""",
        [chosen, chosen],
    )
    if not rows:
        raise ConfigurationError(
            f"{store.path} has no finished run", "`retune-cli train` makes one."
        )
    cells = _read_cells(store, [row[0] for row in rows])
    return [_record(store.path.name, row, cells.get(row[0], {})) for row in rows]


def _read_cells(store: FeatureStore, run_ids: Sequence[str]) -> dict[str, _Cells]:
    cells: dict[str, dict[tuple[int, str, str, str], Figure]] = {}
    for run_id, task, split, finding, metric, *ends in store.rows(
        """SELECT run_id, task, split, coalesce(finding, ''), metric, value, ci_low,
            ci_high FROM metrics WHERE list_contains(?, run_id)""",
        [list(run_ids)],
    ):
        known = (_NONE if end is None else float(end) for end in ends)
        cells.setdefault(run_id, {})[task, split, finding, metric] = Figure(*known)
    return dict(cells)


def _record(store: str, row: tuple[Any, ...], cells: _Cells) -> ReportedRun:
    run_id, backbone, fingerprint, scenario, method, seconds, config = row
    of_test = [key for key in cells if key[1] == "test"]
    findings = sorted({finding for _, _, finding, _ in of_test if finding})
    last = max((task for task, *_ in of_test), default=0)

    def introduced(name: str) -> int:
        value = cells.get((last, "test", name, Metric.TASK_INTRODUCED), Figure()).value
        return 1 if np.isnan(value) else int(value)

    findings.sort(key=introduced)  # stable: by name within a task
    try:
        recorded = RunRecord.from_json(config)
    except ValueError as error:
        raise ConfigurationError(
            f"the record of run {run_id} in the catalog cannot be read: {error}",
            "The table runs holds it in the column config.",
        ) from error
    return ReportedRun(
        run_id,
        store,
        backbone,
        fingerprint,
        scenario,
        method,
        seconds,
        recorded,
        tuple(findings),
        np.array([introduced(name) for name in findings], dtype=np.int64),
        last,
        _with_positive(cells, findings, last),
    )


def _with_positive(cells: _Cells, findings: Sequence[str], last: int) -> _Cells:
    """Older runs have the AUROC of s⁺ by finding only: add the mean, no interval."""
    key = (last, "test", "", Metric.FINAL_AUROC_POSITIVE)
    if key in cells:
        return cells
    rows_with_positive = [
        cells.get((last, "test", name, Metric.AUROC_POSITIVE)) for name in findings
    ]
    values = [
        one.value for one in rows_with_positive if one and not np.isnan(one.value)
    ]
    mean = float(np.mean(values)) if values else _NONE
    return {**cells, key: Figure(mean)}
