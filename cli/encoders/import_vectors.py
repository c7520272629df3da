"""`retune-cli import-vectors`: vectors that were computed elsewhere."""

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
    store_flag,
)
from ..terminal.printing import print_json, print_line, progress_bar, remark

if TYPE_CHECKING:
    from retune.pipeline.app.encoders.import_request import ImportSummary

__all__ = ["import_vectors_command"]


def import_vectors_command(
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="FILE…", help="Files and folders with vectors."),
    ] = None,
    backbone_name: Annotated[
        str,
        typer.Option(
            "--backbone-name", help="Name of the encoder, such as medsiglip-448."
        ),
    ] = "",
    ids: Annotated[
        str | None,
        typer.Option(
            "--ids",
            metavar="COLUMN",
            help="Column with image ids, paths, file names or digests.",
        ),
    ] = None,
    vectors: Annotated[
        str | None,
        typer.Option(
            "--vectors",
            metavar="COLUMN",
            help="Column with the vectors [the only one that can be].",
        ),
    ] = None,
    join: Annotated[
        str,
        typer.Option(
            "--join", help="What the ids are: image_id, path, name, digest, or auto."
        ),
    ] = "auto",
    by_position: Annotated[
        bool,
        typer.Option(
            "--by-position", help="Assign row n to image n in the order of image ids."
        ),
    ] = False,
    store: StoreOption = Path("feature-store"),
    datasets: DatasetsOption = None,
    backbone_version: Annotated[
        str,
        typer.Option(
            "--backbone-version",
            help="Version of the encoder; part of the fingerprint.",
        ),
    ] = "",
    preprocessing: Annotated[
        str,
        typer.Option(
            "--preprocessing",
            help="How images were preprocessed, in words; part of the fingerprint.",
        ),
    ] = "",
    source: Annotated[
        str | None,
        typer.Option(
            "--source",
            help="Model and revision. Replaces the files' digest in the "
            "fingerprint, so that stores can exchange runs.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype",
            help="Data type of stored vectors: float16 or float32 [the file's].",
        ),
    ] = None,
    texts: Annotated[
        list[Path] | None,
        typer.Option(
            "--texts",
            metavar="FILE",
            help="Vectors of texts, with columns finding, polarity and perhaps text; "
            "repeatable.",
        ),
    ] = None,
    set_name: Annotated[
        str | None,
        typer.Option(
            "--set", help="Description set of the texts [the backbone's name]."
        ),
    ] = None,
    add: Annotated[
        bool,
        typer.Option("--add", help="Add to the imported encoder of this name."),
    ] = False,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Take vectors that were computed elsewhere; the image files need not exist.

    Parquet, Arrow or Feather, npz, npy with ids in a csv or txt, HDF5, folders of the
    package datasets, TFRecord of tf.train.Example, and clip-retrieval's folders.
    Vectors are joined to images by id, path, file name or content digest. They get a
    fingerprint of their own and never mix with others.

    Example: retune-cli import-vectors train.parquet --backbone-name medsiglip-448
    --ids image_id
    Example: retune-cli import-vectors vectors.npy ids.csv --backbone-name rad-dino
    --ids path
    """
    from retune.pipeline.platform.memory import keep_freed_memory

    keep_freed_memory()  # before the imports below start threads

    from retune.pipeline.app.encoders.import_request import ImportRequest
    from retune.pipeline.app.encoders.vector_import import import_vectors
    from retune.store import FeatureStore

    if not backbone_name:
        raise typer.BadParameter("give the encoder a name with --backbone-name")
    request = ImportRequest(
        tuple(files or ()),
        backbone_name,
        ids=ids,
        vectors=vectors,
        join=join,
        by_position=by_position,
        datasets=split_names(datasets),
        backbone_version=backbone_version,
        preprocessing=preprocessing,
        source=source,
        output_dtype=dtype,
        texts=tuple(texts or ()),
        set_name=set_name,
        add=add,
    )
    with progress_bar(quiet=quiet) as show:
        summary = import_vectors(FeatureStore(store), request, show)
    if json:
        print_json(summary.as_json())
        return
    for line in _lines(summary):
        print_line(line)
    chosen = f" --backbone {backbone_name}"
    method = (
        f" --descriptions {summary.set_name}"
        if summary.set_name
        else " --method analytic"
    )
    remark(
        f"Next: retune-cli train --scenario joint{method}{chosen}{store_flag(store)}",
        quiet=quiet,
    )


def _lines(summary: "ImportSummary") -> list[str]:
    lines = [
        f"encoder {summary.fingerprint} ({summary.backbone}, D={summary.dim}, "
        f"{summary.dtype}): {summary.imported:,} of {counted(summary.rows, 'vector')} "
        f"imported, {summary.known:,} already there"
        + (f" (joined by {summary.join})" if summary.join else "")
    ]
    for count, what, shown in (
        (summary.unmatched, "ids are of no image", summary.unmatched_ids),
        (summary.double, "ids are double, the first counts", summary.double_ids),
        (summary.failed, "rows are no usable vectors", summary.failures),
    ):
        if count:
            more = f" and {count - len(shown):,} more" if count > len(shown) else ""
            lines.append(f"{count:,} {what}: {', '.join(shown)}{more}")
    if summary.images_without:
        lines.append(
            f"{counted(summary.images_without, 'image', 'have')} no vector of it"
        )
    if summary.set_name:
        lines.append(
            f"{counted(summary.texts, 'vector')} of texts imported, description set "
            f"{summary.set_name}"
        )
    return lines
