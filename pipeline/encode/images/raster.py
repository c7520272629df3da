"""PNG, JPEG, TIFF and BMP files become 8-bit pictures, as their headers ask.

docs/pixels.md lists what is honoured of each format, what is passed over, and why.
"""

import io
import warnings
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFile, UnidentifiedImageError

from retune.store.errors import ImageError

from .bounds import check_memory, check_size
from .grey import bit_depth, to_8_bit
from .picture import AS_STORED, Picture, told
from .sixteen_bit import (
    alpha_over_black,
    colour_samples,
    grey_alpha_tiff,
    png_grey_alpha,
)
from .streams import jpeg_scans, png_chunks, read_stream
from .tiff import ORIENTATION, PHOTOMETRIC, check_tiff, tiff_tag

__all__ = ["decode_raster", "is_harmless"]

# Pillow's own limit cannot be raised for one file; `check_size` has this one instead.
Image.MAX_IMAGE_PIXELS = None
# What it finds odd is shown by what comes out, or is an error.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL(\..*)?")
_FORMATS: Final = ("PNG", "JPEG", "TIFF", "BMP")
_TURNS: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_WITH_ORIENTATION: Final = (
    "exif", "Raw profile type exif", "Raw profile type APP1", "xmp",
    "XML:com.adobe.xmp",
)  # fmt: skip
_ALPHA: Final = ("LA", "PA", "RGBA", "La", "RGBa")
_COLOUR: Final = ("P", "CMYK", "YCbCr", "RGBX")
#: Memory of a pixel, in bytes, while Pillow's modes are turned into 8 bits.
_BYTES: Final = {"1": 3, "L": 3, "P": 9, "RGB": 9, "CMYK": 9, "YCbCr": 9}
_BYTES_OF_OTHERS, _BYTES_OF_16_BIT_COLOUR = 9, 20
#: Scans of a JPEG: no camera writes more than some twenty. Each costs a pass over all
#: pixels, so that a small file may take minutes.
_USUAL_SCANS, _MOST_SCANS = 20, 100
_JPEG_PROCESSES: Final = (0, 1, 2, 9, 10)
#: Larger files, and those of many pieces, are not decoded beside other work.
_HARMLESS_BYTES: Final = 1 << 26
_HARMLESS_CHUNKS: Final = 5_000
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff"


def is_harmless(content: bytes) -> bool:
    """Whether decoding is sure to end soon, within the memory that is foreseen.

    A PNG or JPEG file of usual size and structure. Everything else is decoded in a
    process of its own, see `isolation`.

    >>> is_harmless(b"II*")
    False
    """
    if len(content) > _HARMLESS_BYTES:
        return False
    if content.startswith(_PNG):
        return png_chunks(content) <= _HARMLESS_CHUNKS
    if content.startswith(_JPEG):
        return read_stream(content) is not None and jpeg_scans(content) <= _USUAL_SCANS
    return False


def decode_raster(content: bytes, max_pixels: int, at_least: int = 0) -> Picture:
    """Decode a PNG, JPEG, TIFF or BMP file into mode ``L`` or ``RGB``.

    Args:
        content: The bytes of the file.
        max_pixels: More are refused before they are decoded.
        at_least: See `retune.pipeline.encode.images.decode.decode_image`.

    Raises:
        ImageError: It is not such an image, damaged, too large, or of a kind that is
            not supported.
    """
    if content.startswith(_JPEG):
        _check_jpeg(content)
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            return _decoded(content, image, max_pixels, at_least)
    except ImageError:
        raise
    except UnidentifiedImageError as error:
        return _unknown_to_pillow(content, max_pixels, error)
    except MemoryError as error:
        raise ImageError("decoding it needs more memory than there is") from error
    # Pillow's plugins report damage as errors of almost any kind.
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ImageError(f"damaged image: {reason}") from error


def _check_jpeg(content: bytes) -> None:
    stream, scans = read_stream(content), jpeg_scans(content)
    if scans > _MOST_SCANS:
        raise ImageError(f"a JPEG of {scans:,} scans; {_MOST_SCANS} are the limit")
    if stream is None:
        return
    if stream.process == 0xF7:
        raise ImageError("JPEG-LS outside DICOM is not supported")
    if stream.process not in _JPEG_PROCESSES:
        raise ImageError(
            f"a lossless or hierarchical JPEG (process {stream.process}) is not "
            "supported outside DICOM"
        )
    if stream.precision != 8:
        raise ImageError(
            f"a JPEG of {stream.precision} bits a sample is not supported outside "
            "DICOM; convert it to a PNG of 16 bits"
        )


def _unknown_to_pillow(
    content: bytes, max_pixels: int, error: UnidentifiedImageError
) -> Picture:
    try:
        image = grey_alpha_tiff(content, max_pixels)
    except ImageError:
        raise
    except Exception as damage:
        raise ImageError("damaged image: a TIFF that cannot be read") from damage
    if image is not None:
        grey = _of_samples(alpha_over_black(image.samples), ["alpha"], image.inverted)
        return _turned(grey, image.orientation)
    if content.startswith((_PNG, _JPEG)):
        file_format = "PNG" if content.startswith(_PNG) else "JPEG"
        raise ImageError(
            f"damaged image: a {file_format} whose header is broken"
        ) from error
    raise ImageError("not a PNG, JPEG, TIFF, BMP or DICOM image") from error


def _decoded(
    content: bytes, image: ImageFile.ImageFile, max_pixels: int, at_least: int
) -> Picture:
    check_size(image.height, image.width, max_pixels)
    n_pixels = image.height * image.width
    bytes_each = _BYTES.get(image.mode, _BYTES_OF_OTHERS)
    if image.format == "JPEG" and jpeg_scans(content) > 1:
        bytes_each += 2 * len(image.getbands())  # coefficients are kept
    check_memory(bytes_each * n_pixels + len(content), max_pixels)
    if at_least:
        image.draft(None, (at_least, at_least))  # does nothing but for JPEG
    if image.format == "TIFF":
        check_tiff(image)
    turned = tiff_tag(image, ORIENTATION)  # Pillow applies it as it loads
    picture = _wide(content, image, max_pixels)
    if picture is None:
        image.load()
        picture = _of_8_bit(image)
    if turned in _TURNS:
        notes = [] if picture.display == AS_STORED else [picture.display]
        return Picture(picture.image, told([*notes, f"orientation {turned}"]))
    return _upright(image, picture)


def _wide(
    content: bytes, image: ImageFile.ImageFile, max_pixels: int
) -> Picture | None:
    """A picture of 16 bits in colour or with alpha; None if it is another one."""
    tiles = [str(tile.args[0] if tile.args else "") for tile in image.tile]
    of_png = content.startswith(_PNG) and content[24] == 16 and content[25] != 0
    if not of_png and not any(";16" in name for name in tiles if name[:1] != "I"):
        return None
    check_memory(
        _BYTES_OF_16_BIT_COLOUR * image.height * image.width + len(content), max_pixels
    )
    key = image.info.get("transparency")
    samples = png_grey_alpha(content) if of_png else None
    notes = []
    if samples is None:
        samples = colour_samples(content, image)
    if samples is None:
        raise ImageError(f"{image.format} of 16 bits, stored as {tiles[0]}, is unknown")
    # Premultiplied alpha (RGBa) has been laid over black already; RGBX has none.
    if samples.shape[2] in (2, 4) and not tiles[0].startswith(("RGBX", "RGBa")):
        samples = alpha_over_black(samples)
        notes.append("alpha")
    samples = samples[..., :3] if samples.ndim == 3 else samples
    if isinstance(key, tuple) and samples.ndim == 3:
        samples[(samples == np.array(key, np.uint16)).all(axis=2)] = 0
        notes.append("transparent colour")
    return _of_samples(samples, notes)


def _of_samples(
    samples: npt.NDArray[np.integer], notes: list[str], white_is_zero: bool = False
) -> Picture:
    """Grey values or colours of more than 8 bits as 8, and what is said of them."""
    if white_is_zero:
        top = (1 << bit_depth(samples)) - 1
        samples = top - np.minimum(samples, top)
        notes = [*notes, "white is zero"]
    depth = bit_depth(samples)
    depth_words = "16 bits in colour" if samples.ndim == 3 else "16 bits"
    notes = [*notes, f"{depth_words}: {depth} used"]
    if samples.max(initial=0) >= 1 << depth:
        notes.append("outlying pixels clipped")
    return Picture(Image.fromarray(to_8_bit(samples)), told(notes))


def _of_8_bit(image: Image.Image) -> Picture:
    key = image.info.get("transparency")
    if image.mode in ("L", "RGB") and key is None:
        return Picture(image)  # all of it is read; closing the file does no harm
    if image.mode.startswith("I") or image.mode == "F":
        return _of_wide_grey(image, key)
    if image.mode in _ALPHA or key is not None:
        by_key = image.mode in ("L", "RGB", "1")
        return Picture(_over_black(image), "transparent colour" if by_key else "alpha")
    if image.mode == "1":
        return Picture(image.convert("L"))
    if image.mode not in _COLOUR:
        raise ImageError(f"colours of mode {image.mode} are not supported")
    return Picture(image.convert("RGB"))


def _of_wide_grey(image: Image.Image, key: object) -> Picture:
    pixels = np.asarray(image)
    if image.mode == "F":
        raise ImageError(
            "grey values that are floating-point numbers (mode F) are not read"
        )
    if pixels.min() < 0 or pixels.max() > 0xFFFF:
        raise ImageError(f"grey values of mode {image.mode} outside 0..65535")
    notes = []
    if isinstance(key, int):
        pixels = np.where(pixels == key, 0, pixels)
        notes.append("transparent colour")
    # Pillow inverts 8 bits and fewer itself.
    white_is_zero = tiff_tag(image, PHOTOMETRIC) == 0
    return _of_samples(pixels, notes, white_is_zero)


def _over_black(image: Image.Image) -> Image.Image:
    """Lay a picture with transparency over black, a strip at a time."""
    laid = Image.new("RGB", image.size)
    rows = max(1, (1 << 20) // image.width)
    for top in range(0, image.height, rows):
        box = (0, top, image.width, min(top + rows, image.height))
        strip = image.crop(box)
        rgba = strip.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        laid.paste(Image.alpha_composite(black, rgba).convert("RGB"), box)
    return laid


def _upright(image: Image.Image, picture: Picture) -> Picture:
    """Turn and mirror as EXIF or XMP say; Pillow does so itself with TIFF."""
    if not any(name in image.info for name in _WITH_ORIENTATION):
        return picture
    try:
        orientation = image.getexif().get(ORIENTATION, 1)
    # It stands in a file within the file, of which anything may be broken.
    except Exception:  # noqa: BLE001
        return picture
    return _turned(picture, orientation)


def _turned(picture: Picture, orientation: object) -> Picture:
    turn = _TURNS.get(orientation) if isinstance(orientation, int) else None
    if turn is None:
        return picture
    notes = [] if picture.display == AS_STORED else [picture.display]
    display = told([*notes, f"orientation {orientation}"])
    return Picture(picture.image.transpose(turn), display)
