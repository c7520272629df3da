"""`retune-cli merge`: states of several runs made one."""

from pathlib import Path
from typing import Annotated

import typer

from .runs import Runs
from .terminal.options import (
    BlankOption,
    DatasetsOption,
    JsonOption,
    LeakageOption,
    QuietOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)

__all__ = ["merge_command"]


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
    allow_leakage: LeakageOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
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
    from retune.pipeline.learn.runs.experiment import ExperimentConfig
    from retune.pipeline.learn.runs.from_store import find_state
    from retune.pipeline.learn.runs.state import merge_runs
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    start = merge_runs([find_state(feature_store, name) for name in sources])
    runs = Runs(
        feature_store,
        {"fingerprint": start.fingerprint},
        {"datasets": split_names(datasets), "where": where, "split_seed": split_seed}
        | ({"allow_leakage": True} if allow_leakage else {}),
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
