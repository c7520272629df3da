"""The four states that a label cell can have.

A label table says more than yes or no: CheXpert's labeller can be uncertain, and most
cells are simply not mentioned. The store keeps that; targets are made at training time.
"""

from typing import Final

__all__ = [
    "ABSENT",
    "NEGATIVE",
    "NO_FINDING",
    "POSITIVE",
    "STATE_NAMES",
    "UNCERTAIN",
    "UNLABELLED",
]

POSITIVE: Final = 1
NEGATIVE: Final = 0
UNCERTAIN: Final = -1
ABSENT: Final = -2
#: In arrays only: the image's dataset does not label this finding at all.
UNLABELLED: Final = -3

#: A column of many tables, but never stored: it follows from the findings.
NO_FINDING: Final = "No Finding"

#: int8 code -> name in the catalog's `labels.state` column.
STATE_NAMES: Final[dict[int, str]] = {
    POSITIVE: "positive",
    NEGATIVE: "negative",
    UNCERTAIN: "uncertain",
    ABSENT: "absent",
}
