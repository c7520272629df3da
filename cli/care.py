"""`retune-cli verify` and `repair`: shards and catalog must agree."""

from pathlib import Path
from typing import TYPE_CHECKING

import typer

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_json, print_line

if TYPE_CHECKING:
    from retune.store import ReconcileReport

__all__ = ["repair_command", "verify_command"]


def verify_command(
    store: StoreOption = Path("feature-store"), json: JsonOption = False
) -> None:
    """Read every shard and checksum; change nothing. Exit code 3 if something is wrong.

    Example: retune-cli verify
    """
    from retune.pipeline.app.care import verify
    from retune.store import FeatureStore

    report = verify(FeatureStore(store))
    _show(report, json=json, verb="would be")
    if report:
        raise typer.Exit(3)


def repair_command(
    store: StoreOption = Path("feature-store"), json: JsonOption = False
) -> None:
    """Make shards and catalog agree; damaged shards move to damaged/.

    Example: retune-cli repair && retune-cli embed
    """
    from retune.pipeline.app.care import repair
    from retune.store import FeatureStore

    _show(repair(FeatureStore(store)), json=json, verb="were")


def _show(report: "ReconcileReport", *, json: bool, verb: str) -> None:
    if json:
        print_json(vars(report))
        return
    if not report:
        print_line("shards and catalog agree; every checksum is right")
        return
    lines = {
        f"shards without rows: {report.adopted_shards}, {verb} adopted "
        f"({report.adopted_rows:,} rows)": report.adopted_shards,
        f"shards that are gone: {report.dropped_shards}, rows {verb} "
        f"dropped: {report.dropped_rows:,}": report.dropped_shards,
        f"leftover temporary files: {report.temporary_files}, {verb} "
        "deleted": report.temporary_files,
    }
    for line, present in lines.items():
        if present:
            print_line(line)
    for problem in report.damaged.values():
        print_line(f"damaged, {verb} set aside: {problem}")
    if report.damaged or report.dropped_shards:
        print_line("The next `retune-cli embed` encodes the lost rows again.")
