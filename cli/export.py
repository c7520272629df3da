"""`retune-cli export`: images, labels and vectors as files."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import (
    BackboneOption,
    DatasetsOption,
    FingerprintOption,
    JsonOption,
    StoreOption,
    WhereOption,
    split_names,
)
from .terminal.printing import print_json, print_line

__all__ = ["export_command"]


def export_command(
    to: Annotated[
        str,
        typer.Option("--to", help="parquet, arrow, npy, npz, h5, hf-dataset or lance."),
    ] = "parquet",
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
        str | None, typer.Option("--split", help="train, validation or test [all].")
    ] = None,
    by_split: Annotated[
        bool, typer.Option("--by-split", help="A file or folder for each split.")
    ] = False,
    columns: Annotated[
        str | None,
        typer.Option("--columns", help="Of images, by commas; image_id is there."),
    ] = None,
    labels: Annotated[
        str,
        typer.Option(
            "--labels", help="wide: a column per finding; long: a file; or none."
        ),
    ] = "wide",
    dtype: Annotated[
        str | None, typer.Option("--dtype", help="float16 or float32 [as stored].")
    ] = None,
    json: JsonOption = False,
) -> None:
    """Write images, labels and the vectors of one encoder to files.

    Vectors are lists of fixed size. `import-vectors` reads them back bit for bit, and a
    description in the Croissant format lies beside them. No file is replaced.

    Example: retune-cli export --to parquet --out test.parquet --where "split = 'test'"
    Example: retune-cli export --to hf-dataset --out xrays --by-split --dtype float16
    """
    from retune.pipeline.app.exchange import ExportRequest, export
    from retune.store import FeatureStore

    request = ExportRequest(
        to,
        out,
        backbone=backbone,
        fingerprint=fingerprint,
        datasets=split_names(datasets),
        where=where,
        split=split,
        by_split=by_split,
        columns=split_names(columns),
        labels=labels,
        dtype=dtype,
    )
    done = export(FeatureStore(store), request)
    if json:
        print_json(done.as_json())
        return
    print_line(
        f"{done.rows:,} images with vectors of {done.fingerprint} (D={done.dim}, "
        f"{done.dtype}):"
    )
    for path in done.files:
        print_line(f"  {path}")
