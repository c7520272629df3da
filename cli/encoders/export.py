"""`retune-cli export`: images, labels and vectors as files."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    QuietOption,
    StoreOption,
    WhereOption,
    split_names,
)
from ..terminal.printing import print_json, print_line, progress_bar

if TYPE_CHECKING:
    from retune.pipeline.app.export_for import ExportForRequest

__all__ = ["export_command"]


def export_command(
    to: Annotated[
        str | None,
        typer.Option(
            "--to",
            help="Format: parquet [default], arrow, npy, npz, h5, hf-dataset or lance.",
        ),
    ] = None,
    tool: Annotated[
        str | None,
        typer.Option(
            "--for",
            help="Write files that embedding-atlas or fiftyone opens, with "
            "pictures, instead of --to.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="File or folder [vectors with the right ending]."),
    ] = None,
    store: StoreOption = Path("feature-store"),
    backbone: BackboneOption = None,
    fingerprint: FingerprintOption = None,
    datasets: DatasetsOption = None,
    where: WhereOption = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="Split to export: train, validation or test [all]."
        ),
    ] = None,
    by_split: Annotated[
        bool, typer.Option("--by-split", help="Write one file or folder per split.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option(
            "--columns",
            help="Columns of images, separated by commas; image_id is always included.",
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Option(
            "--labels",
            help="Labels: wide, one column per finding [default]; long, a "
            "separate file; or none.",
        ),
    ] = None,
    dtype: Annotated[
        str | None,
        typer.Option(
            "--dtype", help="Data type of vectors: float16 or float32 [as stored]."
        ),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write images, labels and the vectors of one encoder to files.

    Vectors are lists of fixed size. `import-vectors` reads them back bit for bit, and a
    description in the Croissant format lies beside them. No file is replaced.

    With --for, Embedding Atlas gets a map with neighbours, small pictures and labels,
    and FiftyOne the images with their labels. Such files hold pictures of patients, or
    where they lie. The command that opens them is printed.

    Example: retune-cli export --to parquet --out test.parquet --where "split = 'test'"

    Example: retune-cli export --to hf-dataset --out xrays --by-split --dtype float16
    Example: retune-cli export --for embedding-atlas --out xrays.parquet
    """
    if tool is not None:
        ignored = {
            "to": to, "by_split": by_split, "columns": columns, "labels": labels,
            "dtype": dtype,
        }  # fmt: skip
        _refuse_with_tool([name for name, value in ignored.items() if value])
        from retune.pipeline.app.export_for import ExportForRequest

        chosen = split_names(datasets)
        _export_for_tool(
            store,
            ExportForRequest(
                tool, out, chosen, where, backbone, fingerprint, split=split
            ),
            as_json=json,
            quiet=quiet,
        )
        return
    from retune.pipeline.app.encoders.vector_export import ExportRequest, export
    from retune.store import FeatureStore

    request = ExportRequest(
        to or "parquet",
        out,
        backbone=backbone,
        fingerprint=fingerprint,
        datasets=split_names(datasets),
        where=where,
        split=split,
        by_split=by_split,
        columns=split_names(columns),
        labels=labels or "wide",
        dtype=dtype,
    )
    done = export(FeatureStore(store), request)
    if json:
        print_json(done.as_json())
        return
    print_line(
        f"{counted(done.rows, 'image')} with vectors of {done.fingerprint} "
        f"(D={done.dim}, "
        f"{done.dtype}):"
    )
    for path in done.files:
        print_line(f"  {path}")


def _refuse_with_tool(given: list[str]) -> None:
    """What applies to other files has no effect on those for a tool."""
    from retune.store.errors import ConfigurationError

    for name in given:
        option = f"--{name.replace('_', '-')}"
        raise ConfigurationError(
            f"{option} has no effect with --for", f"Leave out {option}."
        )


def _export_for_tool(
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
    print_line(f"{counted(done.n_images, 'image')}: {done.path}")
    if done.n_left_out:
        print_line(f"{counted(done.n_left_out, 'image', 'were')} left out by chance")
    if done.n_unreadable:
        print_line(f"{done.n_unreadable:,} have no picture: the file cannot be read")
    print_line(f"open it: {done.command}")
