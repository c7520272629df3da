"""Columns of text become typed columns, without a Python loop over rows.

A value that is odd but harmless (a sex that is neither F nor M, an age of 148) becomes
null and is counted in a warning; a label that is none is an error with its line.
"""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE, UNCERTAIN
from retune.store.plural import counted

from .delimited import TextTable

__all__ = [
    "LABEL_TOKENS",
    "ages",
    "are_labels",
    "count_values",
    "label_states",
    "required_ids",
    "sexes",
    "text_or_null",
    "translate",
]

#: How a table writes a label state; compared exactly, after trimming blanks.
LABEL_TOKENS: Final[Mapping[str, int]] = MappingProxyType(
    {
        "1": POSITIVE,
        "1.0": POSITIVE,
        "0": NEGATIVE,
        "0.0": NEGATIVE,
        "-1": UNCERTAIN,
        "-1.0": UNCERTAIN,
        "": ABSENT,
    }
)
_TOKENS = pa.array(list(LABEL_TOKENS))
_STATES = np.array(list(LABEL_TOKENS.values()), dtype=np.int8)

_SEXES = MappingProxyType({"f": "F", "female": "F", "m": "M", "male": "M"})

#: ``58``, ``58.5`` and DICOM's age strings ``058Y``, ``011M``, ``003W``, ``010D``.
_AGE = r"^(?P<number>\d{1,3}(?:\.\d*)?)(?P<unit>[YMWD]?)$"
_UNITS_PER_YEAR = MappingProxyType(
    {"": 1.0, "Y": 1.0, "M": 12.0, "W": 52.1775, "D": 365.2425}
)
_MAX_AGE_YEARS = 120.0


def count_values(values: pa.StringArray, most: int = 5) -> str:
    """The values and how often each occurs, the commonest first.

    >>> count_values(pa.array(["x", "y", "x"]))
    "'x' (2), 'y' (1)"
    >>> count_values(pa.array(["a", "b", "b"]), most=1)
    "'b' (2) and 1 other"
    """
    counts = pc.value_counts(values)
    pairs = zip(counts.field(0).to_pylist(), counts.field(1).to_pylist(), strict=True)
    ranked = sorted(pairs, key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{value!r} ({count:,})" for value, count in ranked[:most])
    rest = len(ranked) - most
    return shown if rest <= 0 else f"{shown} and {counted(rest, 'other')}"


def text_or_null(values: pa.StringArray) -> pa.StringArray:
    """Trimmed text; blank becomes null.

    >>> text_or_null(pa.array([" PA", ""])).to_pylist()
    ['PA', None]
    """
    trimmed = pc.utf8_trim_whitespace(values)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)


def translate(values: pa.StringArray, words: Mapping[str, str]) -> pa.StringArray:
    """Each value by its exact entry in `words`, null where there is none.

    >>> translate(pa.array(["m", "x"]), {"m": "M"}).to_pylist()
    ['M', None]
    """
    where = pc.index_in(values, value_set=pa.array(list(words), pa.string()))
    return pa.array(list(words.values()), pa.string()).take(where)


def required_ids(table: TextTable, column: str) -> pa.StringArray:
    """The trimmed patient ids of a column: without them no split can be kept apart.

    Raises:
        DatasetError: A row has none; names the first and counts them.
    """
    ids = pc.utf8_trim_whitespace(table.column(column))
    blank = pc.equal(ids, "")
    missing = pc.sum(blank).as_py()
    if missing:
        location = table.places([pc.index(blank, True).as_py()])[0]
        raise DatasetError(
            f"{location}, column {column!r}: the patient id is missing"
            f" ({counted(missing, 'such row')})",
            "Give every row its patient: splits keep patients apart by this id.",
        )
    return ids


def sexes(values: pa.StringArray, column: str) -> tuple[pa.StringArray, list[str]]:
    """``F``, ``M`` or null, and a warning that counts what was neither nor blank.

    >>> codes, warnings = sexes(pa.array(["Female", "m", "Unknown", ""]), "Sex")
    >>> codes.to_pylist(), warnings
    (['F', 'M', None, None], ["column 'Sex': 1 value kept as unknown: 'Unknown' (1)"])
    """
    words = text_or_null(values)
    codes = translate(pc.utf8_lower(words), _SEXES)
    return codes, _unknown_values(words, codes, column)


def ages(values: pa.StringArray, column: str) -> tuple[pa.FloatArray, list[str]]:
    """Ages in years (float32), null where blank, and a warning that counts the odd.

    Odd are text that is no age, ages above 120 years, and DICOM's ``000Y``, which
    stands for an unknown age; a plain ``0`` is kept.

    >>> years, _ = ages(pa.array(["58", "058Y", "006M", "000Y", "148", ""]), "Age")
    >>> years.to_pylist()
    [58.0, 58.0, 0.5, None, None, None]
    """
    words = text_or_null(values)
    parts = pc.extract_regex(words, _AGE)
    number = pc.cast(pc.struct_field(parts, "number"), pa.float64())
    unit = pc.struct_field(parts, "unit")
    where = pc.index_in(unit, value_set=pa.array(list(_UNITS_PER_YEAR)))
    years = pc.divide(number, pa.array(list(_UNITS_PER_YEAR.values())).take(where))
    possible = pc.and_(
        pc.less_equal(years, _MAX_AGE_YEARS), pc.not_equal(words, "000Y")
    )
    years = pc.if_else(possible, years, pa.scalar(None, pa.float64()))
    age_column = pc.cast(years, pa.float32())
    return age_column, _unknown_values(words, age_column, column)


def are_labels(values: pa.StringArray) -> bool:
    """Whether every cell is a label token and not all are blank.

    >>> are_labels(pa.array(["1", "", "-1.0"])), are_labels(pa.array(["1", "12"]))
    (True, False)
    >>> are_labels(pa.array(["", ""]))
    False
    """
    words = pc.utf8_trim_whitespace(values)
    all_tokens = pc.all(pc.is_in(words, value_set=_TOKENS)).as_py()
    return bool(all_tokens and pc.any(pc.not_equal(words, "")).as_py())


def label_states(table: TextTable, columns: Sequence[str]) -> np.ndarray:
    """The label states of some columns.

    Args:
        table: The table that has these columns.
        columns: K column names.

    Returns:
        (N, K) int8 codes of `retune.store.label_states`.

    Raises:
        DatasetError: A cell holds something else; names line, column and value.
    """
    states = np.empty((table.cells.num_rows, len(columns)), dtype=np.int8)
    for k, column in enumerate(columns):
        cells = table.column(column)
        where = pc.index_in(pc.utf8_trim_whitespace(cells), value_set=_TOKENS)
        if where.null_count:
            bad = np.flatnonzero(pc.is_null(where).to_numpy(zero_copy_only=False))
            value = cells[int(bad[0])].as_py()
            more = f" ({bad.size:,} such cells in this column)" if bad.size > 1 else ""
            raise DatasetError(
                f"{table.places([int(bad[0])])[0]}, column {column!r}:"
                f" {value!r} is not a label{more}",
                "A label is 1, 0, -1 (uncertain) or blank (not mentioned).",
            )
        states[:, k] = _STATES[where.to_numpy()]
    return states


def _unknown_values(
    words: pa.StringArray, understood: pa.Array, column: str
) -> list[str]:
    odd = words.filter(pc.and_(pc.is_valid(words), pc.is_null(understood)))
    if not len(odd):
        return []
    values = "value" if len(odd) == 1 else "values"
    counts = count_values(odd)
    return [f"column {column!r}: {len(odd):,} {values} kept as unknown: {counts}"]
