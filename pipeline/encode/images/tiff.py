"""What a TIFF file says of itself, and forms of it that Pillow reads wrongly."""

from typing import Final

from PIL import Image

from retune.store.errors import ImageError

__all__ = ["ORIENTATION", "PHOTOMETRIC", "check_tiff", "tiff_tag"]

# Numbers of tags (TIFF 6.0, section 8 and appendix A).
PHOTOMETRIC: Final = 262
ORIENTATION: Final = 274
_BITS, _COMPRESSION, _SAMPLES, _PLANAR, _PREDICTOR = 258, 259, 277, 284, 317
_IN_PLANES, _PACKBITS = 2, 32773


def tiff_tag(image: Image.Image, tag: int) -> object:
    """The value of a tag; None if it is not there, or if the image is no TIFF.

    >>> tiff_tag(Image.new("L", (1, 1)), ORIENTATION) is None
    True
    """
    return getattr(image, "tag_v2", {}).get(tag) if image.format == "TIFF" else None


def check_tiff(image: Image.Image) -> None:
    """Refuse what Pillow reads without an error, and wrongly.

    Raises:
        ImageError: The file has planes of more than 8 bits, a plane of alpha beside
            grey, or a predictor with PackBits.

    >>> check_tiff(Image.new("L", (1, 1)))
    """
    bits = tiff_tag(image, _BITS)
    n_samples = tiff_tag(image, _SAMPLES)
    in_planes = tiff_tag(image, _PLANAR) == _IN_PLANES
    if in_planes and n_samples == 2:  # its alpha would be 0 everywhere
        raise ImageError("a grey TIFF with alpha in its own plane is not supported")
    wide = isinstance(bits, tuple) and max(bits) > 8
    if in_planes and n_samples != 1 and wide:
        # Only the upper byte of each sample would be seen, or each byte as a pixel.
        raise ImageError(
            f"a TIFF of {n_samples} planes of more than 8 bits is not supported; "
            "store its samples pixel by pixel (planar configuration 1)"
        )
    predictor = tiff_tag(image, _PREDICTOR)
    by_packbits = tiff_tag(image, _COMPRESSION) == _PACKBITS
    if by_packbits and predictor not in (None, 1):
        # Not part of the format: some writers apply it, others leave the tag behind.
        raise ImageError(f"a TIFF of PackBits with predictor {predictor} is ambiguous")
