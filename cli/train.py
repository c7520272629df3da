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
        typer.Option("--scenario", help="zero-shot, joint, class, label or data."),
    ],
    store: StoreOption = Path("feature-store"),
    method: Annotated[
        str | None,
        typer.Option(
            "--method",
            help="finetune (RE-tune's sequential training, the default), analytic "
            "(exact, forgets nothing), mask, replay, lwf, ewc, linear or ranpac.",
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
        int | None,
        typer.Option("--tasks", min=1, help="Parts of the data scenario [5]."),
    ] = None,
    visible: Annotated[
        str | None,
        typer.Option(
            "--visible", help="Labels a task shows: current [default] or cumulative."
        ),
    ] = None,
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
    batch_size: Annotated[
        int | None, typer.Option("--batch-size", min=1, help="Images in a step.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            "--patience",
            min=0,
            help="Passes without a better validation loss before a task ends; 0: all "
            "epochs.",
        ),
    ] = None,
    learn_scale: Annotated[
        bool | None,
        typer.Option(
            "--learn-scale/--fixed-scale", help="Learn the factor on the logit."
        ),
    ] = None,
    caution: Annotated[
        float | None,
        typer.Option(
            "--caution",
            min=0.0,
            help="Labels at which a task moves the weights half of the way that it "
            "trained them; 0: all the way [100].",
        ),
    ] = None,
    score: Annotated[
        str,
        typer.Option(
            "--score",
            help="What AUROC is of: difference (s+ - s-) or positive (s+ alone, the "
            "reference's).",
        ),
    ] = "difference",
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            help="Of training steps: auto (the default: bfloat16 where the machine has "
            "it and steps are large), float32 or bfloat16.",
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option("--seed", min=0, help="Of weights, batches and parts.")
    ] = None,
    seeds: Annotated[
        int,
        typer.Option("--seeds", min=1, help="So many runs, from --seed on; mean, SD."),
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
            help="How thresholds are chosen on validation images: f1, youden, "
            "sensitivity=0.9 or specificity=0.9.",
        ),
    ] = "f1",
    min_positives: MinPositivesOption = 5,
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
    bounds: BoundsOption = True,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Also draw what each task sees of whom, and print how figures are "
            "defined.",
        ),
    ] = False,
    stream: Annotated[
        bool,
        typer.Option(
            "--stream",
            help="Leave vectors in a file, for stores larger than memory; no logistic "
            "regression beside it.",
        ),
    ] = False,
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
    found: dict[str, float | str] = {}
    for text in given:
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
