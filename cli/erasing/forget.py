"""`retune-cli forget`: patients leave the store, and what was learned from them."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import (
    DatasetsOption,
    JsonOption,
    QuietOption,
    StoreOption,
    split_names,
)
from ..terminal.printing import (
    print_json,
    print_line,
    print_table,
    progress_bar,
    remark,
)

if TYPE_CHECKING:
    from retune.pipeline.app.erasing.forget import ForgetSummary

__all__ = ["forget_command"]


def forget_command(
    patients: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATIENT…", help="Patient ids, or files of ids."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    where: Annotated[
        str | None,
        typer.Option(
            "--where",
            help="SQL condition: erase all patients with such an image, as "
            "\"site = 'B'\".",
        ),
    ] = None,
    datasets: DatasetsOption = None,
    requested_by: Annotated[
        str | None,
        typer.Option(
            "--requested-by",
            "--by",
            help="Who requested the erasure, for the receipt [this user].",
        ),
    ] = None,
    retrain: Annotated[
        bool,
        typer.Option(
            "--retrain",
            help="Train runs of gradient methods again without the erased patients.",
        ),
    ] = False,
    orphans: Annotated[
        bool,
        typer.Option(
            "--orphans",
            help="Also erase what belongs to images that no label table "
            "lists any more.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Print what would be erased and erase nothing."),
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Erase patients: images' rows, labels, vectors, predictions, and what was learned.

    Runs of analytic are as if trained without them. Runs of gradient methods are
    marked, or trained again with --retrain. A receipt says what was done; verify
    --erased RECEIPT searches every byte of the store. On a terminal it asks first.

    Example: retune-cli forget 00000013 --requested-by "data protection officer"

    Example: retune-cli forget withdrawn.txt --dry-run
    """
    from dataclasses import replace

    from retune.pipeline.app.erasing.forget import ForgetRequest, forget
    from retune.store import FeatureStore

    feature_store = FeatureStore(store)
    request = ForgetRequest(
        tuple(patients or ()),
        where,
        split_names(datasets),
        requested_by,
        retrain=retrain,
        orphans=orphans,
        dry_run=dry_run,
    )
    if not (yes or dry_run) and sys.stdin.isatty():
        _show(forget(feature_store, replace(request, dry_run=True)), quiet=True)
        typer.confirm("Erase them for good?", abort=True)
    with progress_bar(quiet=quiet) as show:
        summary = forget(feature_store, request, show)
    if json:
        print_json(summary.as_json())
        return
    _show(summary, quiet=quiet)


def _show(summary: "ForgetSummary", *, quiet: bool) -> None:
    print_line(
        f"patients: {summary.n_patients:,}, images: {summary.n_images:,}, vectors: "
        f"{summary.n_vectors:,}"
    )
    if summary.n_erased_before:
        print_line(f"erased before: {counted(summary.n_erased_before, 'patient')}")
    if summary.rows:
        print_table(("table", "rows"), sorted(summary.rows.items()))
    if summary.runs:
        print_table(("run", "what became of it"), sorted(summary.runs.items()))
    for note in summary.notes:
        print_line(f"Note: {note}")
    if summary.marked:
        remark(
            f"{counted(len(summary.marked), 'run')} still depend on the erased and "
            "are refused by "
            "predict and evaluate: `retune-cli forget --retrain` trains them again.",
            quiet=quiet,
        )
    if summary.receipt is not None:
        print_line(f"receipt: {summary.receipt}")
        remark(f"Next: retune-cli verify --erased {summary.receipt}", quiet=quiet)
