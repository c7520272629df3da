"""Printing runs: one in full, or several with their mean."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from retune.store.plural import counted

from .printing import (
    contamination_line,
    print_json,
    print_line,
    print_table,
    remark,
)

if TYPE_CHECKING:
    from retune.pipeline.app.train import TrainedRun
    from retune.pipeline.learn.runs.experiment import Experiment
    from retune.pipeline.learn.runs.learning_set import LearningSet
    from retune.store import Run

__all__ = ["show_runs"]


def show_runs(
    runs: "Sequence[TrainedRun]",
    store: Path,
    *,
    as_json: bool,
    explain: bool = False,
    quiet: bool = False,
) -> None:
    """Print one run in full, or a line for each of several and their mean."""
    done = [(one.run, one.experiment) for one in runs]
    if as_json:
        results = [
            _as_json(*one) | {"n_images_of_backbone_patients": n_contaminated}
            for one, n_contaminated in zip(
                done,
                [one.learning_set.provenance.n_contaminated for one in runs],
                strict=True,
            )
        ]
        print_json(results[0] if len(results) == 1 else results)
    elif len(runs) == 1:
        (one,) = runs
        _print_run(
            one.learning_set, one.experiment, one.run, store, explain=explain,
            quiet=quiet,
        )  # fmt: skip
    else:
        _print_seeds(done, store)


def _as_json(run: "Run", experiment: "Experiment") -> dict[str, Any]:
    """A run's figures for ``--json``."""
    return {
        "run_id": run.run_id,
        "scenario": run.scenario,
        "seconds": run.seconds,
        "findings": experiment.findings,
        "tasks": [task.name for task in experiment.scenario.tasks],
        "auroc": experiment.auroc.tolist(),
        "auroc_positive": experiment.auroc_positive.tolist(),
        "final_low": experiment.final.low.tolist(),
        "final_high": experiment.final.high.tolist(),
        "macro_auroc": experiment.final.macro,
        "bounds": {name: row.tolist() for name, row in experiment.bounds.items()},
        "summary": dict(experiment.summary),
        "summary_interval": dict(experiment.summary_interval),
        "means": {
            metric.macro.value: mean for metric, mean in experiment.final.means.items()
        },
        "left_out": experiment.final.note,
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
    from retune.pipeline.report.charts.scenario_grid import (
        scenario_grid,
        scenario_lines,
        tasks_saw,
    )
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
    if not learning_set.prompts:
        print_line(
            "this encoder has no vectors of texts: there is no zero-shot, and the "
            "method starts from nothing"
        )
    provenance = learning_set.provenance
    if provenance.n_contaminated:
        allowed = provenance.selection.allow_contaminated
        print_line(contamination_line(provenance.n_contaminated, allowed))
    print_line()
    scenario, patient = experiment.scenario, features.patient_id
    if explain:
        grid = scenario_grid(
            scenario, experiment.findings, patient, features.rows("train")
        )
        for line in scenario_lines(grid):
            print_line(line)
        print_line()
    print_line(
        format_matrix(
            experiment.findings,
            experiment.auroc,
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
            counted=experiment.final.counted,
            width=max(60, shutil.get_terminal_size((100, 0)).columns),
            tasks_saw=tasks_saw(scenario, patient),
            sparks=_has_bars(),
        )
    )
    for line in _warnings(experiment):
        print_line(line)
    for line in _probability_lines(experiment):
        print_line(line)
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


def _probability_lines(experiment: "Experiment") -> list[str]:
    """How good the probabilities are, and those of a constant for comparison."""
    from retune.pipeline.learn.stats.catalog_names import Metric

    final, lines = experiment.final, []
    for words, metric, constant in (
        ("Brier score", Metric.BRIER, Metric.BRIER_CONSTANT),
        ("calibration error", Metric.CALIBRATION_ERROR,
         Metric.CALIBRATION_ERROR_CONSTANT),
    ):  # fmt: skip
        mean = final.means.get(metric)
        if mean is None or mean[0] != mean[0]:
            continue
        beside = final.means[constant][0]
        line = "{} {:.3f} ({:.3f} to {:.3f})".format(words, *mean)
        if metric is Metric.CALIBRATION_ERROR:
            by_chance = final.means[Metric.CALIBRATION_ERROR_BY_CHANCE][0]
            line += f"; by chance alone {by_chance:.3f}"
        lines.append(f"{line}; of a constant {beside:.3f}")
    lines.append(f"thresholds: {experiment.config.operating_point} on validation")
    if not final.note:
        return lines
    return [f"{final.note[0].upper()}{final.note[1:]}.", *lines]


def _has_bars() -> bool:
    """Whether the terminal's encoding has the letters that sparks are drawn with."""
    try:
        "▁█·".encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _warnings(experiment: "Experiment") -> list[str]:
    """What a reader must not miss: a run that did harm."""
    final = experiment.summary["final_auroc_all"]
    start = experiment.summary["zero_shot_auroc"]
    if not round(final, 3) < round(start, 3):
        return []
    other = "" if experiment.config.method == "analytic" else "--method analytic, "
    return [
        f"This run ends below zero-shot ({final:.3f}, zero-shot {start:.3f}). Try "
        f"{other}more training images, or fewer findings; `retune-cli curve` shows how "
        "many patients it takes."
    ]


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
    rows.append(("mean", counted(len(done), "seed"), *table.mean(axis=0).tolist()))
    rows.append(("SD", "of one run", *table.std(axis=0, ddof=1).tolist()))
    rows = [tuple(None if one != one else one for one in row) for row in rows]
    run = done[0][0]
    print_line(
        f"scenario {run.scenario}, method {run.method}; test images are the same"
    )
    print_table(("seed", "run", *names), rows)
    print_line(f"adaptors in {store}/runs/")
