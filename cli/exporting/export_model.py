"""`retune-cli export-model`: a run's model as one file for elsewhere."""

from pathlib import Path
from typing import Annotated

import typer

from retune.store.plural import counted

from ..terminal.options import JsonOption, QuietOption, StoreOption
from ..terminal.printing import print_json, print_line, remark

__all__ = ["export_model_command"]


def export_model_command(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or latest.")],
    store: StoreOption = Path("feature-store"),
    onnx: Annotated[
        bool,
        typer.Option("--onnx/--no-onnx", help="Write ONNX, the only format so far."),
    ] = True,
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write [RUN.onnx].")
    ] = None,
    with_backbone: Annotated[
        bool,
        typer.Option(
            "--with-backbone",
            help="Put the image tower before it: pixels in, probabilities out.",
        ),
    ] = False,
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Where the run's backbone is now."),
    ] = None,
    json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Write a run's model as ONNX, with a model card beside it. For research only.

    Input: embeddings of the run's encoder, or with --with-backbone pixels; output:
    calibrated probabilities. The file holds no image, no id and no embedding of an
    image, and is checked by onnxruntime.

    Example: retune-cli export-model latest --onnx --out model.onnx

    Example: retune-cli export-model latest --with-backbone --out model.onnx
    """
    from retune.pipeline.app.exporting.export_model import export_model
    from retune.store import FeatureStore
    from retune.store.errors import ConfigurationError

    if not onnx:
        raise ConfigurationError("models are exported as ONNX only", "Use --onnx.")
    made = export_model(
        FeatureStore(store), run, out, with_backbone=with_backbone, backbone=backbone
    )
    if json:
        print_json(vars(made))
        return
    print_line(
        f"{made.file}: run {made.run_id}, {counted(len(made.findings), 'finding')}; "
        "largest "
        f"difference from torch {made.largest_difference:.1g}; card: {made.card}"
    )
    remark("Research software, not a medical device.", quiet=quiet)
