"""Test images of a run, small enough for a page."""

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from retune.store import FeatureStore
from retune.store.errors import RetuneError
from retune.store.hidden_paths import real_path

from ..encode.images.bounds import most_file_bytes
from ..encode.images.decode import decode_image, pixel_limit
from ..encode.images.reading import read_bytes
from ..learn.runs.image_list import read_image_list
from ..learn.runs.saving import run_folder
from ..report.page import ExampleImage
from ..report.records import ReportedRun

__all__ = ["example_images", "small_jpeg"]

_MOST, _TRIES, _QUALITY = 12, 3, 80


def example_images(store: FeatureStore, run: ReportedRun) -> list[ExampleImage]:
    """For each finding the first test image that is positive and can be read.

    Args:
        store: Where the run is.
        run: Runs from before runs kept a list of their images have no example.
    """
    images = []
    for name in run.findings[:_MOST]:
        for path in _positive_images(store, run, name):
            content = small_jpeg(path)
            if content is not None:
                images.append(ExampleImage(f"{name}: labelled positive", content))
                break
    return images


def _positive_images(
    store: FeatureStore, run: ReportedRun, finding: str
) -> Iterator[Path]:
    try:
        listed = read_image_list(run_folder(store, run.run_id)).of_splits(["test"])
    except RetuneError:
        return
    rows = store.rows(
        """SELECT root, path FROM images JOIN datasets USING (dataset)
        JOIN labels USING (image_id) WHERE finding = ? AND state = 'positive'
        AND list_contains(?, image_id) ORDER BY image_id LIMIT ?""",
        [finding, listed.image_id.tolist(), _TRIES],
    )
    yield from (Path(real_path(root, path)) for root, path in rows)


def small_jpeg(path: Path, side: int = 256) -> bytes | None:
    """An image file as a small grey JPEG without metadata; None if it cannot be read.

    Args:
        path: PNG, JPEG, TIFF, BMP or DICOM.
        side: Side of the square that it fits into, in pixels.
    """
    try:
        content, _ = read_bytes(path, most_file_bytes(pixel_limit()))
        image = decode_image(content, side)
    except (RetuneError, OSError, ValueError, MemoryError):
        return None
    image.thumbnail((side, side))
    # Into a new picture, so that nothing but pixels is written.
    plain = Image.fromarray(np.asarray(image.convert("L")))
    file = io.BytesIO()
    plain.save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()
