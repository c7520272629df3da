"""The vectors of a batch's contents: each once, and one bad image costs only itself."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retune.store.errors import BackboneError
from retune.store.plural import counted

from ..images.reading import ImageItem, ReadImage

__all__ = ["Encoded", "encode_contents"]

Forward = Callable[[npt.NDArray[np.uint8]], npt.NDArray[np.float32]]


@dataclass(frozen=True)
class Encoded:
    """Vectors of the contents of a batch.

    Attributes:
        keys: Content digests, n.
        images: Which image each was read for, n.
        vectors: Shape (n, D); a backbone may give what cannot be stored.
        refused: Image, content digest and reason where the backbone gave no vector.
    """

    keys: tuple[str, ...]
    images: tuple[ImageItem, ...]
    vectors: npt.NDArray[np.floating]
    refused: tuple[tuple[ImageItem, str, str], ...] = ()


def encode_contents(
    files: Sequence[ReadImage], forward: Forward, has: Callable[[str], bool]
) -> Encoded:
    """Encode what a batch has to encode, each content once.

    If the backbone fails on the batch, halves are tried, and so on down to single
    images: one that it cannot take costs itself, and a batch too large for the memory
    is done in parts.

    Args:
        files: What was read.
        forward: Pixels, shape (B, height, width, 3), to vectors, shape (B, D).
        has: Whether content with this digest has a vector already.

    Raises:
        BackboneError: The backbone fails on every image of a batch of several.
    """
    fresh: dict[str, tuple[ImageItem, npt.NDArray[np.uint8]]] = {}
    for one in files:
        if one.pixels is not None and one.file is not None:
            digest = one.file.content_digest
            if not has(digest):
                fresh.setdefault(digest, (one.item, one.pixels))
    if not fresh:
        return Encoded((), (), np.empty((0, 1), dtype=np.float32))
    keys = tuple(fresh)
    pixels = np.stack([one for _, one in fresh.values()])
    vectors, errors = _forward_in_parts(pixels, forward)
    if len(errors) == len(keys) > 1:
        raise BackboneError(
            f"the backbone failed on {counted(len(keys), 'image')} one after the "
            f"other: {next(iter(errors.values()))}",
            "Try `device` cpu or `precision` float32. What was encoded before is kept; "
            "the same command goes on from there.",
        )
    images = tuple(item for item, _ in fresh.values())
    fine = [row for row in range(len(keys)) if row not in errors]
    return Encoded(
        tuple(keys[row] for row in fine),
        tuple(images[row] for row in fine),
        vectors,
        tuple((images[row], keys[row], errors[row]) for row in sorted(errors)),
    )


def _forward_in_parts(
    pixels: npt.NDArray[np.uint8], forward: Forward
) -> tuple[npt.NDArray[np.float32], dict[int, str]]:
    """Vectors of the images that the backbone takes, and why it refuses others."""
    try:
        return forward(pixels), {}
    except RuntimeError as error:  # torch's own, out of memory included
        if len(pixels) == 1:
            reason = next(iter(str(error).splitlines()), type(error).__name__)
            return np.empty((0, 1), dtype=np.float32), {0: reason}
    half = len(pixels) // 2
    first, first_errors = _forward_in_parts(pixels[:half], forward)
    second, second_errors = _forward_in_parts(pixels[half:], forward)
    errors = first_errors | {half + row: why for row, why in second_errors.items()}
    parts = [part for part in (first, second) if len(part)]
    return np.concatenate(parts) if parts else first, errors
