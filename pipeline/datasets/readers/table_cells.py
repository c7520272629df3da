"""What a hospital's table says of persons and pictures, cell by cell."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError, DatasetError

from ..contract import IMAGE_SCHEMA
from ..table_map import TableMap
from ..tables.cells import count_values, text_or_null, translate
from ..tables.dates import DateColumn, DateOrder, parse_dates, parse_times
from ..tables.delimited import TextTable
from ..tables.people import AGE_UNITS, parse_ages, parse_sexes
from .table_notes import TableNotes
from .table_roles import Roles

__all__ = ["StudyDates", "detail_columns", "person_columns"]

#: How hospitals and public data sets write the three splits, in lower case.
_SPLITS: Final[Mapping[str, str]] = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}
#: Names that a kept column would take from the catalog and its views.
_TAKEN: Final = frozenset(
    {
        *IMAGE_SCHEMA.names, "image_id", "dataset", "split", "content_digest",
        "size_bytes", "mtime_ns", "acquired_at", "series_id", "device", "site",
        "fingerprint", "embedding", "shard_id", "row",
    }
)  # fmt: skip
_MICROSECONDS: Final = 1_000_000
_DAYS_OF_A_YEAR: Final = 365.2425
_UNKNOWN: Final = "kept as unknown"


@dataclass(frozen=True)
class StudyDates:
    """The dates of a table, read together: one column tells the order of another.

    Attributes:
        birth: Birth dates; None without such a column.
        study: Dates of the pictures; None without such a column.
        order: Whether the day or the month stands first, where a date asks for it.
    """

    birth: DateColumn | None = None
    study: DateColumn | None = None
    order: DateOrder | None = None


def detail_columns(
    table: TextTable,
    roles: Roles,
    mapping: TableMap,
    keep: Sequence[str],
    notes: TableNotes,
) -> tuple[pa.Table | None, StudyDates]:
    """How the pictures were taken, and columns that are kept as text.

    Raises:
        ConfigurationError: A column to keep has the name of one of the catalog.
        DatasetError: A column to keep is not there.
    """
    dates = _dates(table, roles, mapping, notes)
    columns: dict[str, pa.Array] = {}
    if dates.study is not None:
        columns["acquired_at"] = _with_times(table, roles, dates.study, notes)
    for role in ("series_id", "device", "site"):
        name = roles[role]
        if name is not None:
            columns[role] = _words(table, name, mapping)
    for name in dict.fromkeys((*mapping.keep, *keep)):
        column = _kept(table, name)
        same = {role for role, used in roles.columns.items() if used == column}
        if column.casefold() in same & _TAKEN:
            continue  # the catalog has it under this very name
        if column.casefold() in _TAKEN:
            raise ConfigurationError(
                f"the column {column!r} cannot be kept: the catalog has its own",
                "Give the column another name in the table.",
            )
        columns[column] = _words(table, column, mapping)
    return (pa.table(columns) if columns else None), dates


def _kept(table: TextTable, name: str) -> str:
    names = table.cells.column_names
    alike = [column for column in names if column.casefold() == name.casefold()]
    column = name if name in names else alike[0] if len(alike) == 1 else name
    table.require([column])
    return column


def _words(table: TextTable, column: str, mapping: TableMap) -> pa.StringArray:
    """Trimmed text, null where blank, with the words that the map replaces."""
    words = text_or_null(table.column(column))
    given = mapping.values.get(column)
    if not given:
        return words
    there = pc.is_in(words, value_set=pa.array(list(given), pa.string()))
    return pc.if_else(there, text_or_null_of(translate(words, given)), words)


def text_or_null_of(words: pa.StringArray) -> pa.StringArray:
    """Null where blank; null stays null.

    >>> text_or_null_of(pa.array(["", None, "a"])).to_pylist()
    [None, None, 'a']
    """
    return pc.if_else(pc.equal(words, ""), pa.scalar(None, pa.string()), words)


def _dates(
    table: TextTable, roles: Roles, mapping: TableMap, notes: TableNotes
) -> StudyDates:
    given: DateOrder | None = mapping.dates  # type: ignore[assignment]  # checked there
    columns: dict[str, DateColumn] = {}
    names = {role: roles[role] for role in ("birth_date", "date")}
    for role, name in names.items():
        if name is not None:
            columns[role] = parse_dates(table.column(name), given)
    orders = {one.order for one in columns.values() if one.order}
    order = given or (next(iter(orders)) if len(orders) == 1 else None)
    for role, one in list(columns.items()):
        name = names[role]
        assert name is not None
        cells = table.column(name)
        if one.unclear and order is not None:
            columns[role] = one = parse_dates(cells, order)
        if one.unclear:
            notes.lines.append(
                f"column {name!r}: the day or the month may stand first; such dates "
                "are kept as unknown; say `dates: day-first` or month-first in a map "
                "(`mapping`)"
            )
        notes.odd(name, cells, one.odd, _UNKNOWN)
    return StudyDates(columns.get("birth_date"), columns.get("date"), order)


def _with_times(
    table: TextTable, roles: Roles, study: DateColumn, notes: TableNotes
) -> pa.TimestampArray:
    name = roles["time"]
    if name is None:
        return study.times
    seconds, odd = parse_times(table.column(name))
    notes.odd(name, table.column(name), odd, _UNKNOWN)
    days = pc.floor_temporal(study.times, unit="day")
    added = pa.array(seconds * _MICROSECONDS, pa.duration("us"))
    return pc.if_else(pa.array(seconds > 0), pc.add(days, added), study.times)


def person_columns(
    table: TextTable,
    roles: Roles,
    mapping: TableMap,
    dates: StudyDates,
    notes: TableNotes,
) -> tuple[dict[str, pa.Array], dict[str, str]]:
    """Columns of `IMAGE_SCHEMA` about persons, and how they were understood."""
    columns: dict[str, pa.Array] = {}
    understood: dict[str, str] = {}
    if name := roles["study_id"]:
        columns["study_id"] = text_or_null(table.column(name))
    if name := roles["view"]:
        columns["view"] = _views(_words(table, name, mapping))
    if name := roles["sex"]:
        cells = table.column(name)
        columns["sex"], odd, meanings = parse_sexes(
            cells, name, mapping.values.get(name)
        )
        notes.odd(name, cells, odd, _UNKNOWN)
        if meanings:
            pairs = sorted(meanings.items())
            understood["sex means"] = ", ".join(f"{a} {b}" for a, b in pairs)
    if roles["age"] or dates.birth is not None:
        columns["age"], how = _ages(table, roles, mapping, dates, notes)
        understood["age means"] = how
    if name := roles["split"]:
        columns["official_split"] = _splits(table, name)
    if dates.order:
        understood["dates"] = dates.order
    return columns, understood


def _views(words: pa.StringArray) -> pa.StringArray:
    """Upper case; ``p.a.`` is PA."""
    words = pc.utf8_upper(words)
    dotted = pc.match_substring_regex(words, r"^[AP][.\-/ ]+[AP][.]?$")
    plain = pc.replace_substring_regex(words, r"[.\-/ ]+", "")
    return pc.if_else(dotted, plain, words)


def _ages(
    table: TextTable,
    roles: Roles,
    mapping: TableMap,
    dates: StudyDates,
    notes: TableNotes,
) -> tuple[pa.FloatArray, str]:
    """Ages in years: as written, and from the dates where none is written."""
    name = roles["age"]
    ages = pa.nulls(table.cells.num_rows, pa.float32())
    how = []
    if name is not None:
        unit = mapping.units.get("age", "years")
        ages, odd = parse_ages(table.column(name), AGE_UNITS[unit])
        notes.odd(name, table.column(name), odd, _UNKNOWN)
        how.append(unit)
    birth = roles["birth_date"]
    if dates.birth is not None and birth is not None:
        if dates.study is None:
            notes.lines.append(
                f"column {birth!r}: without a date of the study no age follows"
            )
            return ages, ", ".join(how) or "nothing"
        counted, odd = _completed_years(dates.birth.times, dates.study.times)
        notes.odd(birth, table.column(birth), odd, "give no age")
        ages = pc.coalesce(ages, counted)
        how.append("from the birth date")
    return ages, ", ".join(how)


def _completed_years(
    births: pa.TimestampArray, studies: pa.TimestampArray
) -> tuple[pa.FloatArray, npt.NDArray[np.bool_]]:
    """Completed years, of a baby parts of a year; and where there is no such age."""
    days = pc.cast(pc.days_between(births, studies), pa.float64())
    years = pc.subtract(pc.year(studies), pc.year(births))
    early = pc.less(_day_of_year(studies), _day_of_year(births))
    whole = pc.cast(pc.subtract(years, pc.cast(early, pa.int64())), pa.float64())
    age = pc.if_else(pc.less(whole, 1), pc.divide(days, _DAYS_OF_A_YEAR), whole)
    possible = pc.and_(pc.greater_equal(days, 0), pc.less_equal(whole, 120))
    odd = pc.fill_null(pc.invert(possible), False).to_numpy(zero_copy_only=False)
    kept = pc.if_else(possible, age, pa.scalar(None, pa.float64()))
    return pc.cast(kept, pa.float32()), np.asarray(odd, dtype=bool)


def _day_of_year(times: pa.TimestampArray) -> pa.Int64Array:
    """Month and day as one number that grows through the year."""
    return pc.add(pc.multiply(pc.month(times), 100), pc.day(times))


def _splits(table: TextTable, column: str) -> pa.StringArray:
    """Official splits; blank becomes null, and any other word is an error."""
    words = text_or_null(table.column(column))
    sides = translate(pc.utf8_lower(words), _SPLITS)
    unknown = pc.and_(pc.is_null(sides), pc.is_valid(words))
    if pc.any(unknown).as_py():
        row = pc.index(unknown, True).as_py()
        raise DatasetError(
            f"{table.places([row])[0]}, column {column!r}: not a split:"
            f" {count_values(words.filter(unknown))}",
            f"A split is one of {', '.join(_SPLITS)}, or blank.",
        )
    return sides
