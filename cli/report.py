"""`retune-cli report`: the runs of a store as one page."""

from dataclasses import replace
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import QuietOption, StoreOption
from .terminal.printing import print_line, remark

__all__ = ["report_command"]


def report_command(
    runs: Annotated[
        list[str] | None,
        typer.Argument(metavar="[RUN]...", help="Only these; all runs if none."),
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
            help="Take the backbones of all runs for one, trained anew for each split.",
        ),
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="The file to write.")] = Path(
        "report.html"
    ),
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the comparison, write no page.")
    ] = False,
    quiet: QuietOption = False,
) -> None:
    """Write the runs of a store as one HTML page: figures, intervals, where it loses.

    Runs that differ in seed or split only are one row with their mean and spread; of
    equal runs the newest counts. The page needs nothing beside it and no network.

    Example: retune-cli report --store feature-store --out report.html
    """
    from retune.pipeline.report.groups import group_runs, without_repeats
    from retune.pipeline.report.page import build_page, sequence_table
    from retune.pipeline.report.records import read_runs
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    found = read_runs(FeatureStore(store), runs or ())
    for path in also or ():
        found += read_runs(FeatureStore(path))
    if as_backbone is not None:
        found = [replace(run, backbone=as_backbone) for run in found]
    if markdown:
        print_line(sequence_table(group_runs(without_repeats(found))))
        return
    now = f"{datetime.now():%Y-%m-%d %H:%M}"
    page = build_page(found, version=version("retune-cli"), made_at=now)
    try:
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{out} cannot be written: {error.strerror}", "Choose another --out."
        ) from error
    remark(f"{len(found)} runs read", quiet=quiet)
    print_line(str(out))
