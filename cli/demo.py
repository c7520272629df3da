"""`retune-cli demo`: synthetic radiographs to try everything with."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal.options import QuietOption
from .terminal.printing import print_line, print_table, progress_bar

__all__ = ["demo_command"]


def demo_command(
    folder: Annotated[
        Path, typer.Argument(help="Folder to write to; it must be new or empty.")
    ],
    images: Annotated[
        int, typer.Option("--images", min=1, help="Number of images.")
    ] = 600,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Random seed: the same seed draws the same files."
        ),
    ] = 0,
    quiet: QuietOption = False,
) -> None:
    """Draw synthetic frontal radiographs in CheXpert's layout.

    They show five findings by their radiographic sign. No patient was involved, and
    nothing learned from them says anything about a patient.

    Example: retune-cli demo demo-radiographs --images 600 --seed 0
    """
    from retune.pipeline.app.demo import draw_demo

    with progress_bar(quiet=quiet) as show:
        summary = draw_demo(folder, images, seed, show)
    print_line(
        f"{summary.n_images} synthetic radiographs of {summary.n_patients} invented "
        f"patients in {summary.folder}"
    )
    print_table(("finding", "positive"), list(summary.positives.items()))
