"""Dates as people write them: ISO, DICOM, day first, month first.

``03.04.2026`` is the third of April; ``03/04/2026`` may be that or the fourth of March.
Which of them a column means is told by its other rows, and if they do not tell, it is
not guessed.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

__all__ = ["DATE_ORDERS", "DateColumn", "DateOrder", "parse_dates", "parse_times"]

DateOrder = Literal["day-first", "month-first"]
DATE_ORDERS: Final = ("day-first", "month-first")

_TIME: Final = r"(?:[T\s]+(?P<time>[\d:.,]+)\s*(?P<half>[AaPp]\.?[Mm]\.?)?)?"
_ZONE: Final = r"(?:Z|\s*[+-]\d\d:?\d\d)?"
_YEAR_FIRST: Final = re.compile(
    r"(?P<year>\d{4})(?P<mark>[-./]?)(?P<month>\d{1,2})(?P=mark)(?P<day>\d{1,2})"
    + _TIME + _ZONE
)  # fmt: skip
_YEAR_LAST: Final = re.compile(
    r"(?P<one>\d{1,2})(?P<mark>[-./])(?P<two>\d{1,2})(?P=mark)(?P<year>\d{4})"
    + _TIME + _ZONE
)  # fmt: skip
_CLOCK: Final = re.compile(
    r"(\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d*)?)?|(\d{2})(\d{2})(\d{2})?(?:[.,]\d*)?"
)
_FIRST_YEAR: Final = 1880


@dataclass(frozen=True)
class DateColumn:
    """A column read as dates.

    Attributes:
        times: Timestamps in microseconds, null where blank or not understood, N.
        odd: Cells that were not understood, shape (N,).
        order: Whether the day or the month stands first; None if no cell asks.
        unclear: Whether cells can be read both ways, and none tells which is meant.
    """

    times: pa.TimestampArray
    odd: npt.NDArray[np.bool_]
    order: DateOrder | None
    unclear: bool = False


def parse_dates(cells: pa.StringArray, order: DateOrder | None = None) -> DateColumn:
    """Read a column as dates, perhaps with times of day; a zone is passed over.

    Args:
        cells: N cells.
        order: Whether the day or the month stands first; None: the column tells.

    >>> parse_dates(pa.array(["31.01.2026", "20260102"])).times.to_pylist()[1]
    datetime.datetime(2026, 1, 2, 0, 0)
    >>> parse_dates(pa.array(["03/04/2026"])).unclear
    True
    >>> parse_dates(pa.array(["03/04/2026", "13/04/2026"])).order
    'day-first'
    """
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(cells))
    written: list[str] = encoded.dictionary.to_pylist()
    asking = [match for word in written if (match := _YEAR_LAST.fullmatch(word))]
    told = order or _order(asking)
    unclear = bool(asking) and told is None
    times = [_date(word, told) for word in written]
    odd = np.array(
        [
            bool(word) and time is None
            for word, time in zip(written, times, strict=True)
        ],
        dtype=bool,
    )
    return DateColumn(
        pa.array(times, pa.timestamp("us")).take(encoded.indices),
        odd[encoded.indices.to_numpy()],
        told if asking else None,
        unclear,
    )


def _order(asking: list[re.Match[str]]) -> DateOrder | None:
    """What the cells of a column tell together; a full stop is written by day first."""
    if not asking:
        return None
    firsts = {int(match["one"]) for match in asking}
    seconds = {int(match["two"]) for match in asking}
    day_first = max(firsts) > 12 or all(match["mark"] == "." for match in asking)
    month_first = max(seconds) > 12
    if day_first == month_first:
        return None
    return "day-first" if day_first else "month-first"


def _date(word: str, order: DateOrder | None) -> datetime | None:
    match = _YEAR_FIRST.fullmatch(word)
    if match:
        year, month, day = match["year"], match["month"], match["day"]
        if not match["mark"] and len(month) + len(day) != 4:
            return None
    else:
        match = _YEAR_LAST.fullmatch(word)
        if match is None or order is None:
            return None
        year = match["year"]
        parts = match["one"], match["two"]
        day, month = parts if order == "day-first" else reversed(parts)
    try:
        date = datetime(int(year), int(month), int(day))
    except ValueError:
        return None
    if date.year < _FIRST_YEAR:
        return None
    if not match["time"]:
        return date
    seconds = _seconds(match["time"], match["half"] or "")
    if seconds is None:
        return None
    return date.replace(
        hour=seconds // 3600, minute=seconds // 60 % 60, second=seconds % 60
    )


def _seconds(text: str, half: str = "") -> int | None:
    """Seconds since midnight; None for what is no time of day.

    >>> _seconds("14:05"), _seconds("140507.000000"), _seconds("25:00")
    (50700, 50707, None)
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        return None
    parts = [part for part in match.groups() if part is not None]
    hour, minute, second = (int(part) for part in (*parts, "0", "0", "0")[:3])
    if half:
        hour = hour % 12 + 12 * (half[0] in "pP")
    if hour > 23 or minute > 59 or second > 59:
        return None
    return hour * 3600 + minute * 60 + second


def parse_times(
    cells: pa.StringArray,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
    """Seconds since midnight, 0 where there is none, and where a cell is none, (N,).

    >>> parse_times(pa.array(["14:05", "", "spät"]))[0].tolist()
    [50700, 0, 0]
    """
    encoded = pc.dictionary_encode(pc.utf8_trim_whitespace(cells))
    written: list[str] = encoded.dictionary.to_pylist()
    seconds_of_day = [_seconds(word) for word in written]
    odd = np.array(
        [
            bool(word) and one is None
            for word, one in zip(written, seconds_of_day, strict=True)
        ],
        dtype=bool,
    )
    seconds = np.array([one or 0 for one in seconds_of_day], dtype=np.int64)
    places = encoded.indices.to_numpy()
    return seconds[places], odd[places]
