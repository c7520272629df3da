"""The pictures of a store's images, read from where their files lie."""

from pathlib import Path

from PIL import Image

from retune.store import FeatureStore
from retune.store.errors import ImageError
from retune.store.hidden_paths import real_path

from ...encode.images.bounds import most_file_bytes
from ...encode.images.decode import decode_image, pixel_limit
from ...encode.images.reading import read_bytes

__all__ = ["find_file", "read_grey"]


def find_file(store: FeatureStore, image_id: str) -> Path | None:
    """Where an image's file should lie; None if the store has no such image."""
    rows = store.rows(
        """SELECT root, path FROM images JOIN datasets USING (dataset)
        WHERE image_id = ? LIMIT 1""",
        [image_id],
    )
    return Path(real_path(*rows[0])) if rows else None


def read_grey(path: Path) -> Image.Image:
    """A file as an 8-bit picture in grey, shown as its header asks.

    Raises:
        ImageError: It cannot be read or decoded.
    """
    try:
        content, _ = read_bytes(path, most_file_bytes(pixel_limit()))
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ImageError(f"the file cannot be read: {reason}") from error
    return decode_image(content).convert("L")
