"""What CheXpert's two tables say about a film: the label columns of one row.

`valid.csv` is complete, as radiologists read it. `train.csv` is what a labeller found
in a report: it does not mention most of what is absent, and is unsure now and then,
above all where a sign is mild.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from .population import DRAWN_FINDINGS, MILD, Sign

__all__ = ["HEADER", "LABELS", "train_cells", "truth", "valid_cells"]

#: The fourteen label columns, in CheXpert's order.
LABELS: Final = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)

#: The columns of both tables.
HEADER: Final = ("Path", "Sex", "Age", "Frontal/Lateral", "AP/PA", *LABELS)

_POSITIVE, _NEGATIVE, _UNCERTAIN, _BLANK = "1.0", "0.0", "-1.0", ""

# CheXpert's hierarchy: what is true when any of its children is.
_PARENTS: Final = {
    "Enlarged Cardiomediastinum": ("Cardiomegaly",),
    "Lung Opacity": ("Edema", "Consolidation", "Atelectasis"),
}


def truth(signs: Sequence[Sign]) -> dict[str, bool]:
    """Which of the drawn findings, their parents and No Finding a film shows.

    >>> shown = truth([Sign("Edema", MILD)])
    >>> shown["Edema"], shown["Lung Opacity"], shown["No Finding"]
    (True, True, False)
    """
    present = {sign.finding for sign in signs}
    drawn = {finding: finding in present for finding in DRAWN_FINDINGS}
    parents = {
        parent: any(drawn[child] for child in children)
        for parent, children in _PARENTS.items()
    }
    return {"No Finding": not present, **parents, **drawn}


def valid_cells(signs: Sequence[Sign]) -> list[str]:
    """A radiologist's row: 1.0 or 0.0 in each of `LABELS`.

    >>> valid_cells([])[:3]
    ['1.0', '0.0', '0.0']
    """
    shown = truth(signs)
    return [_POSITIVE if shown.get(label) else _NEGATIVE for label in LABELS]


def train_cells(signs: Sequence[Sign], rng: np.random.Generator) -> list[str]:
    """A report's row: 1.0, 0.0, -1.0 or blank in each of `LABELS`.

    A drawn sign is never called absent and never left out, only doubted; an absent one
    is never called present. Columns that the demo does not draw stay blank.
    """
    shown = truth(signs)
    mild = {sign.finding for sign in signs if sign.severity == MILD}
    certain = {sign.finding for sign in signs if sign.severity != MILD}
    chances = rng.random(len(LABELS))
    return [
        _report(label, shown, chance, doubtful=label in mild - certain)
        for label, chance in zip(LABELS, chances.tolist(), strict=True)
    ]


def _report(
    label: str, shown: dict[str, bool], chance: float, *, doubtful: bool
) -> str:
    if label not in shown:
        return _BLANK
    if label == "No Finding":
        return _POSITIVE if shown[label] else _BLANK
    if shown[label]:
        return _UNCERTAIN if chance < (0.30 if doubtful else 0.03) else _POSITIVE
    if chance < 0.03:
        return _UNCERTAIN
    return _NEGATIVE if chance < 0.40 else _BLANK
