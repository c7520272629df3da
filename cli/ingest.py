"""`retune-cli ingest`: label tables become rows of the catalog."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

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

if TYPE_CHECKING:
    from retune.pipeline.app.ingest import IngestSummary

__all__ = ["ingest_command"]

#: Exit code; see `terminal.boundary`.
_SOME_UNUSABLE = 6
_COLUMN = "Layout table: the column with the "


def ingest_command(
    root: Annotated[
        Path, typer.Argument(help="Folder with the label table and the images.")
    ],
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
        int | None,
        typer.Option(
            "--split-seed", min=0, help="Seed of the patient-disjoint splits [0]."
        ),
    ] = None,
    ignore_official_splits: Annotated[
        bool,
        typer.Option(
            "--ignore-official-splits",
            help="Divide all patients by a seeded hash of their id.",
        ),
    ] = False,
    moved: Annotated[
        bool, typer.Option("--moved", help="The dataset now lies in another folder.")
    ] = False,
    file: Annotated[
        str | None,
        typer.Option(
            "--file",
            help="The label table, if ROOT holds several; for chexpert "
            "several names, A,B.",
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
    series_column: Annotated[
        str | None, typer.Option("--series-column", help=_COLUMN + "series id.")
    ] = None,
    birth_date_column: Annotated[
        str | None,
        typer.Option(
            "--birth-date-column", help=_COLUMN + "birth date, for the age; not stored."
        ),
    ] = None,
    date_column: Annotated[
        str | None,
        typer.Option("--date-column", help=_COLUMN + "date of the picture."),
    ] = None,
    time_column: Annotated[
        str | None, typer.Option("--time-column", help=_COLUMN + "time of day.")
    ] = None,
    device_column: Annotated[
        str | None, typer.Option("--device-column", help=_COLUMN + "device.")
    ] = None,
    site_column: Annotated[
        str | None, typer.Option("--site-column", help=_COLUMN + "site.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep", help="Layout table: further columns to keep, separated by commas."
        ),
    ] = None,
    path_prefix: Annotated[
        list[str] | None,
        typer.Option(
            "--path-prefix",
            metavar="OLD=NEW",
            help="Layout table: replace OLD at the beginning of paths by NEW.",
        ),
    ] = None,
    map_file: Annotated[
        Path | None,
        typer.Option(
            "--map",
            metavar="FILE",
            help="Layout table: YAML file that says how to read the table; "
            "with --propose, the file to write.",
        ),
    ] = None,
    propose: Annotated[
        bool,
        typer.Option(
            "--propose", help="Write a --map file for you to edit, and ingest nothing."
        ),
    ] = False,
    anew: Annotated[
        bool,
        typer.Option("--anew", help="Ignore how the table was read before."),
    ] = False,
    append: Annotated[
        bool,
        typer.Option(
            "--append", help="The table holds new rows only; keep the earlier rows."
        ),
    ] = False,
    dates_from_dicom: Annotated[
        bool,
        typer.Option(
            "--dates-from-dicom",
            help="Take dates that the table lacks from the headers of DICOM files.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Read the table and report, but write nothing."),
    ] = False,
    findings: Annotated[
        str | None,
        typer.Option(
            "--findings",
            help="Layout table: the finding columns; padchest: names of "
            "findings or of its own labels, or all.",
        ),
    ] = None,
    votes: Annotated[
        str | None,
        typer.Option(
            "--votes",
            help="Layout vindr: how readers' votes become a label: any, "
            "majority, all or soft.",
        ),
    ] = None,
    patient_is_image: Annotated[
        bool,
        typer.Option(
            "--patient-is-image",
            help="Layout table: the table has no patient ids; treat each "
            "image as a patient.",
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
    hide_paths: Annotated[
        Path | None,
        typer.Option(
            "--hide-paths",
            metavar="PATHFILE",
            help="Store digests of paths; the paths stand in this file only.",
        ),
    ] = None,
    un_forget: Annotated[
        bool,
        typer.Option(
            "--un-forget", help="Accept patients again that forget has erased."
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Exit with code 6 if image files are missing."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Read a dataset's label table. No image is opened, so this takes seconds.

    Repeating it is safe: rows follow the table, vectors of unchanged images stay, and
    labels that change leave their old version in the table old_labels.

    Layout table reads what hospitals have (any delimiter and encoding, Excel, yes and
    no in several languages), says how it understood it, and remembers that: the next
    ingest of the same folder needs no options.

    Example: retune-cli ingest /data/CheXpert-v1.0-small --layout chexpert

    Example: retune-cli ingest ris --layout table --path-prefix P:/PACS=images
    """
    from retune.pipeline.app.ingest import IngestRequest, ingest, propose_map
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
        series_column=series_column,
        birth_date_column=birth_date_column,
        date_column=date_column,
        time_column=time_column,
        device_column=device_column,
        site_column=site_column,
        path_prefix=_prefixes(path_prefix or []),
        keep=split_names(keep) or (),
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
        map_file=None if propose else map_file,
        anew=anew,
        append=append,
        dates_from_dicom=dates_from_dicom,
        dry_run=dry_run,
        un_forget=un_forget,
        hide_paths=hide_paths,
    )
    if propose:
        written = propose_map(request, map_file, store)
        print_line(f"{written}: how the table was understood; edit it, then use --map")
        return
    with progress_bar(quiet=quiet) as show:
        summary = ingest(store, request, show)
    if json:
        print_json(summary.as_json())
    else:
        _show(summary, store, quiet=quiet)
    missing = [note for note in summary.warnings if "not there" in note]
    if strict and missing:
        remark(f"Error: {missing[0]}", quiet=False)
        raise typer.Exit(_SOME_UNUSABLE)


def _prefixes(given: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """``OLD=NEW`` as pairs; the last ``=`` divides.

    >>> _prefixes(["P:/PACS=images"])
    (('P:/PACS', 'images'),)
    """
    from retune.store.errors import ConfigurationError

    pairs = []
    for text in given:
        old, mark, new = text.rpartition("=")
        if not mark or not old:
            raise ConfigurationError(
                f"`path_prefix`: {text!r} is not OLD=NEW",
                "Write how paths begin, =, and what stands there instead.",
            )
        pairs.append((old, new))
    return tuple(pairs)


def _show(summary: "IngestSummary", store: Path, *, quiet: bool) -> None:
    change = summary.change
    for part, how in summary.understood.items():
        remark(f"{part}: {how}", quiet=quiet)
    if not summary.written:
        print_line(
            f"{summary.dataset}: {counted(change.n_images, 'image')}, "
            f"{counted(change.n_findings, 'finding')}, read as {summary.layout}; "
            "nothing was written"
        )
        return
    print_line(
        f"{summary.dataset}: {counted(change.n_images, 'image')} ({change.added:,} "
        f"new, {change.removed:,} no longer in the table), "
        f"{counted(change.n_findings, 'finding')}, "
        f"read as {summary.layout}; labels "
        f"{'are new:' if change.labels_changed else 'are as before:'} "
        f"version {change.label_version}"
    )
    print_table(
        ("split", "patients", "images"),
        [(row.split, row.patients, row.images) for row in summary.splits],
    )
    remark("Next: retune-cli embed" + store_flag(store), quiet=quiet)
