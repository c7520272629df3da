"""What an image may take: pixels, proportions and memory, before it is unpacked."""

from typing import Final

from retune.store.errors import ImageError

__all__ = [
    "PIXEL_LIMIT_VARIABLE",
    "check_memory",
    "check_size",
    "most_bytes",
    "most_file_bytes",
]

#: Name of the environment variable that raises the limits.
PIXEL_LIMIT_VARIABLE: Final = "RETUNE_MAX_PIXELS"
#: Longer than this, no picture is a radiograph, and resizing its short side to that of
#: a backbone makes the long one enormous.
_MOST_RATIO: Final = 50
#: All limits follow that of pixels, so that one variable raises them together.
_BYTES_PER_PIXEL: Final = 7
_FILE_BYTES_PER_PIXEL: Final = 3
#: Whoever lowers the limit of pixels still has headers and the like.
_LEAST_BYTES: Final = 1 << 26


def most_bytes(max_pixels: int) -> int:
    """Memory that one image may take.

    >>> f"{most_bytes(178_000_000):,}"
    '1,246,000,000'
    """
    return max(_LEAST_BYTES, _BYTES_PER_PIXEL * max_pixels)


def most_file_bytes(max_pixels: int) -> int:
    """Size of the largest file that is read."""
    return max(_LEAST_BYTES, _FILE_BYTES_PER_PIXEL * max_pixels)


def check_size(height: int, width: int, max_pixels: int) -> None:
    """Refuse a picture that is empty, too large or too long.

    Raises:
        ImageError: It is.

    >>> check_size(2800, 2300, 178_000_000)
    """
    if height < 1 or width < 1:
        raise ImageError(f"{width}×{height} pixels: there is nothing to see")
    if height * width > max_pixels:
        raise ImageError(
            f"{width}×{height} pixels are more than the limit of {max_pixels:,} "
            f"({PIXEL_LIMIT_VARIABLE} raises it)"
        )
    if max(height, width) > _MOST_RATIO * min(height, width):
        raise ImageError(
            f"{width}×{height} pixels: one side is more than {_MOST_RATIO} times the "
            "other, as on no radiograph"
        )


def check_memory(n_bytes: int, max_pixels: int) -> None:
    """Refuse a picture that would take too much memory to unpack.

    Args:
        n_bytes: What its header says that it takes.
        max_pixels: The limit of pixels, which that of memory follows.

    Raises:
        ImageError: It does.

    >>> check_memory(10_000_000, 178_000_000)
    """
    if n_bytes > most_bytes(max_pixels):
        raise ImageError(
            f"unpacking it takes about {n_bytes / 1e9:.1f} GB, more than the limit of "
            f"{most_bytes(max_pixels) / 1e9:.1f} GB ({PIXEL_LIMIT_VARIABLE} raises it)"
        )
