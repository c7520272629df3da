"""Synthetic radiographs to try everything with."""

from pathlib import Path

from ..demo import write_demo
from ..demo.layout import DemoSummary
from ..progress import Progress, ProgressCallback, silent

__all__ = ["DemoSummary", "draw_demo"]


def draw_demo(
    folder: Path,
    n_images: int = 600,
    seed: int = 0,
    progress: ProgressCallback = silent,
) -> DemoSummary:
    """Draw radiographs of invented patients in CheXpert's layout.

    Args:
        folder: New or empty.
        n_images: How many.
        seed: Same seed, same files.
        progress: Told after each film.

    Raises:
        ConfigurationError: The folder is not empty or a number is out of range.
    """
    return write_demo(
        folder,
        n_images,
        seed,
        progress=lambda done, total: progress(Progress("drawing", done, total)),
    )
