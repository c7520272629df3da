"""Sex and age as people write them, in several languages and units.

What is not understood becomes null and is marked, so that it can be told with its rows.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["AGE_UNITS", "parse_ages", "parse_sexes"]

Mask = npt.NDArray[np.bool_]

_FEMALE: Final = (
    "f w female woman weiblich frau femme féminin feminin femenino mujer "
    "hembra femmina femminile donna feminino mulher f. w."
).split()
_MALE: Final = (
    "m male man männlich maennlich mann homme masculin masculino hombre "
    "varón varon maschio maschile uomo homem m."
).split()
_SEXES: Final[Mapping[str, str]] = MappingProxyType(
    dict.fromkeys(_FEMALE, "F") | dict.fromkeys(_MALE, "M")
)
#: Words that say that it is neither or not known: null, and nothing to look at.
_NEITHER: Final = frozenset(
    (
        "d divers diverse other o u unknown unbekannt inconnu desconocido "
        "sconosciuto desconhecido n/a na nan null none"
    ).split()
)

_YEARS: Final = "y yr yrs year years j j. jahr jahre jahren a an ans año años anni anno"
_MONTHS: Final = "m mo mon month months monat monate monaten mois mes meses mese mesi"
_WEEKS: Final = "w wk week weeks woche wochen semaine semaines semana semanas settimane"
_DAYS: Final = "d day days t tag tage tagen jour jours día días dia dias giorno giorni"
#: Unit in the words of a map -> how many of them are a year.
AGE_UNITS: Final[Mapping[str, float]] = MappingProxyType(
    {"years": 1.0, "months": 12.0, "weeks": 52.1775, "days": 365.2425}
)
_UNIT_WORDS: Final[Mapping[str, float]] = MappingProxyType(
    {
        word: AGE_UNITS[unit]
        for unit, words in zip(
            AGE_UNITS, (f"{_YEARS} ano anos", _MONTHS, _WEEKS, _DAYS), strict=True
        )
        for word in words.split()
    }
)
_AGE: Final = re.compile(r"(\d{1,5}(?:[.,]\d*)?)\s*([^\W\d]*\.?)")
#: As some systems write DICOM's ``048Y``. Other letters may mean a sex: M48, W48.
_UNIT_FIRST: Final = re.compile(r"([Yy])\s?(\d{1,3})")
_MAX_AGE_YEARS: Final = 120.0


def parse_sexes(
    cells: pa.StringArray, header: str = "", words: Mapping[str, str] | None = None
) -> tuple[pa.StringArray, Mask, dict[str, str]]:
    """Read a column as sexes.

    ``m`` is a man, unless the column also has ``h`` (hombre) and no ``f``: then it is
    Spanish, and ``m`` is mujer. Where that cannot be told, ``m`` is not understood.

    Args:
        cells: N cells.
        header: The column's name; a Spanish one makes a lone ``m`` unclear.
        words: What a map says of words as they are written: ``F``, ``M`` or blank.

    Returns:
        ``F``, ``M`` or null; where a cell was not understood, shape (N,); what was
        understood.

    >>> parse_sexes(pa.array(["m", "Weiblich", "d", "7"]))[0].to_pylist()
    ['M', 'F', None, None]
    >>> parse_sexes(pa.array(["h", "m"]))[0].to_pylist()
    ['M', 'F']
    """
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(cells))
    written: list[str] = encoded.dictionary.to_pylist()
    known = {**_SEXES, **_spanish({word.casefold() for word in written}, header)}
    given = dict(words or {})
    sexes: list[str | None] = []
    odd = np.zeros(len(written), dtype=bool)
    understood: dict[str, str] = {}
    for i, word in enumerate(written):
        folded = word.casefold()
        sex = given.get(word, known.get(folded, ""))
        sexes.append(sex or None)
        if sex:
            understood[word] = sex
        elif word and word not in given and folded not in _NEITHER:
            odd[i] = True
    places = encoded.indices.to_numpy()
    return pa.array(sexes, pa.string()).take(encoded.indices), odd[places], understood


def _spanish(words: set[str], header: str) -> dict[str, str]:
    """What ``h`` and ``m`` mean beside these words."""
    if "h" in words:
        if "f" in words:
            return {"h": "M", "m": ""} if "m" in words else {"h": "M"}
        return {"h": "M", "m": "F"}
    if header.casefold() == "sexo" and "m" in words and not words & {"f", *_NEITHER}:
        longer = {word for word in words if len(word) > 1}
        return {} if longer & set(_SEXES) else {"m": ""}
    return {}


def parse_ages(
    cells: pa.StringArray, per_year: float = 1.0
) -> tuple[pa.FloatArray, Mask]:
    """Read a column as ages in years.

    Args:
        cells: N cells: ``48``, ``48,0``, ``048Y``, ``Y48``, ``6M``, ``6 Monate``.
        per_year: How many of the unit of plain numbers are a year.

    Returns:
        Years, float32, null where blank or not understood; where the latter, (N,). An
        age above 120 is not understood, nor is DICOM's ``000Y``.

    >>> parse_ages(pa.array(["48,0", "Y48", "6M", "", "W48"]))[0].to_pylist()
    [48.0, 48.0, 0.5, None, None]
    """
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(cells))
    written: list[str] = encoded.dictionary.to_pylist()
    years = [_age(word, per_year) for word in written]
    odd = np.array(
        [
            bool(word) and age is None and word.casefold() not in _NEITHER
            for word, age in zip(written, years, strict=True)
        ],
        dtype=bool,
    )
    ages = pa.array(years, pa.float32()).take(encoded.indices)
    return ages, odd[encoded.indices.to_numpy()]


def _age(word: str, per_year: float) -> float | None:
    turned = _UNIT_FIRST.fullmatch(word)
    parts = _AGE.fullmatch(word if turned is None else f"{turned[2]}{turned[1]}")
    if parts is None:
        return None
    unit = parts[2].casefold()
    unit = unit if unit in _UNIT_WORDS else unit.rstrip(".")
    if unit and unit not in _UNIT_WORDS:
        return None
    number = float(parts[1].replace(",", "."))
    if unit and not number:
        return None
    years = number / (_UNIT_WORDS[unit] if unit else per_year)
    return years if years <= _MAX_AGE_YEARS else None
