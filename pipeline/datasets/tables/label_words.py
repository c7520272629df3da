"""Labels as people write them: numbers, yes and no in several languages, an x.

Words are compared whole, without regard to case. A single letter (``j``, ``n``, ``x``)
counts only in a column that has no other letters than such a pair.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.label_states import (
    ABSENT,
    NEGATIVE,
    POSITIVE,
    STATE_NAMES,
    UNCERTAIN,
    UNLABELLED,
)

__all__ = ["LABEL_STATES", "LabelColumn", "parse_labels"]

_POSITIVE: Final = (
    "1 1.0 1,0 yes ja oui si sí sì sim true wahr vrai verdadero vero "
    "verdadeiro pos pos. positive positiv positif positivo present "
    "vorhanden"
).split()
_NEGATIVE: Final = (
    "0 0.0 0,0 no nein non não nao false falsch faux falso neg neg. "
    "negative negativ négatif negatif negativo absent"
).split()
_UNCERTAIN: Final = (
    "-1 -1.0 -1,0 uncertain equivocal possible unsicher fraglich unklar "
    "incertain incierto incerto dudoso ?"
).split()
#: Nothing was entered: neither a label nor anything that somebody must look at.
_MISSING: Final = frozenset(
    (
        "na n/a nan null none nil . k.a. k.a unknown unbekannt inconnu "
        "desconocido sconosciuto desconhecido 9 99 999 -9 -99 -999"
    ).split()
)
#: Single letters and signs, positive and negative, that a column may consist of.
_PAIRS: Final = (
    ("y", "n"), ("j", "n"), ("o", "n"), ("s", "n"), ("t", "f"), ("+", "-"),
    ("x", "-"), ("x", "x"),
)  # fmt: skip
_WORDS: Final[Mapping[str, int]] = MappingProxyType(
    dict.fromkeys(_POSITIVE, POSITIVE)
    | dict.fromkeys(_NEGATIVE, NEGATIVE)
    | dict.fromkeys(_UNCERTAIN, UNCERTAIN)
)
_NUMBER: Final = re.compile(r"[+-]?\d+(?:[.,]\d*)?")

#: What a map may say that a word means.
LABEL_STATES: Final[Mapping[str, int]] = MappingProxyType(
    {name: code for code, name in STATE_NAMES.items()} | {"unlabelled": UNLABELLED}
)
#: Of the cells that are filled in, at least so many must be labels.
_MOSTLY: Final = 0.8


@dataclass(frozen=True)
class LabelColumn:
    """A column whose cells were read as labels.

    Attributes:
        states: Shape (N,), int8; `UNLABELLED` where the cell is no label.
        odd: Cells that hold something else than a label, shape (N,).
        missing: Cells that say that nothing is known, shape (N,).
        words: What was understood -> state, each word as it is written.
    """

    states: npt.NDArray[np.int8]
    odd: npt.NDArray[np.bool_]
    missing: npt.NDArray[np.bool_]
    words: Mapping[str, int]

    @property
    def is_of_labels(self) -> bool:
        """Whether the column is, or mostly is, one of labels.

        A column of odd numbers is one of counts or codes, however many 0 and 1.
        """
        n_labels = int(np.isin(self.states, (POSITIVE, NEGATIVE, UNCERTAIN)).sum())
        n_odd = int(self.odd.sum())
        return bool(n_labels) and n_labels >= _MOSTLY * (n_labels + n_odd)


def parse_labels(
    cells: pa.StringArray, words: Mapping[str, int] | None = None
) -> LabelColumn:
    """Read a column as labels.

    Args:
        cells: N cells.
        words: What a map says of this column's words, as they are written.

    Returns:
        Blank cells are `ABSENT` (not mentioned); the others as `LabelColumn` says.

    >>> parse_labels(pa.array(["ja", "NEIN", "", "?"])).states.tolist()
    [1, 0, -2, -1]
    >>> parse_labels(pa.array(["x", "", "x"])).states.tolist()
    [1, -2, 1]
    >>> parse_labels(pa.array(["1", "0", "siehe Text", "0"])).odd.tolist()
    [False, False, True, False]
    """
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(cells))
    written: list[str] = encoded.dictionary.to_pylist()
    places = encoded.indices.to_numpy()
    given = dict(words or {})
    letters = _letters(written, given)
    codes = np.full(len(written), UNLABELLED, dtype=np.int8)
    odd, missing = np.zeros((2, len(written)), dtype=bool)
    understood: dict[str, int] = {}
    for i, word in enumerate(written):
        folded = word.casefold()
        code = given.get(word, letters.get(folded, _WORDS.get(folded)))
        if code is not None:
            codes[i] = understood[word] = code
        elif not word:
            codes[i] = ABSENT
        elif folded in _MISSING:
            missing[i] = True
        else:
            odd[i] = True
    is_number = (_NUMBER.fullmatch(word) for word in np.array(written, object)[odd])
    if not given and any(is_number):
        odd[:] = np.array([bool(word) for word in written])  # a column of numbers
        codes[odd] = UNLABELLED
        understood = {}
    return LabelColumn(codes[places], odd[places], missing[places], understood)


def _letters(written: list[str], given: Mapping[str, int]) -> dict[str, int]:
    """What single letters mean in this column; nothing where they fit no one pair."""
    single = {
        word.casefold()
        for word in written
        if len(word) == 1 and not word.isdigit() and word != "?" and word not in given
    }
    others = (word.casefold() for word in written if word not in given)
    if not single or any(word in _WORDS for word in others if word not in single):
        return {}
    for yes, no in _PAIRS:
        if single <= {yes, no} and (yes in single or given):
            return {yes: POSITIVE} | ({no: NEGATIVE} if no != yes else {})
    return {}
