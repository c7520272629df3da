"""`retune-cli report`: the runs of a store as one page."""

from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from .terminal.options import QuietOption, StoreOption
from .terminal.printing import print_line, progress_bar, remark

__all__ = ["report_command"]


def report_command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Run ids or names [all runs]."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    also: Annotated[
        list[Path] | None,
        typer.Option("--also", help="A further store; may be given several times."),
    ] = None,
    as_backbone: Annotated[
        str | None,
        typer.Option(
            "--as-backbone",
            metavar="NAME",
            help="Treat the backbones of all runs as one that was trained "
            "again for each split.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "report.html"
    ),
    images: Annotated[
        bool,
        typer.Option(
            "--images", help="Include a row of test images; these are patients' images."
        ),
    ] = False,
    markdown: Annotated[
        bool,
        typer.Option(
            "--markdown", help="Print the comparison as Markdown and write no page."
        ),
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write the runs of a store as one HTML page: figures, intervals, where it loses.

    Runs that differ in seed or split only are one row; of equal runs the newest counts.
    Runs share a chart if they have the same findings, test images and encoder; the
    others stand apart, with the reason. The page needs nothing beside it and no
    network, and can be printed.

    Example: retune-cli report --store feature-store --out report.html
    """
    from retune.pipeline.app.report import ReportRequest, report_markdown, write_report

    request = ReportRequest(
        (store, *(also or ())), tuple(runs or ()), as_backbone, images
    )
    if markdown:
        print_line(report_markdown(request))
        return
    with progress_bar(quiet=quiet) as show:
        n_runs = write_report(request, out, show)
    remark(f"{counted(n_runs, 'run')} read", quiet=quiet)
    print_line(str(out))
