"""`retune-cli verify` and `repair`: shards and catalog must agree."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_json, print_line

if TYPE_CHECKING:
    from retune.store import ReconcileReport

__all__ = ["repair_command", "verify_command"]


def verify_command(
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
    erased: Annotated[
        str | None,
        typer.Option(
            "--erased",
            metavar="RECEIPT",
            help="Search every byte for the patients of a receipt of forget.",
        ),
    ] = None,
) -> None:
    """Read every file and checksum; change nothing. Exit code 3 if something is wrong.

    Example: retune-cli verify

    Example: retune-cli verify --erased feature-store/receipts/0123456789abcdef.json
    """
    from retune.pipeline.app.care import verify
    from retune.store import FeatureStore

    if erased is not None:
        _verify_erased(store, erased, json=json)
        return
    report = verify(FeatureStore(store))
    _show(report, json=json, verb="would be")
    if report:
        raise typer.Exit(3)


def repair_command(
    store: StoreOption = Path("feature-store"),
    json: JsonOption = False,
    from_copies: Annotated[
        bool,
        typer.Option(
            "--from-copies", help="Rebuild a damaged catalog from its Parquet copies."
        ),
    ] = False,
    drop_missing: Annotated[
        bool,
        typer.Option(
            "--drop-missing", help="Drop shards whose whole folder is missing."
        ),
    ] = False,
) -> None:
    """Make shards and catalog agree; damaged shards move to damaged/.

    A catalog that is lost or damaged is rebuilt from its Parquet copies and the shards.

    Example: retune-cli repair && retune-cli embed

    Example: retune-cli repair --from-copies
    """
    from retune.pipeline.app.care import repair
    from retune.store import FeatureStore

    report = repair(
        FeatureStore(store), from_copies=from_copies, drop_missing=drop_missing
    )
    _show(report, json=json, verb="were")


def _verify_erased(store: Path, receipt: str, *, json: bool) -> None:
    """Search a store for those whom a receipt says to be erased."""
    from retune.pipeline.app.erasing.forget import verify_erased
    from retune.store import FeatureStore

    read, report = verify_erased(FeatureStore(store), receipt)
    if json:
        print_json({"erasure_id": read.erasure_id, "clean": not report} | vars(report))
    else:
        print_line(
            f"erasure {read.erasure_id} of {counted(len(read.patients), 'patient')} "
            f"at {read.at}, requested by {read.requested_by}"
        )
        print_line(
            f"searched {counted(report.n_files, 'file')}, {report.n_bytes:,} bytes and "
            f"{counted(report.n_values, 'value')} for "
            f"{counted(len(read.needles), 'pattern')}: ids, paths, digests and vectors"
        )
        for column_type, count in report.values_only.items():
            print_line(
                f"compared as whole values only, being short: {count} ({column_type})"
            )
        for problem in report.problems:
            print_line(f"problem: {problem}")
        for location, counts in report.matches.items():
            told = ", ".join(f"{count} {form}" for form, count in counts.items())
            print_line(f"FOUND in {location}: {told}")
        if not report:
            print_line("nothing was found")
    if report:
        raise typer.Exit(3)


def _show(report: "ReconcileReport", *, json: bool, verb: str) -> None:
    if json:
        print_json(vars(report))
        return
    if report.copies_behind:
        print_line(
            f"the Parquet copies of the catalog lack its last {report.copies_behind:,} "
            "transactions; the next `ingest`, `embed` or `repair` writes them"
        )
    if not report:
        print_line("shards, catalog, copies and runs: every checksum is right")
        return
    lines = {
        f"shards without rows: {report.adopted_shards}, {verb} adopted "
        f"({counted(report.adopted_rows, 'row')})": report.adopted_shards,
        f"shards that are gone: {report.dropped_shards}, rows {verb} "
        f"dropped: {report.dropped_rows:,}": report.dropped_shards,
        f"leftover temporary files: {report.temporary_files}, {verb} "
        "deleted": report.temporary_files,
    }
    for line, present in lines.items():
        if present:
            print_line(line)
    for folder in report.missing_folders:
        print_line(f"a folder of shards is gone: {folder}. Is it mounted?")
    for problem in report.damaged.values():
        print_line(f"damaged, {verb} set aside: {problem}")
    for problem in report.catalog:
        print_line(f"catalog: {problem}")
    for problem in report.runs.values():
        print_line(f"run damaged: {problem}. Train again.")
    if report.damaged or report.dropped_shards:
        print_line("The next `retune-cli embed` encodes the lost rows again.")
