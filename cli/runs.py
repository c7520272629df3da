"""Runs of one command: made, entered into the store, and told of."""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .terminal.printing import print_json, print_line, print_table, progress_bar, remark
from .terminal.selection import announce_selection

if TYPE_CHECKING:
    from retune.pipeline.learn.runs.experiment import Experiment, ExperimentConfig
    from retune.pipeline.learn.runs.from_store import LearningSet
    from retune.pipeline.learn.runs.state import RunState
    from retune.store import FeatureStore, Run

__all__ = ["Runs"]


@dataclass(frozen=True)
class Runs:
    """What the runs of one command have in common."""

    store: "FeatureStore"
    encoder: dict[str, Any]
    images: dict[str, Any]
    noted: dict[str, Any]
    start: "RunState | None" = None
    with_predictions: bool = False
    resume: bool = False
    explain: bool = False
    quiet: bool = False

    def load(self) -> "LearningSet":
        """Read images and descriptions."""
        from retune.pipeline.learn.runs.from_store import load_learning_set

        announce_selection(
            self.store, self.images["datasets"], self.images["where"], quiet=self.quiet
        )
        return load_learning_set(self.store, **self.encoder, **self.images)

    def run(
        self, learning_set: "LearningSet", config: "ExperimentConfig"
    ) -> "tuple[Run, Experiment]":
        """One run, entered into the store."""
        from retune.pipeline.learn.runs.experiment import run_experiment
        from retune.pipeline.learn.runs.from_store import checkpoints_of, save_run
        from retune.pipeline.learn.stats.subgroups import image_groups

        chosen = self.images | self.noted
        kept = (
            checkpoints_of(self.store, learning_set, config, chosen)
            if self.resume
            else None
        )
        started_at, started = datetime.now(UTC), time.perf_counter()
        with progress_bar(quiet=self.quiet) as show:
            experiment = run_experiment(
                learning_set.features,
                learning_set.prompts,
                config,
                show,
                start=self.start,
                checkpoints=kept,
                groups=image_groups(learning_set.images),
            )
        run = save_run(
            self.store,
            learning_set,
            experiment,
            chosen=chosen,
            started_at=started_at.replace(tzinfo=None),
            seconds=time.perf_counter() - started,
            with_predictions=self.with_predictions,
        )
        if kept is not None:
            kept.remove()
        return run, experiment

    def show(
        self,
        learning_set: "LearningSet",
        done: "list[tuple[Run, Experiment]]",
        *,
        as_json: bool,
    ) -> None:
        """Print one run in full, or a line for each of several and their mean."""
        path = self.store.path
        if as_json:
            results = [_as_json(*one) for one in done]
            print_json(results[0] if len(results) == 1 else results)
        elif len(done) == 1:
            run, experiment = done[0]
            _print_run(
                learning_set,
                experiment,
                run,
                path,
                explain=self.explain,
                quiet=self.quiet,
            )
        else:
            _print_seeds(done, path)


def _as_json(run: "Run", experiment: "Experiment") -> dict[str, Any]:
    """A run's figures for ``--json``."""
    return {
        "run_id": run.run_id,
        "scenario": run.scenario,
        "seconds": run.seconds,
        "findings": experiment.findings,
        "tasks": [task.name for task in experiment.scenario.tasks],
        "auroc": experiment.difference.tolist(),
        "auroc_positive": experiment.positive.tolist(),
        "final_low": experiment.final.low.tolist(),
        "final_high": experiment.final.high.tolist(),
        "macro_auroc": experiment.final.macro,
        "bounds": {name: row.tolist() for name, row in experiment.bounds.items()},
        "summary": dict(experiment.summary),
        "summary_interval": dict(experiment.summary_interval),
        "dropped": dict(experiment.dropped),
        "excluded": dict(experiment.excluded),
    }


def _print_run(
    learning_set: "LearningSet",
    experiment: "Experiment",
    run: "Run",
    store: Path,
    *,
    explain: bool,
    quiet: bool,
) -> None:
    """The matrix of a run and its figures; with `explain` also their formulas."""
    from retune.pipeline.learn.stats.incremental import FORMULAS
    from retune.pipeline.report.matrix import format_matrix

    for name, reason in experiment.dropped.items():
        remark(f"Note: {name} is not trained: {reason}", quiet=quiet)
    features, encoder = learning_set.features, learning_set.encoder
    counts = ", ".join(
        f"{len(features.rows(split)):,} {split}"
        for split in ("train", "validation", "test")
    )
    print_line(
        f"scenario {run.scenario}, method {run.method}, preset "
        f"{experiment.config.preset}, seed {run.seed}; images: {counts}; "
        f"encoder {encoder.fingerprint} ({encoder.backbone}, D={encoder.dim})"
    )
    print_line()
    print_line(
        format_matrix(
            experiment.findings,
            experiment.difference,
            experiment.scenario.introduced,
            summary=experiment.summary,
            intervals=experiment.summary_interval,
            final_low=experiment.final.low,
            final_high=experiment.final.high,
            n_positive=experiment.final.n_positive,
            excluded=experiment.excluded,
            bounds=experiment.bounds,
            task_names=[task.name for task in experiment.scenario.tasks],
            score=experiment.config.score,
        )
    )
    _, low, high = experiment.final.macro
    print_line(
        f"macro AUROC interval (bootstrap over patients): {low:.3f} to {high:.3f}"
    )
    if explain:
        print_line()
        print_line("R[t,k]: test AUROC of finding k after task t; tau(k): its task;")
        print_line("S_t: findings seen by then; undefined cells are left out of means")
        print_table(("figure", "formula"), list(FORMULAS.items()))
    print_line()
    print_line(f"run {run.run_id} in {run.seconds:.1f} s; adaptors in {store}/runs/")
    remark(
        f'Next: retune-cli predict {run.run_id} IMAGE, or retune-cli sql "SELECT '
        f"finding, value, ci_low, ci_high FROM metrics WHERE run_id = '{run.run_id}' "
        "AND metric = 'auroc' AND split = 'test'\"",
        quiet=quiet,
    )


def _print_seeds(done: "list[tuple[Run, Experiment]]", store: Path) -> None:
    """A row per seed, then mean and standard deviation."""
    import numpy as np

    names = ("final_auroc", "average_incremental_auroc", "forgetting", "sequence_gap",
             "joint_gap")  # fmt: skip
    table = np.array([[one.summary[name] for name in names] for _, one in done])
    rows: list[tuple[object, ...]] = [
        (str(run.seed), run.run_id, *values)
        for (run, _), values in zip(done, table.tolist(), strict=True)
    ]
    rows.append(("mean", f"{len(done)} seeds", *table.mean(axis=0).tolist()))
    rows.append(("SD", "of one run", *table.std(axis=0, ddof=1).tolist()))
    rows = [tuple(None if one != one else one for one in row) for row in rows]
    run = done[0][0]
    print_line(
        f"scenario {run.scenario}, method {run.method}; test images are the same"
    )
    print_table(("seed", "run", *names), rows)
    print_line(f"adaptors in {store}/runs/")
