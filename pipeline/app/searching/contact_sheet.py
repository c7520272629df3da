"""Found images side by side in one picture."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError, ImageError

from ...report.text_table import escaped
from ..queries.image_files import find_file, read_grey
from .search import SearchHit

__all__ = ["write_contact_sheet"]

_TILE, _GAP, _LINE, _LINES = 240, 10, 15, 3
_COLUMNS = 5
_DARK, _TILE_DARK = (16, 18, 22), (0, 0, 0)
_LIGHT, _DIM = (225, 228, 232), (160, 166, 175)


def write_contact_sheet(
    store: FeatureStore, hits: Sequence[SearchHit], path: Path, title: str = ""
) -> None:
    """Write the images with their ids, similarities and findings as one picture.

    An image whose file is gone is a dark tile that says so.

    Args:
        store: With the images.
        hits: In the order of the sheet.
        path: A PNG or JPEG file, by its name; one of that name is replaced.
        title: A line above them.

    Raises:
        ConfigurationError: The name ends otherwise, or the file cannot be written.
    """
    if path.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise ConfigurationError(
            f"a contact sheet cannot be written as '{path.name}'",
            "Use a name that ends in .png or .jpg.",
        )
    sheet = _drawn(store, hits, title)
    try:
        sheet.save(path)
    except OSError as error:
        raise ConfigurationError(
            f"cannot write {path}: {error.strerror or error}",
            "Choose another place for `out`.",
        ) from error


def _drawn(store: FeatureStore, hits: Sequence[SearchHit], title: str) -> Image.Image:
    columns = max(1, min(_COLUMNS, len(hits)))
    rows = -(-len(hits) // columns)
    height = _TILE + _LINES * _LINE + _GAP
    top = 2 * _GAP + _LINE
    size = (columns * (_TILE + _GAP) + _GAP, rows * height + top)
    sheet = Image.new("RGB", size, _DARK)
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(12)
    pen.text((_GAP, _GAP), _cut(pen, font, title, size[0] - 2 * _GAP), _LIGHT, font)
    for index, hit in enumerate(hits):
        x = _GAP + index % columns * (_TILE + _GAP)
        y = top + index // columns * height
        pen.rectangle((x, y, x + _TILE - 1, y + _TILE - 1), fill=_TILE_DARK)
        tile = _tile(store, hit.image_id)
        if isinstance(tile, str):
            pen.text((x + 6, y + 6), _cut(pen, font, tile, _TILE - 12), _DIM, font)
        else:
            left, over = (_TILE - tile.width) // 2, (_TILE - tile.height) // 2
            sheet.paste(tile, (x + left, y + over))
        texts = (
            f"{hit.rank}  {hit.similarity:.3f}",
            hit.image_id,
            ", ".join(hit.positive) or "no positive label",
        )
        for line, text in enumerate(texts):
            colour = _DIM if line == 2 else _LIGHT
            where = (x, y + _TILE + 2 + line * _LINE)
            pen.text(where, _cut(pen, font, text, _TILE), colour, font)
    return sheet


def _tile(store: FeatureStore, image_id: str) -> Image.Image | str:
    path = find_file(store, image_id)
    if path is None:
        return "no longer in the store"
    try:
        picture = read_grey(path)
    except ImageError as error:
        return error.message
    picture.thumbnail((_TILE, _TILE))
    return picture


def _cut(
    pen: ImageDraw.ImageDraw,
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    text: str,
    width: int,
) -> str:
    """As much of a text as fits; of a long one the middle is left out."""
    text = escaped(text)
    kept, shown = len(text), text
    while kept > 1 and pen.textlength(shown, font) > width:
        kept -= 1
        shown = f"{text[: kept // 3]}…{text[len(text) - (kept - kept // 3) :]}"
    return shown
