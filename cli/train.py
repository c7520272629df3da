"""`retune-cli train`: adaptors over cached features."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from .terminal.options import (
    BackboneOption,
    BlankOption,
    BoundsOption,
    ContaminatedOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    LeakageOption,
    MinPositivesOption,
    QuietOption,
    SplitSeedOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)
from .terminal.printing import progress_bar
from .terminal.run_tables import show_runs
from .terminal.selection import announce_selection

__all__ = ["train_command"]


def train_command(
    scenario: Annotated[
        str,
        typer.Option(
            "--scenario", help="Scenario: zero-shot, joint, class, label or data."
        ),
    ],
    store: StoreOption = Path("feature-store"),
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="finetune (RE-tune's sequential training, the default), analytic "
            "(exact, forgets nothing), mask, replay, lwf, ewc, linear, ranpac or l3a.",
        ),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="An option of the method, with its default; repeatable. replay: "
            "budget=500, weight=1; lwf: weight=1, temperature=2; ewc: strength=100, "
            "rows=256; mask: theta=0.01, per=batch; analytic: projection=0, "
            "alarm_rate=0.01; ranpac: projection=0.",
        ),
    ] = None,
    continued: Annotated[
        str | None,
        typer.Option(
            "--continue",
            metavar="RUN",
            help="Continue from a run: its id, latest, or a state file from elsewhere.",
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="Save the state after each task and resume an interrupted run.",
        ),
    ] = False,
    findings: Annotated[
        str | None,
        typer.Option("--findings", help="Only these, separated by commas."),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            "--order", help="Findings in the order of their tasks, separated by commas."
        ),
    ] = None,
    tasks: Annotated[
        int | None,
        typer.Option(
            "--tasks", min=1, help="Number of parts of the data scenario [5]."
        ),
    ] = None,
    visible: Annotated[
        str | None,
        typer.Option(
            "--visible",
            help="Labels that a task shows: current [default] or cumulative.",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(
            "--preset",
            help="Preset of the training options: default, or reference for RE-tune's "
            "own. Values in brackets are those of the default preset [default].",
        ),
    ] = None,
    adaptor: Annotated[
        str | None,
        typer.Option(
            "--adaptor",
            help="Architecture of the adaptor: linear, mlp or residual [residual].",
        ),
    ] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            "--placement",
            help="Where adaptors are: image, text, both or shared [both].",
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option("--pooling", help="How to pool descriptions: mean or max [mean]."),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            "--epochs", min=1, help="Maximum number of epochs per task [200]."
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option("--learning-rate", min=0.0, help="Adam's learning rate [0.001]."),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", min=1, help="Images per training step [256]."),
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=0,
            help="Early stopping: epochs without a better validation loss "
            "before a task ends; 0 turns it off [20].",
        ),
    ] = None,
    learn_scale: Annotated[
        bool | None,
        typer.Option(
            "--learn-scale/--fixed-scale",
            help="Learn or fix the scale of the logit [learn].",
        ),
    ] = None,
    caution: Annotated[
        float | None,
        typer.Option(
            "--caution",
            min=0.0,
            help="A task of n labels, after m in the tasks before, moves the"
            " weights n/(n + m + this number) of the way to the trained weights; 0"
            " moves them all the way [100].",
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            "--score",
            help="Score that AUROC measures: difference (s+ - s-) or "
            "positive (s+ alone, as the reference does).",
        ),
    ] = "difference",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="Precision of training steps: auto (the default: bfloat16 "
            "where the machine has it and steps are large), float32 or "
            "bfloat16.",
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", min=0, help="Random seed of weights, batches and parts [0]."
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            "--seeds",
            min=1,
            help="Number of runs; the first uses --seed, each next one the "
            "seed after it. Prints mean and SD.",
        ),
    ] = 1,
    split_seed: SplitSeedOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
    operating_point: Annotated[
        str,
        typer.Option(
            "--operating-point",
            metavar="RULE",
            help="Rule that chooses thresholds on validation images: f1, "
            "youden, sensitivity=0.9 or specificity=0.9.",
        ),
    ] = "f1",
    min_positives: MinPositivesOption = 5,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    descriptions: Annotated[
        str, typer.Option("--descriptions", help="Description set to use.")
    ] = "default",
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    predictions: Annotated[
        bool,
        typer.Option(
            "--predictions", help="Store test scores in the table predictions."
        ),
    ] = False,
    bounds: BoundsOption = True,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also draw which labels of which patients each task sees, "
            "and print how metrics are defined.",
        ),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Leave vectors in a file, for stores larger than memory; "
            "logistic regression is not trained.",
        ),
    ] = False,
    device: Annotated[
        str, typer.Option("--device", help="Device to train on: cpu or cuda.")
    ] = "cpu",
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Learn a scenario over cached features.

    Every task is followed by an evaluation on the one fixed test split.

    Splits never share a patient. Thresholds and early stopping use validation images
    only. Metrics, intervals and configuration go to the tables runs and metrics.

    Example: retune-cli train --scenario label --findings "Edema,Cardiomegaly"
    """
    from retune.pipeline.app.train import TrainRequest, train
    from retune.pipeline.learn.runs.selection import Selection
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where, quiet=quiet)
    selection = Selection(
        names, where, split_seed, descriptions, allow_leakage, allow_contaminated
    )
    request = TrainRequest(
        scenario,
        selection,
        method=method,
        options=_settings(settings),
        findings=split_names(findings),
        order=split_names(order),
        tasks=tasks,
        visible=cast("Any", visible),  # checked where it is used, as are the next
        preset=preset,
        adaptor=adaptor,
        placement=placement,
        pooling=pooling,
        epochs=epochs,
        learning_rate=learning_rate,
        batch_size=batch_size,
        patience=patience,
        learn_scale=learn_scale,
        caution=caution,
        precision=precision,
        seed=seed,
        seeds=seeds,
        score=cast("Any", score),
        uncertain=cast("Any", uncertain),
        blank=cast("Any", blank),
        operating_point=operating_point,
        min_positives=min_positives,
        backbone=backbone,
        fingerprint=fingerprint,
        continued=continued,
        resume=resume,
        predictions=predictions,
        bounds=bounds,
        stream=stream,
        device=device,
    )
    with progress_bar(quiet=quiet) as show:
        runs = train(feature_store, request, show)
    show_runs(runs, store, as_json=json, explain=explain, quiet=quiet)


def _settings(given: list[str] | None) -> dict[str, float | str] | None:
    """`name=value` texts as a method's options."""
    from retune.store.errors import ConfigurationError

    if given is None:
        return None
    settings: dict[str, float | str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not name.strip() or not equals or not value.strip():
            raise ConfigurationError(
                f"--set {text} is not of the form NAME=VALUE",
                "Example: --set theta=0.05",
            )
        try:
            settings[name.strip()] = float(value)
        except ValueError:
            settings[name.strip()] = value.strip()
    return settings
