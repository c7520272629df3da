"""`Run`: a finished run, read from the catalog when it is asked."""

import json
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from retune.store import FeatureStore, find_run
from retune.store.plural import counted

from ..report.records import ReportedRun, read_runs
from .run_entries import delete_runs, name_run, tag_runs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from .compare import Comparison
    from .predicting.model import RunModel

__all__ = ["Run", "compare", "find"]


class Run:
    """A finished run of a store.

    Made by `Store.train`, `Store.run` and `Store.runs`; nothing is read before it is
    asked for.

    Args:
        store: Where it is.
        run_id: Its id.

    Example:
        run = store.run("latest")
        run.matrix
    """

    def __init__(self, store: FeatureStore, run_id: str) -> None:
        self.feature_store = store
        self.run_id = run_id

    @cached_property
    def _record(self) -> ReportedRun:
        return read_runs(self.feature_store, [self.run_id])[0]

    @property
    def findings(self) -> tuple[str, ...]:
        """The K findings, in the order of their tasks."""
        return self._record.findings

    @property
    def scenario(self) -> str:
        """What was learned: zero-shot, joint, class, label or data."""
        return self._record.scenario

    @property
    def method(self) -> str:
        """How it was learned."""
        return self._record.method

    @property
    def fingerprint(self) -> str:
        """Of the encoder whose vectors it was trained on."""
        return self._record.fingerprint

    @property
    def seconds(self) -> float:
        """Reading, training and evaluating."""
        return self._record.seconds

    @property
    def config(self) -> Mapping[str, Any]:
        """All options, as `train` recorded them."""
        # A copy: what a notebook changes in it is not what the catalog holds.
        return dict(json.loads(self._record.record.to_json()))

    @property
    def matrix(self) -> "pd.DataFrame":
        """R: test AUROC of each finding before the first task and after each.

        Shape (T+1, K). `intervals` has the ends of the 95 % intervals beside it.
        """
        import pandas as pd

        return pd.DataFrame(
            self._record.matrix(), index=self._tasks(), columns=list(self.findings)
        )

    @property
    def intervals(self) -> "pd.DataFrame":
        """R with the ends of its 95 % intervals: columns (finding, value|low|high)."""
        import pandas as pd

        record = self._record
        ends = ("value", "low", "high")
        cells = [
            [
                getattr(record.figure("auroc", name, task), end)
                for name in self.findings
                for end in ends
            ]
            for task in range(record.n_tasks + 1)
        ]
        columns = pd.MultiIndex.from_product([list(self.findings), list(ends)])
        return pd.DataFrame(cells, index=self._tasks(), columns=columns)

    def _tasks(self) -> "pd.Index[Any]":
        import pandas as pd

        names = self._record.task_names()
        tasks = [f"{number} {name}" for number, name in enumerate(names, 1)]
        return pd.Index(["zero-shot", *tasks], name="after task")

    @property
    def summary(self) -> "pd.DataFrame":
        """Figures over all findings: value and 95 % interval, NaN where there is none.

        A row per figure, such as final_auroc, forgetting and joint_gap.
        """
        figures = self._figures(lambda split, finding: split == "test" and not finding)
        last = figures[figures["task"] == self._record.n_tasks]
        return last.set_index("metric")[["value", "low", "high"]]

    def metrics(self, by: str | None = None, split: str = "test") -> "pd.DataFrame":
        """Figures of each finding, after each task.

        Args:
            by: ``sex``, ``age`` or ``view``: figures of these groups of patients, after
                the last task; None: of all.
            split: ``test`` or ``validation``, or what `evaluate` filed figures under.

        Returns:
            Columns `group` (if asked), `task`, `finding` (None: over all), `metric`,
            `value`, `low` and `high`.
        """
        start = split if by is None else f"{split}/{by}="
        table = self._figures(
            lambda where, _: where == start if by is None else where.startswith(start)
        )
        group = table.pop("split").str.removeprefix(start)
        if by is not None:
            table.insert(0, "group", group)
        return table.reset_index(drop=True)

    def _figures(self, wanted: Any) -> "pd.DataFrame":
        import pandas as pd

        rows = [
            (split, task, finding or None, metric, one.value, one.low, one.high)
            for (task, split, finding, metric), one in self._record.cells.items()
            if wanted(split, finding)
        ]
        names = ["split", "task", "finding", "metric", "value", "low", "high"]
        frame = pd.DataFrame(rows, columns=names)
        order = ["split", "task", "metric", "finding"]
        return frame.sort_values(order, kind="stable").reset_index(drop=True)

    def plot(self) -> "Figure":
        """AUROC of each finding after the last task with its interval, and before.

        Raises:
            ConfigurationError: matplotlib is not installed.
        """
        from ..report.figures import plot_findings

        return plot_findings(self._record)

    def model(
        self,
        *,
        backbone: str | None = None,
        device: str = "auto",
        operating_point: str | None = None,
        coverage: float | None = None,
        encode_with: str | None = None,
        allow_pickle: bool = False,
    ) -> "RunModel":
        """The run's model with its backbone, loaded once, for `predict`.

        Args:
            backbone: Where the run's backbone lies now; None: where it was at `embed`.
            device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
            operating_point: Choose thresholds anew on the run's validation images:
                ``f1``, ``youden``, ``sensitivity=S`` or ``specificity=S``.
            coverage: Also give answer sets of this coverage, such as 0.9.
            encode_with: What made imported vectors; the same as `backbone`.
            allow_pickle: Take .bin and .pt weights if there are no safetensors.
        """
        from .predicting.model import RunModel

        return RunModel.open(
            self.feature_store,
            self.run_id,
            backbone=backbone or encode_with,
            device=device,
            operating_point=operating_point,
            coverage=coverage,
            allow_pickle=allow_pickle,
        )

    @property
    def name(self) -> str | None:
        """What a person calls it; None if nothing."""
        from retune.store.runs import read_run_names

        return read_run_names(self.feature_store).get(self.run_id)

    @property
    def tags(self) -> tuple[str, ...]:
        """A person's words for it."""
        from retune.store.runs import read_run_tags

        return read_run_tags(self.feature_store).get(self.run_id, ())

    def rename(self, name: str | None) -> None:
        """Give it a name by which every command finds it; None takes it away."""
        name_run(self.feature_store, self.run_id, name)

    def tag(self, *tags: str) -> None:
        """Add tags."""
        tag_runs(self.feature_store, [self.run_id], tags)

    def untag(self, *tags: str) -> None:
        """Take tags away."""
        tag_runs(self.feature_store, [self.run_id], (), tags)

    def delete(self) -> None:
        """Erase it: figures, predictions, name, tags and adaptors."""
        delete_runs(self.feature_store, [self.run_id])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Run):
            return NotImplemented
        paths = {run.feature_store.path.resolve() for run in (self, other)}
        return self.run_id == other.run_id and len(paths) == 1

    def __hash__(self) -> int:
        return hash(self.run_id)

    def __repr__(self) -> str:
        record = self._record
        named = f" ({self.name})" if self.name else ""
        table = (self.summary.round(3) + 0.0).to_string()  # no -0.000
        return (
            f"run {self.run_id}{named}: scenario {record.scenario}, method "
            f"{record.method}, {counted(len(self.findings), 'finding')}, "
            f"{counted(record.n_tasks, 'task')}\n"
            f"{table}"
        )

    def _repr_html_(self) -> str:
        head = repr(self).splitlines()[0]
        return f"<p>{head}</p>{self.matrix.round(3).to_html()}"


def find(store: FeatureStore, name: str) -> Run:
    """A run by its name, its id, the beginning of the id, or ``latest``.

    Raises:
        ConfigurationError: No run, or more than one, is meant.
    """
    return Run(store, find_run(store, name).run_id)


def compare(
    first: Run,
    second: Run,
    *,
    across_encoders: bool = False,
    min_positives: int = 5,
    seed: int = 0,
) -> "Comparison":
    """Test whether two runs differ on the same test images.

    Per finding DeLong's paired test; for the mean a paired bootstrap over patients.

    Args:
        first: A run.
        second: Another of the same store.
        across_encoders: Also where they were trained on vectors of different encoders.
        min_positives: Test positives, and negatives, from which a finding enters the
            mean.
        seed: Seed of the bootstrap.

    Example:
        retune.compare(store.runs[0], store.runs[1])
    """
    from .compare import compare as compare_runs

    return compare_runs(
        first.feature_store,
        first.run_id,
        second.run_id,
        across_encoders=across_encoders,
        min_positives=min_positives,
        seed=seed,
    )
