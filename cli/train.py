"""`retune-cli train` and `evaluate`: adaptors over cached features."""

import time
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
    from retune.pipeline.learn.experiment import Experiment
    from retune.pipeline.learn.from_store import LearningSet
    from retune.store import Run

__all__ = ["evaluate_command", "train_command"]

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
        str, typer.Option("--method", help="finetune: RE-tune's sequential training.")
    ] = "finetune",
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
        str, typer.Option("--preset", help="default or reference.")
    ] = "default",
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
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of weights, batches and parts.")
    ] = None,
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
    from retune.pipeline.learn.experiment import ExperimentConfig, run_experiment
    from retune.pipeline.learn.from_store import (
        load_learning_set,
        named_findings,
        save_run,
    )
    from retune.pipeline.learn.training import preset as training_preset
    from retune.store import FeatureStore

    _check_names(scenario, method, device)
    train = training_preset(
        preset,
        adaptor=adaptor,
        placement=placement,
        pooling=pooling,
        epochs=epochs,
        learning_rate=learning_rate,
        seed=seed,
    )
    started_at, started = datetime.now(UTC).replace(tzinfo=None), time.perf_counter()
    feature_store = FeatureStore(store)
    chosen: dict[str, Any] = {
        "datasets": split_names(datasets),
        "where": where,
        "split_seed": split_seed,
    }
    learning_set = load_learning_set(
        feature_store,
        backbone=backbone,
        fingerprint=fingerprint,
        description_set=descriptions,
        **chosen,
    )
    known = learning_set.features.findings
    config = ExperimentConfig(
        scenario=scenario,
        train=train,
        preset=preset,
        method=method,
        findings=named_findings(split_names(findings), known),
        order=named_findings(split_names(order), known),
        n_tasks=tasks,
        visible=visible,  # type: ignore[arg-type]  # checked where it is used
        uncertain=uncertain,  # type: ignore[arg-type]  # as above
        blank=blank,  # type: ignore[arg-type]  # as above
        with_bounds=bounds,
        device=device,
    )
    with progress_bar(quiet=quiet) as show:
        experiment = run_experiment(
            learning_set.features, learning_set.prompts, config, show
        )
    run = save_run(
        feature_store,
        learning_set,
        experiment,
        chosen={**chosen, "descriptions": descriptions},
        started_at=started_at,
        seconds=time.perf_counter() - started,
        with_predictions=predictions,
    )
    if json:
        print_json(_as_json(run, experiment))
        return
    _print_run(learning_set, experiment, run, feature_store.path, quiet=quiet)


def _check_names(scenario: str, method: str, device: str) -> None:
    """Refuse unknown names before any feature is read."""
    from retune.pipeline.learn.scenarios import SCENARIOS
    from retune.store.errors import ConfigurationError

    for option, value, known in (
        ("scenario", scenario, SCENARIOS),
        ("method", method, ("finetune",)),
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
