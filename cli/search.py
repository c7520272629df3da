"""`retune-cli search`: images that look like a sentence, a file or an image."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from .terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    PickleOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from .terminal.printing import print_csv, print_json, print_line, print_table, remark

__all__ = ["search_command"]


def search_command(
    query: Annotated[
        str, typer.Argument(help="A sentence, an image file, or an image id.")
    ],
    store: StoreOption = Path("feature-store"),
    k: Annotated[
        int, typer.Option("-k", "--k", min=1, help="Number of images to find.")
    ] = 10,
    without: Annotated[
        str | None,
        typer.Option(
            "--not", metavar="TEXT", help="A sentence that the images should not fit."
        ),
    ] = None,
    per_patient: Annotated[
        int | None,
        typer.Option(
            "--per-patient", min=1, help="Maximum number of images per patient."
        ),
    ] = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    encode_with: Annotated[
        str | None,
        typer.Option(
            "--encode-with",
            help="Where the backbone is now; for imported vectors, the backbone "
            "that made them.",
        ),
    ] = None,
    allow_pickle: PickleOption = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Also write a contact sheet: .png or .jpg."),
    ] = None,
    json: JsonOption = False,
    csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Find images that look like a sentence, a file (DICOM too) or an image.

    Every encoded image that fits --where and --datasets is compared; nothing is
    approximated. The similarity is the cosine with the query; with --not it is the
    difference of two cosines, as in zero-shot scoring. An image of the store is not
    found by itself.

    Example: retune-cli search "enlarged heart" --not "pleural effusion" --per-patient 1

    Example: retune-cli search xray.dcm --where "split = 'train'" -k 20 --out found.png
    """
    from retune.pipeline.platform.memory import keep_freed_memory

    keep_freed_memory()  # before the imports below start threads

    from retune.pipeline.app.searching.search import (
        SearchHit,
        SearchRequest,
        search,
    )
    from retune.store import FeatureStore

    if json and csv:
        raise typer.BadParameter("give one of --json and --csv")
    opened = FeatureStore(store)
    result = search(
        opened,
        SearchRequest(
            query,
            k,
            without=without,
            per_patient=per_patient,
            datasets=split_names(datasets),
            where=where,
            backbone=backbone,
            fingerprint=fingerprint,
            encode_with=encode_with,
            allow_pickle=allow_pickle,
        ),
    )
    if out is not None:
        from retune.pipeline.app.searching.contact_sheet import write_contact_sheet

        write_contact_sheet(opened, result.hits, out, _title(query, without))
    if json:
        print_json([asdict(hit) for hit in result.hits])
    elif csv:
        columns = list(SearchHit.__dataclass_fields__)
        print_csv(columns, [tuple(asdict(hit).values()) for hit in result.hits])
    else:
        print_table(
            ("rank", "image", "similarity", "patient", "split", "view", "positive"),
            [
                (hit.rank, hit.image_id, float(hit.similarity), hit.patient_id,
                 hit.split, hit.view, ", ".join(hit.positive))
                for hit in result.hits
            ],
        )  # fmt: skip
    article = "an" if result.kind == "image" else "a"
    remark(
        f"{counted(result.n_compared, 'vector')} compared with {article} {result.kind}",
        quiet=quiet,
    )
    if out is not None:
        if json or csv:
            remark(f"contact sheet: {out}", quiet=quiet)
        else:
            print_line(f"contact sheet: {out}")


def _title(query: str, without: str | None) -> str:
    return query if without is None else f"{query}  not  {without}"
