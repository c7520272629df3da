"""`retune-cli runs`: list runs, name them, tag them, delete them."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import JsonOption, StoreOption, split_names
from .terminal.printing import print_json, print_line, print_table

__all__ = ["runs_app"]

runs_app: typer.Typer = typer.Typer(
    invoke_without_command=True,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_RunArgument = Annotated[
    str,
    typer.Argument(metavar="RUN", help="Name, id, its first digits, or latest."),
]
_RunsArgument = Annotated[
    list[str],
    typer.Argument(metavar="RUN...", help="Names, ids, their first digits, or latest."),
]


@runs_app.callback()
def runs_command(
    context: typer.Context,
    tag: Annotated[
        str | None, typer.Option("--tag", help="Only runs with this tag.")
    ] = None,
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
) -> None:
    """List all runs of a store, newest first; name, tag or delete them.

    Example: retune-cli runs --tag paper
    """
    if context.invoked_subcommand is not None:
        return
    from retune.pipeline.app.run_entries import list_runs
    from retune.store import FeatureStore

    runs = list_runs(FeatureStore(store), tag)
    if json:
        print_json([vars(entry) for entry in runs])
    elif runs:
        print_table(runs.columns, runs.cells())
    else:
        print_line("no runs")


@runs_app.command("rename")
def rename_command(
    run: _RunArgument,
    name: Annotated[
        str | None, typer.Argument(help="The new name [remove the name].")
    ] = None,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Give a run a name, by which every command finds it.

    Example: retune-cli runs rename latest baseline
    """
    from retune.pipeline.app.run_entries import name_run
    from retune.store import FeatureStore

    run_id = name_run(FeatureStore(store), run, name)
    print_line(
        f"run {run_id} is called {name}" if name else f"run {run_id} has no name"
    )


@runs_app.command("tag")
def tag_command(
    runs: _RunsArgument,
    add: Annotated[
        str | None, typer.Option("--add", help="Tags to add, separated by commas.")
    ] = None,
    remove: Annotated[
        str | None,
        typer.Option("--remove", help="Tags to remove, separated by commas."),
    ] = None,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Give runs tags, or take tags away.

    Example: retune-cli runs tag latest --add paper,final
    """
    from retune.pipeline.app.run_entries import tag_runs
    from retune.store import FeatureStore

    given, taken = split_names(add) or (), split_names(remove) or ()
    if not given and not taken:
        raise typer.BadParameter("give --add or --remove")
    run_ids = tag_runs(FeatureStore(store), runs, given, taken)
    print_line(f"tagged: {', '.join(run_ids)}")


@runs_app.command("delete")
def delete_command(
    runs: _RunsArgument,
    yes: Annotated[
        bool, typer.Option("--yes", help="Do not ask for confirmation.")
    ] = False,
    store: StoreOption = Path("feature-store"),
) -> None:
    """Delete runs: their figures, predictions, names, tags and adaptors.

    Example: retune-cli runs delete baseline --yes
    """
    from retune.pipeline.app.run_entries import delete_runs
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    if not yes:
        typer.confirm(
            f"Delete {', '.join(runs)} and all that belongs to it?",
            abort=True,
            err=True,
        )
    print_line(f"deleted: {', '.join(delete_runs(feature_store, runs))}")
