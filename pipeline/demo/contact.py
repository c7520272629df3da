"""A contact sheet: each finding by severity, beside normal films."""

from dataclasses import replace
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from .film import draw_film
from .population import DRAWN_FINDINGS, Patient, Side, Sign, Study, draw_patient

__all__ = ["contact_sheet"]

_FILM: Final = 240
_LABEL: Final = 22
_SIDED: Final = frozenset({"Consolidation", "Atelectasis", "Pleural Effusion"})


def contact_sheet(n_per_finding: int = 4, seed: int = 0) -> Image.Image:
    """Labelled rows of films: normal ones, then each finding, mild to severe.

    Each column shows one patient, so that reading down compares like with like.

    Args:
        n_per_finding: Films in each row, at least 1.
        seed: Which patients are drawn.
    """
    people = [draw_patient(seed, number + 1) for number in range(n_per_finding)]
    rows = ["Normal", *DRAWN_FINDINGS]
    sheet = Image.new("L", (n_per_finding * _FILM, len(rows) * (_FILM + _LABEL)), 255)
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(14)
    for row, finding in enumerate(rows):
        top = row * (_FILM + _LABEL)
        for column, person in enumerate(people):
            severity = 1 + column * 3 // n_per_finding
            study = _posed(person, finding, severity, -1 if column % 2 else 1)
            film = draw_film(seed, person, study, study.views[0], _FILM)
            sheet.paste(film, (column * _FILM, top + _LABEL))
            word = ("mild", "moderate", "severe")[severity - 1]
            text = finding if row == 0 else f"{finding}, {word}"
            text += f" ({study.views[0].projection})"
            pen.text((column * _FILM + 4, top + 3), text, fill=0, font=font)
    return sheet


def _posed(person: Patient, finding: str, severity: int, side: Side) -> Study:
    """The person's first study with one sign, or none, instead of its own."""
    study = person.studies[0]
    if finding == "Normal":
        return replace(study, signs=())
    placed: Side = side if finding in _SIDED else 0
    return replace(
        study, signs=(Sign(finding, severity, placed, 0.3 + 0.15 * severity),)
    )
