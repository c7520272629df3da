"""`retune-cli export`: files that other tools open."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from .terminal.printing import print_json, print_line, progress_bar

if TYPE_CHECKING:
    from retune.pipeline.app.export_for import ExportForRequest

__all__ = ["export_command", "export_for_tool"]


def export_command(
    tool: Annotated[
        str, typer.Option("--for", help="A tool: embedding-atlas or fiftyone.")
    ],
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File or folder [named after the tool]."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write files that another tool opens at once, and say how.

    Embedding Atlas gets a map with neighbours, small pictures and labels; FiftyOne the
    images with their labels. The files hold what the store does not: pictures of
    patients, or where these lie. Nothing is replaced.

    Example: retune-cli export --for embedding-atlas --out xrays.parquet
    """
    from retune.pipeline.app.export_for import ExportForRequest

    request = ExportForRequest(
        tool, out, split_names(datasets), where, backbone, fingerprint
    )
    export_for_tool(store, request, as_json=json, quiet=quiet)


def export_for_tool(
    store: Path, request: "ExportForRequest", *, as_json: bool, quiet: bool
) -> None:
    """Export for a tool, and print what opens it."""
    from retune.pipeline.app.export_for import export_for
    from retune.store import FeatureStore

    with progress_bar(quiet=quiet) as show:
        done = export_for(FeatureStore(store), request, show)
    if as_json:
        print_json(vars(done))
        return
    print_line(f"{done.n_images:,} images: {done.path}")
    if done.n_left_out:
        print_line(f"{done.n_left_out:,} images were left out by chance")
    if done.n_unreadable:
        print_line(f"{done.n_unreadable:,} have no picture: the file cannot be read")
    print_line(f"open it: {done.command}")
