"""A decoded picture, and what was done so that it is seen as it should be."""

from dataclasses import dataclass

from PIL import Image

__all__ = ["AS_STORED", "PIXEL_RULES", "Picture", "told"]

#: Version of the rules by which files become pixels; part of the fingerprint. Raise it
#: where a rule changes, and enter in `rules` which displays it changed.
PIXEL_RULES = 2

#: What is said of a picture whose file asks for nothing.
AS_STORED = "as stored"


@dataclass(frozen=True)
class Picture:
    """A picture of 8 bits.

    Attributes:
        image: Mode ``L`` or ``RGB``.
        display: What was applied, in a few fixed words; see docs/pixels.md.
    """

    image: Image.Image
    display: str = AS_STORED


def told(notes: list[str]) -> str:
    """Notes as one text.

    >>> told(["MONOCHROME1", "window"]), told([])
    ('MONOCHROME1; window', 'as stored')
    """
    return "; ".join(notes) or AS_STORED
