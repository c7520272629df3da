"""`retune-cli train` and `merge`: adaptors over cached features."""

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
    WhereOption,
    split_names,
)
from .printed_run import print_run, print_seeds, run_as_json
from .printing import print_json, progress_bar

if TYPE_CHECKING:
    from retune.pipeline.learn.experiment import Experiment, ExperimentConfig
    from retune.pipeline.learn.from_store import LearningSet
    from retune.pipeline.learn.run_state import RunState
    from retune.pipeline.learn.train_config import TrainConfig
    from retune.store import FeatureStore, Run

__all__ = ["merge_command", "train_command"]


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
    explain: Annotated[
        bool, typer.Option("--explain", help="Also print how figures are defined.")
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
        explain=explain,
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
    explain: bool = False
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
            results = [run_as_json(*one) for one in done]
            print_json(results[0] if len(results) == 1 else results)
        elif len(done) == 1:
            run, experiment = done[0]
            print_run(
                learning_set,
                experiment,
                run,
                path,
                explain=self.explain,
                quiet=self.quiet,
            )
        else:
            print_seeds(done, path)


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
