"""When pictures were taken: from DICOM headers; shifted where ids are pseudonyms."""

import hmac
import io
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .tables.dates import parse_dates

__all__ = ["dates_from_dicom", "shifted_dates"]

#: Enough for all elements before the pixels of a radiograph.
_HEAD_BYTES: Final = 1 << 18
_DEFLATED: Final = b"1.2.840.10008.1.2.1.99"
#: Pairs of date and time, the first that is there counts.
_TAGS: Final = (
    ("AcquisitionDate", "AcquisitionTime"),
    ("StudyDate", "StudyTime"),
)
_MOST_DAYS: Final = 365
_DAY_MICROSECONDS: Final = 86_400_000_000


def dates_from_dicom(root: Path, paths: Sequence[str]) -> list[datetime | None]:
    """The acquisition or study date of each DICOM file; null where there is none.

    Of each file only its head is read, and of that only dates and times.

    Args:
        root: What the paths are relative to.
        paths: N relative paths.
    """
    return [_taken_at(root / path) for path in paths]


def _taken_at(file: Path) -> datetime | None:
    import pydicom

    try:
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
        if head[128:132] != b"DICM" or _DEFLATED in head[:4096]:
            return None
        header = pydicom.dcmread(
            io.BytesIO(head),
            stop_before_pixels=True,
            specific_tags=[tag for pair in _TAGS for tag in pair],
        )
        for date, time in _TAGS:
            taken_at = _joined(str(header.get(date) or ""), str(header.get(time) or ""))
            if taken_at is not None:
                return taken_at
    # pydicom meets damage with errors of almost any kind; such a file has no date.
    except Exception:  # noqa: BLE001
        return None
    return None


def _joined(date: str, time: str) -> datetime | None:
    """A date with its time of day, if that is one.

    >>> _joined("20260131", "140507.000"), _joined("20260131", "")
    (datetime.datetime(2026, 1, 31, 14, 5, 7), datetime.datetime(2026, 1, 31, 0, 0))
    """
    for text in (f"{date} {time}", date):
        taken_at = parse_dates(pa.array([text])).times[0].as_py()
        if isinstance(taken_at, datetime):
            return taken_at
    return None


def shifted_dates(
    key: bytes, patients: pa.StringArray, times: pa.TimestampArray
) -> pa.TimestampArray:
    """Dates of N pictures, each patient's earlier by his own 1 to 365 days.

    Distances between pictures of one patient and times of day stay as they are.

    Args:
        key: Makes the offsets; another gives others.
        patients: N patient ids, as the table has them.
        times: N timestamps.
    """
    encoded = pc.dictionary_encode(patients)
    days = np.array(
        [_offset_days(key, name) for name in encoded.dictionary.to_pylist()],
        dtype=np.int64,
    )
    offsets = pa.array(days * _DAY_MICROSECONDS, pa.duration("us"))
    return pc.subtract(times, offsets.take(encoded.indices))


def _offset_days(key: bytes, patient: str) -> int:
    digest = hmac.digest(key, f"dates\0{patient}".encode(), "sha256")
    return 1 + int.from_bytes(digest[:8], "big") % _MOST_DAYS
