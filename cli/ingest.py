"""`retune-cli ingest`: label tables become rows of the catalog."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import (
    JsonOption,
    QuietOption,
    StoreOption,
    split_names,
    store_flag,
)
from .terminal.printing import (
    print_json,
    print_line,
    print_table,
    progress_bar,
    remark,
)

__all__ = ["ingest_command"]

_COLUMN = "Layout table: the column with the "


def ingest_command(
    root: Annotated[Path, typer.Argument(help="Folder with label table and images.")],
    layout: Annotated[
        str | None,
        typer.Option(
            "--layout",
            help="chexpert, chexpert-plus, mimic, nih, padchest, vindr, openi, brax or "
            "table; recognised if left out.",
        ),
    ] = None,
    store: StoreOption = Path("feature-store"),
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Name in the store [layout's name].")
    ] = None,
    split_seed: Annotated[
        int, typer.Option("--split-seed", help="Seed of the patient-disjoint splits.")
    ] = 0,
    ignore_official_splits: Annotated[
        bool,
        typer.Option(
            "--ignore-official-splits", help="Divide all patients by their hash."
        ),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="The dataset now lies in another folder.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help="The label table, if ROOT has several; chexpert: also several, A,B.",
        ),
    ] = None,
    path_column: Annotated[
        str | None, typer.Option("--path-column", help=_COLUMN + "image path [path].")
    ] = None,
    patient_column: Annotated[
        str | None,
        typer.Option("--patient-column", help=_COLUMN + "patient id [patient_id]."),
    ] = None,
    study_column: Annotated[
        str | None, typer.Option("--study-column", help=_COLUMN + "study id.")
    ] = None,
    view_column: Annotated[
        str | None, typer.Option("--view-column", help=_COLUMN + "view (PA, AP, …).")
    ] = None,
    sex_column: Annotated[
        str | None, typer.Option("--sex-column", help=_COLUMN + "sex.")
    ] = None,
    age_column: Annotated[
        str | None, typer.Option("--age-column", help=_COLUMN + "age in years.")
    ] = None,
    split_column: Annotated[
        str | None, typer.Option("--split-column", help=_COLUMN + "official split.")
    ] = None,
    findings: Annotated[
        str | None,
        typer.Option(
            "--findings",
            help="Layout table: the finding columns; padchest: names, its own too, or "
            "all.",
        ),
    ] = None,
    votes: Annotated[
        str | None,
        typer.Option(
            "--votes", help="Layout vindr, of readers: any, majority, all or soft."
        ),
    ] = None,
    patient_is_image: Annotated[
        bool,
        typer.Option(
            "--patient-is-image",
            help="Layout table: there are no patient ids; each image is a patient.",
        ),
    ] = False,
    follow_links: Annotated[
        bool,
        typer.Option(
            "--follow-links", help="Follow links that lead out of the dataset's folder."
        ),
    ] = False,
    pseudonymize: Annotated[
        Path | None,
        typer.Option(
            "--pseudonymize",
            metavar="KEYFILE",
            help="Store patient, study and image ids as keyed digests.",
        ),
    ] = None,
    un_forget: Annotated[
        bool,
        typer.Option(
            "--un-forget", help="Let patients back in who were erased by forget."
        ),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a dataset's label table. No image is opened, so this takes seconds.

    Repeating it is safe: rows follow the table, vectors of unchanged images stay, and
    labels that change leave their old version in the table old_labels.

    Example: retune-cli ingest /data/CheXpert-v1.0-small --layout chexpert
    """
    from retune.pipeline.app.ingest import IngestRequest, ingest
    from retune.pipeline.datasets.contract import TableOptions

    options = TableOptions(
        file=file,
        path_column=path_column,
        patient_column=patient_column,
        study_column=study_column,
        view_column=view_column,
        sex_column=sex_column,
        age_column=age_column,
        split_column=split_column,
        finding_columns=split_names(findings),
        votes=votes,
        patient_is_image=patient_is_image,
    )
    request = IngestRequest(
        root,
        layout,
        dataset,
        options,
        split_seed=split_seed,
        ignore_official_splits=ignore_official_splits,
        moved=moved,
        key_file=pseudonymize,
        follow_links=follow_links,
        un_forget=un_forget,
    )
    with progress_bar(quiet=quiet) as show:
        summary = ingest(store, request, show)
    if json:
        print_json(summary.as_json())
        return
    change = summary.change
    print_line(
        f"{summary.dataset}: {change.n_images:,} images ({change.added:,} new, "
        f"{change.removed:,} no longer in the table), {change.n_findings} findings, "
        f"read as {summary.layout}; labels "
        f"{'are new:' if change.labels_changed else 'are as before:'} "
        f"version {change.label_version}"
    )
    print_table(
        ("split", "patients", "images"),
        [(row.split, row.patients, row.images) for row in summary.splits],
    )
    remark("Next: retune-cli embed" + store_flag(store), quiet=quiet)
