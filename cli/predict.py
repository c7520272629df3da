"""`retune-cli predict`: a run's adaptors on new images."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import JsonOption, StoreOption
from .terminal.printing import print_json, print_line, print_table, remark

__all__ = ["predict_command"]

_UNUSABLE_IMAGE = 4


def predict_command(
    run: Annotated[str, typer.Argument(help="Run id, its first digits, or latest.")],
    images: Annotated[list[Path], typer.Argument(help="Image files.")],
    store: StoreOption = Path("feature-store"),
    backbone: Annotated[
        str | None,
        typer.Option("--backbone", help="Where the run's backbone lies now."),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.")
    ] = "auto",
    json: JsonOption = False,
) -> None:
    """Predict findings of images. For research only, never for a patient's care.

    A star marks findings at or above the run's threshold. Exit code 4 if an image
    could not be used.

    Example: retune-cli predict latest xray.png --json
    """
    from retune.pipeline.app.predict import predict_images
    from retune.store import FeatureStore

    found = predict_images(
        FeatureStore(store), run, images, backbone=backbone, device=device
    )
    if json:
        print_json([vars(one) for one in found])
    else:
        for one in found:
            print_line(one.path)
            if one.error:
                print_line(f"  cannot be used: {one.error}")
                continue
            ranked = sorted(one.probabilities.items(), key=lambda pair: -pair[1])
            print_table(
                ("  finding", "probability", ""),
                [
                    (f"  {name}", probability, "*" if name in one.called else "")
                    for name, probability in ranked
                ],
            )
        remark("Research software, not a medical device.")
    if any(one.error for one in found):
        raise typer.Exit(_UNUSABLE_IMAGE)
