"""`retune-cli train`: adaptors over cached features."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .runs import Runs
from .terminal.options import (
    BackboneOption,
    BlankOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    LeakageOption,
    QuietOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)

if TYPE_CHECKING:
    from retune.pipeline.learn.problem.config import TrainConfig
    from retune.pipeline.learn.runs.state import RunState
    from retune.store import FeatureStore

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
    split_seed: Annotated[
        int | None,
        typer.Option(
            "--split-seed", min=0, help="Divide patients anew, ignoring stored splits."
        ),
    ] = None,
    allow_leakage: LeakageOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
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
    explain: Annotated[
        bool, typer.Option("--explain", help="Also print how figures are defined.")
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
    from retune.pipeline.learn.problem.config import preset as training_preset
    from retune.pipeline.learn.problem.config import training_precision
    from retune.pipeline.learn.runs.experiment import ExperimentConfig
    from retune.pipeline.learn.runs.from_store import named_findings
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
        "batch-size": batch_size,
        "patience": patience,
        "learn-scale": learn_scale,
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
            batch_size=batch_size,
            patience=patience,
            learn_scale=learn_scale,
            precision=None if precision == "auto" else precision,
            seed=seed,
            options=_settings(settings),
        )
    )
    if stream:
        train = replace(train, shuffle="blocks")
    runs = Runs(
        feature_store,
        {
            "backbone": backbone,
            "fingerprint": start.fingerprint if start else fingerprint,
            "description_set": descriptions,
            "stream": stream,
        },
        {"datasets": split_names(datasets), "where": where, "split_seed": split_seed}
        | ({"allow_leakage": True} if allow_leakage else {}),
        {"descriptions": descriptions} | ({"continue": continued} if start else {}),
        start,
        with_predictions=predictions,
        resume=resume,
        explain=explain,
        quiet=quiet,
    )
    learning_set = runs.load()
    known = learning_set.features.findings
    if start is None and precision in (None, "auto"):
        shape = learning_set.features.embedding.shape
        train = replace(train, precision=training_precision(train, shape, device))
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
        score=score,  # type: ignore[arg-type]  # as above
        with_bounds=bounds,
        device=device,
    )
    done = [
        runs.run(learning_set, replace(config, train=one))
        for one in _seeded(train, seeds)
    ]
    runs.show(learning_set, done, as_json=json)


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
    from retune.pipeline.learn.runs.from_store import find_state
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


def _check_names(scenario: str, method: str, device: str) -> None:
    """Refuse unknown names before any feature is read."""
    from retune.pipeline.learn.methods.registry import method_named
    from retune.pipeline.learn.problem.scenarios import SCENARIOS
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
