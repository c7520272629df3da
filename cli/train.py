"""`retune-cli train` and `evaluate`: adaptors over cached features."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    split_names,
)
from .printing import print_json, print_line, print_table, progress_bar, remark

if TYPE_CHECKING:
    from retune.pipeline.learn.experiment import Experiment, ExperimentConfig
    from retune.pipeline.learn.from_store import LearningSet
    from retune.pipeline.learn.run_state import RunState
    from retune.pipeline.learn.train_config import TrainConfig
    from retune.store import FeatureStore, Run

__all__ = ["evaluate_command", "merge_command", "train_command"]

WhereOption = Annotated[
    str | None,
    typer.Option("--where", help="SQL condition over images: \"view = 'PA'\"."),
]


def train_command(
    scenario: Annotated[
        str,
        typer.Option("--scenario", help="zero-shot, joint, class, label or data."),
    ],
    store: StoreOption = Path("feature-store"),
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="finetune (RE-tune's sequential training, the default), analytic "
            "(exact, forgets nothing), mask, replay, lwf or ewc.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="NAME=VALUE", help="An option of the method; repeatable."
        ),
    ] = None,
    continued: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="RUN",
            help="Go on from a run: its id, latest, or its state file from elsewhere.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Keep each task's state; take up what was interrupted."
        ),
    ] = False,
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option("--order", help="The findings in the order of their tasks."),
    ] = None,
    tasks: Annotated[
        int, typer.Option("--tasks", min=1, help="Parts of the data scenario.")
    ] = 5,
    visible: Annotated[
        str,
        typer.Option("--visible", help="Labels a task shows: current or cumulative."),
    ] = "current",
    preset: Annotated[
        str | None, typer.Option("--preset", help="default or reference.")
    ] = None,
    adaptor: Annotated[
        str | None, typer.Option("--adaptor", help="linear, mlp or residual.")
    ] = None,
    placement: Annotated[
        str | None, typer.Option("--placement", help="image, text, both or shared.")
    ] = None,
    pooling: Annotated[
        str | None, typer.Option("--pooling", help="Of descriptions: mean or max.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", min=1, help="Passes per task, at most.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option("--learning-rate", min=0.0, help="Of Adam.")
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="Of training steps: float32 or bfloat16."),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of weights, batches and parts.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, help="So many runs, from --seed on; mean, SD."),
    ] = 1,
    split_seed: Annotated[
        int | None,
        typer.Option(
            "--split-seed", min=0, help="Divide patients anew, ignoring stored splits."
        ),
    ] = None,
    uncertain: Annotated[
        str, typer.Option("--uncertain", help="zeros, ones or ignore.")
    ] = "ignore",
    blank: Annotated[
        str, typer.Option("--blank", help="Not mentioned: negative or ignore.")
    ] = "negative",
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="The description set.")
    ] = "default",
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    predictions: Annotated[
        bool, typer.Option("--predictions", help="Keep test scores in predictions.")
    ] = False,
    bounds: Annotated[
        bool, typer.Option("--bounds/--no-bounds", help="Also train the bounds.")
    ] = True,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Learn a scenario over cached features.

    Every task is followed by an evaluation on the one fixed test split.

    Splits never share a patient. Thresholds and early stopping use validation images
    only. Figures, intervals and configuration go to the tables runs and metrics.

    Example: retune-cli train --scenario label --findings "Edema,Cardiomegaly"
    """
    from retune.pipeline.learn.experiment import ExperimentConfig
    from retune.pipeline.learn.from_store import named_findings
    from retune.pipeline.learn.train_config import preset as training_preset
    from retune.store import FeatureStore

    given = {
        "method": method,
        "set": settings,
        "findings": findings,
        "preset": preset,
        "adaptor": adaptor,
        "placement": placement,
        "pooling": pooling,
        "epochs": epochs,
        "learning-rate": learning_rate,
        "precision": precision,
        "seed": seed,
        "backbone": backbone,
        "fingerprint": fingerprint,
    }
    _check_names(scenario, method or "finetune", device)
    feature_store = FeatureStore(store)
    start = _start(feature_store, continued, given, seeds)
    train = (
        start.config
        if start
        else training_preset(
            preset or "default",
            adaptor=adaptor,
            placement=placement,
            pooling=pooling,
            epochs=epochs,
            learning_rate=learning_rate,
            precision=precision,
            seed=seed,
            options=_settings(settings),
        )
    )
    runs = _Runs(
        feature_store,
        {
            "backbone": backbone,
            "fingerprint": start.fingerprint if start else fingerprint,
            "description_set": descriptions,
        },
        {"datasets": split_names(datasets), "where": where, "split_seed": split_seed},
        {"descriptions": descriptions} | ({"continue": continued} if start else {}),
        start,
        with_predictions=predictions,
        resume=resume,
        quiet=quiet,
    )
    learning_set = runs.load()
    known = learning_set.features.findings
    config = ExperimentConfig(
        scenario=scenario,
        train=train,
        preset=preset or "default",
        method=start.method if start else method or "finetune",
        findings=start.findings
        if start
        else named_findings(split_names(findings), known),
        order=named_findings(split_names(order), start.findings if start else known),
        n_tasks=tasks,
        visible=visible,  # type: ignore[arg-type]  # checked where it is used
        uncertain=uncertain,  # type: ignore[arg-type]  # as above
        blank=blank,  # type: ignore[arg-type]  # as above
        with_bounds=bounds,
        device=device,
    )
    done = [
        runs.run(learning_set, replace(config, train=one))
        for one in _seeded(train, seeds)
    ]
    runs.show(learning_set, done, as_json=json)


def merge_command(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="RUN RUN…", help="Runs of this store, or state files."),
    ],
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split_seed: Annotated[
        int | None,
        typer.Option(
            "--split-seed", min=0, help="Divide patients anew, ignoring stored splits."
        ),
    ] = None,
    uncertain: Annotated[
        str, typer.Option("--uncertain", help="zeros, ones or ignore.")
    ] = "ignore",
    blank: Annotated[
        str, typer.Option("--blank", help="Not mentioned: negative or ignore.")
    ] = "negative",
    bounds: Annotated[
        bool, typer.Option("--bounds/--no-bounds", help="Also train the bounds.")
    ] = True,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add the states of analytic runs: one model as if trained on all their images.

    The result is a run of this store, evaluated on its test images. Merge runs on
    different images: what two runs have seen counts twice.

    Example: retune-cli merge latest /media/other-hospital/state.safetensors
    """
    from retune.pipeline.learn.experiment import ExperimentConfig
    from retune.pipeline.learn.from_store import find_state
    from retune.pipeline.learn.run_state import merge_runs
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    start = merge_runs([find_state(feature_store, name) for name in sources])
    runs = _Runs(
        feature_store,
        {"fingerprint": start.fingerprint},
        {"datasets": split_names(datasets), "where": where, "split_seed": split_seed},
        {"merged": sources},
        start,
        quiet=quiet,
    )
    learning_set = runs.load()
    config = ExperimentConfig(
        scenario="merge",
        train=start.config,
        method=start.method,
        findings=start.findings,
        uncertain=uncertain,  # type: ignore[arg-type]  # checked where it is used
        blank=blank,  # type: ignore[arg-type]  # as above
        with_bounds=bounds,
    )
    runs.show(learning_set, [runs.run(learning_set, config)], as_json=json)


@dataclass(frozen=True)
class _Runs:
    """What the runs of one command have in common."""

    store: "FeatureStore"
    encoder: dict[str, Any]
    images: dict[str, Any]
    noted: dict[str, Any]
    start: "RunState | None" = None
    with_predictions: bool = False
    resume: bool = False
    quiet: bool = False

    def load(self) -> "LearningSet":
        """Read images and descriptions."""
        from retune.pipeline.learn.from_store import load_learning_set

        return load_learning_set(self.store, **self.encoder, **self.images)

    def run(
        self, learning_set: "LearningSet", config: "ExperimentConfig"
    ) -> "tuple[Run, Experiment]":
        """One run, entered into the store."""
        from retune.pipeline.learn.experiment import run_experiment
        from retune.pipeline.learn.from_store import checkpoints_of, save_run

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
            _print_run(learning_set, experiment, run, path, quiet=self.quiet)
        else:
            _print_seeds(done, path)


def _seeded(train: "TrainConfig", seeds: int) -> "list[TrainConfig]":
    return [replace(train, seed=train.seed + place) for place in range(seeds)]


def _settings(given: list[str] | None) -> dict[str, float | str]:
    """`name=value` texts as a method's options."""
    from retune.store.errors import ConfigurationError

    found: dict[str, float | str] = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not name.strip() or not equals or not value.strip():
            raise ConfigurationError(
                f"--set {text} is not of the form NAME=VALUE",
                "Example: --set theta=0.05",
            )
        try:
            found[name.strip()] = float(value)
        except ValueError:
            found[name.strip()] = value.strip()
    return found


def _start(
    store: "FeatureStore", name: str | None, given: dict[str, Any], seeds: int
) -> "RunState | None":
    """The state that `--continue` names; it brings its own options along."""
    from retune.pipeline.learn.from_store import find_state
    from retune.store.errors import ConfigurationError

    if name is None:
        return None
    settled = [option for option, value in given.items() if value is not None]
    if seeds > 1:
        settled.append("seeds")
    if settled:
        raise ConfigurationError(
            f"--{settled[0]} cannot be given with --continue",
            "A run goes on with the options and findings that it was made with.",
        )
    return find_state(store, name)


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
    run = done[0][0]
    print_line(
        f"scenario {run.scenario}, method {run.method}; test images are the same"
    )
    print_table(("seed", "run", *names), rows)
    print_line(f"adaptors in {store}/runs/")


def _check_names(scenario: str, method: str, device: str) -> None:
    """Refuse unknown names before any feature is read."""
    from retune.pipeline.learn.methods import method_named
    from retune.pipeline.learn.scenarios import SCENARIOS
    from retune.store.errors import ConfigurationError

    method_named(method)
    for option, value, known in (
        ("scenario", scenario, SCENARIOS),
        ("device", device, ("cpu", "cuda")),
    ):
        if value not in known:
            raise ConfigurationError(
                f"unknown --{option} {value}", f"Use one of {', '.join(known)}."
            )
    if device == "cuda":
        import torch

        if not torch.cuda.is_available():
            raise ConfigurationError(
                "this machine has no usable CUDA device", "Use --device cpu."
            )


def _as_json(run: "Run", experiment: "Experiment") -> dict[str, Any]:
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
        "dropped": dict(experiment.dropped),
        "excluded": dict(experiment.excluded),
    }


def _print_run(
    learning_set: "LearningSet",
    experiment: "Experiment",
    run: "Run",
    store: Path,
    *,
    quiet: bool,
) -> None:
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
            final_low=experiment.final.low,
            final_high=experiment.final.high,
            n_positive=experiment.final.n_positive,
            excluded=experiment.excluded,
            bounds=experiment.bounds,
            task_names=[task.name for task in experiment.scenario.tasks],
        )
    )
    _, low, high = experiment.final.macro
    print_line(
        f"macro AUROC interval (bootstrap over patients): {low:.3f} to {high:.3f}"
    )
    print_line()
    print_line(f"run {run.run_id} in {run.seconds:.1f} s; adaptors in {store}/runs/")
    remark(
        f'Next: retune-cli predict {run.run_id} IMAGE, or retune-cli sql "SELECT '
        f"finding, value, ci_low, ci_high FROM metrics WHERE run_id = '{run.run_id}' "
        "AND metric = 'auroc' AND split = 'test'\"",
        quiet=quiet,
    )


def evaluate_command(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or latest.")],
    datasets: DatasetsOption = None,
    store: StoreOption = Path("feature-store"),
    split: Annotated[
        str,
        typer.Option(
            "--split", help="train, validation, test, or all (external data)."
        ),
    ] = "test",
    where: WhereOption = None,
    uncertain: Annotated[
        str, typer.Option("--uncertain", help="zeros, ones or ignore.")
    ] = "ignore",
    blank: Annotated[
        str, typer.Option("--blank", help="Not mentioned: negative or ignore.")
    ] = "negative",
    json: JsonOption = False,
) -> None:
    """Evaluate a run on other images of the store.

    The images must be encoded by the run's encoder. Thresholds stay those of the run.

    Example: retune-cli evaluate latest --datasets padchest --split all
    """
    from retune.pipeline.learn.external import evaluate_run
    from retune.store import FeatureStore

    result = evaluate_run(
        FeatureStore(store),
        run,
        datasets=split_names(datasets),
        split=split,
        where=where,
        uncertain=uncertain,
        blank=blank,
    )
    names, figures = result.findings, result.evaluation
    rows = [
        (
            name,
            int(figures.n_positive[place]),
            int(figures.n_observed[place]),
            float(figures.auroc[place]),
            float(figures.low[place]),
            float(figures.high[place]),
            float(figures.others["average_precision"][place]),
            float(figures.others["f1"][place]),
        )
        for place, name in enumerate(names)
    ]
    header = ("finding", "positive", "images", "auroc", "low", "high", "ap", "f1")
    if json:
        print_json(
            {
                "run_id": result.run_id,
                "split": result.split,
                "macro_auroc": figures.macro,
                "findings": [dict(zip(header, row, strict=True)) for row in rows],
                "not_evaluated": result.not_evaluated,
            }
        )
        return
    print_line(f"run {result.run_id} on {result.split}: {result.n_images:,} images")
    print_table(header, rows)
    print_line("macro AUROC {:.3f} ({:.3f} to {:.3f})".format(*figures.macro))
    for name, reason in result.not_evaluated.items():
        print_line(f"not evaluated: {name}, {reason}")
