"""`retune-cli merge`: states of several runs made one."""

from pathlib import Path
from typing import Annotated, Any, cast

import typer

from .terminal.options import (
    BlankOption,
    BoundsOption,
    ContaminatedOption,
    DatasetsOption,
    JsonOption,
    LeakageOption,
    QuietOption,
    SplitSeedOption,
    StoreOption,
    UncertainOption,
    WhereOption,
    split_names,
)
from .terminal.run_tables import show_runs
from .terminal.selection import announce_selection

__all__ = ["merge_command"]


def merge_command(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="RUN…", help="Runs of this store, or state files."),
    ],
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split_seed: SplitSeedOption = None,
    allow_leakage: LeakageOption = False,
    allow_contaminated: ContaminatedOption = False,
    uncertain: UncertainOption = "ignore",
    blank: BlankOption = "negative",
    bounds: BoundsOption = True,
    subtract: Annotated[
        list[str] | None,
        typer.Option(
            "--subtract",
            metavar="FILE",
            help="Subtract the patients of a file that `state --of-patient` wrote.",
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Add the states of analytic runs: one model as if trained on all their images.

    The result is a run of this store, evaluated on its test images. Runs that have
    learned from the same images are refused. Two hospitals that share some patients are
    not noticed.

    Example: retune-cli merge latest /media/other-hospital/state.safetensors

    Example: retune-cli merge latest --subtract /media/other-hospital/part.safetensors
    """
    from retune.pipeline.app.merge import MergeRequest, merge
    from retune.pipeline.learn.runs.selection import Selection
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    names = split_names(datasets)
    announce_selection(feature_store, names, where, quiet=quiet)
    selection = Selection(
        names,
        where,
        split_seed,
        allow_leakage=allow_leakage,
        allow_contaminated=allow_contaminated,
    )
    request = MergeRequest(
        tuple(sources),
        selection,
        cast("Any", uncertain),  # checked where it is used
        cast("Any", blank),
        bounds,
        tuple(subtract or ()),
    )
    show_runs([merge(feature_store, request)], store, as_json=json, quiet=quiet)
