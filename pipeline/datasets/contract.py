"""The contract between the layouts on disk and everything after them.

A reader turns a folder into one `LabelTable`. It decodes no image and applies no label
policy: what the table says (positive, negative, uncertain, nothing) is what is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Final, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import STATE_NAMES, UNLABELLED
from retune.store.plural import counted

from .table_map import TableMap
from .tables.delimited import CONTROLS, STEERING
from .tables.image_paths import check_paths, row_places

__all__ = [
    "DETAIL_SCHEMA",
    "IMAGE_SCHEMA",
    "OFFICIAL_SPLITS",
    "LabelTable",
    "Reader",
    "TableOptions",
    "check_label_table",
    "check_text",
    "image_columns",
]

OFFICIAL_SPLITS: Final = ("train", "validation", "test")

#: One row per image. `path` is relative to the root, with ``/``; `view` is the data
#: set's own word in upper case; `sex` is F or M; `age` is in years.
IMAGE_SCHEMA: Final = pa.schema(
    [
        pa.field("path", pa.string(), nullable=False),
        pa.field("patient_id", pa.string(), nullable=False),
        pa.field("study_id", pa.string()),
        pa.field("view", pa.string()),
        pa.field("sex", pa.string()),
        pa.field("age", pa.float32()),
        pa.field("official_split", pa.string()),
    ]
)


#: What is known of how a picture was taken, where a table says it.
DETAIL_SCHEMA: Final = pa.schema(
    [
        pa.field("acquired_at", pa.timestamp("us")),
        pa.field("series_id", pa.string()),
        pa.field("device", pa.string()),
        pa.field("site", pa.string()),
    ]
)


@dataclass(frozen=True)
class TableOptions:
    """What a user can say about a label table; each layout takes some of it.

    Attributes:
        file: The table's name in the root, where several would do; CheXpert: names
            with commas between them.
        path_column: Column with the image paths (default ``path``).
        patient_column: Column with the patient ids (default ``patient_id``).
        study_column: Column with the study ids (default ``study_id``, if there is one;
            so for the rest).
        view_column: Column with the projections (default ``view``).
        sex_column: Column with the sexes (default ``sex``).
        age_column: Column with the ages in years (default ``age``).
        split_column: Column with the official split (default ``split``).
        finding_columns: The findings; by default every other column of labels.
            PadChest: canonical names, its own labels, or ``all``.
        votes: Votes of several readers, where a table has them (VinDr-CXR); see
            `vindr`.
        patient_is_image: The table has no patient ids, and each image is to count as a
            patient of its own.
        series_column: Column with the series ids (default ``series_id``).
        birth_date_column: Column with the birth dates, of which and of the study's
            date the age follows; it is not stored.
        date_column: Column with the date, or date and time, of the picture.
        time_column: Column with the time of day of the picture.
        device_column: Column with the device.
        site_column: Column with the site.
        path_prefix: Pairs: how paths begin, and what stands there instead.
        keep: Columns that are kept as they are.
        mapping: What a map says; the options above go before it.
    """

    file: str | None = None
    path_column: str | None = None
    patient_column: str | None = None
    study_column: str | None = None
    view_column: str | None = None
    sex_column: str | None = None
    age_column: str | None = None
    split_column: str | None = None
    finding_columns: tuple[str, ...] | None = None
    votes: str | None = None
    patient_is_image: bool = False
    series_column: str | None = None
    birth_date_column: str | None = None
    date_column: str | None = None
    time_column: str | None = None
    device_column: str | None = None
    site_column: str | None = None
    path_prefix: tuple[tuple[str, str], ...] = ()
    keep: tuple[str, ...] = ()
    mapping: TableMap | None = None

    def given(self) -> frozenset[str]:
        """The names of the options that are set.

        >>> sorted(TableOptions(file="a.csv", patient_is_image=True).given())
        ['file', 'patient_is_image']
        """
        return frozenset(
            field.name
            for field in fields(self)
            if getattr(self, field.name) != field.default
        )


@dataclass(frozen=True)
class LabelTable:
    """N images with the states of K findings, as a layout has them.

    Attributes:
        layout: Name of the layout that was read.
        images: N rows of `IMAGE_SCHEMA`.
        findings: K names, canonical where the vocabulary has them.
        states: (N, K) int8 codes of `retune.store.label_states`.
        warnings: What was odd but usable, each with its count.
        details: N rows of some of `DETAIL_SCHEMA` and of columns that are kept, as
            text; None if there are none.
        understood: Part of the table -> how it was understood, for a person.
        proposal: The same as a map that says all of it.
    """

    layout: str
    images: pa.Table
    findings: tuple[str, ...]
    states: np.ndarray
    warnings: tuple[str, ...] = ()
    details: pa.Table | None = None
    understood: Mapping[str, str] = field(default_factory=dict)
    proposal: TableMap | None = None


class Reader(Protocol):
    """Reads one layout: a root folder and options give a `LabelTable`."""

    def __call__(self, root: Path, options: TableOptions) -> LabelTable:
        """Read the layout under `root`; raise `DatasetError` where that cannot be."""
        ...


def image_columns(
    path: pa.StringArray, patient_id: pa.StringArray, **columns: pa.Array
) -> pa.Table:
    """Lay the columns of `IMAGE_SCHEMA` side by side; those not given are null.

    >>> images = image_columns(pa.array(["a.png"]), pa.array(["1"]))
    >>> images.to_pylist()[0]["view"] is None
    True
    """
    given = {"path": path, "patient_id": patient_id, **columns}
    unknown = set(given) - set(IMAGE_SCHEMA.names)
    if unknown:
        raise TypeError(f"not in IMAGE_SCHEMA: {sorted(unknown)}")
    arrays = [
        given[field.name]
        if field.name in given
        else pa.nulls(len(path), type=field.type)
        for field in IMAGE_SCHEMA
    ]
    return pa.Table.from_arrays(arrays, schema=IMAGE_SCHEMA)


def check_label_table(table: LabelTable) -> None:
    """Check that a reader kept the contract; run on every table that is read.

    Raises:
        DatasetError: Wrong columns, shapes or types; a blank patient id; a path that is
            refused by `check_paths`; a split or a label state that does not exist.
    """
    faults = [
        *_image_faults(table.images), *_detail_faults(table), *_label_faults(table),
    ]  # fmt: skip
    if faults:
        raise DatasetError(
            f"the reader of layout {table.layout!r} broke its contract:"
            f" {'; '.join(faults)}",
            "This is a fault of the reader, not of your files: please report it.",
        )
    check_paths(table.images.column("path").combine_chunks(), row_places)


def check_text(table: LabelTable) -> None:
    """Refuse ids, names and findings that would steer a terminal.

    They are shown by many commands and pages, and no true id has such a character.

    Raises:
        DatasetError: A text has a control character, or one that turns the direction
            of writing; the first is named, escaped, with its image.
    """
    images = table.images
    details = table.details if table.details is not None else pa.table({})
    columns = {
        **{name: images.column(name) for name in ("patient_id", "study_id", "view")},
        **{n: details.column(n) for n in details.column_names if n != "acquired_at"},
    }
    for name, cells in columns.items():
        odd = pc.match_substring_regex(cells, CONTROLS)
        if pc.any(odd).as_py():
            row = pc.index(odd, True).as_py()
            value, path = cells[row].as_py(), images.column("path")[row]
            raise DatasetError(
                f"the {name} {_escaped(value)} of {path.as_py()!r} contains a control"
                " character",
                "Repair this row.",
            )
    for finding in table.findings:
        if STEERING.search(finding):
            raise DatasetError(
                f"the finding {_escaped(finding)} contains a control character",
                "Give the finding a plain name.",
            )


def _escaped(text: str) -> str:
    r"""A text that is safe to show, in quotes.

    >>> _escaped("a\x1bb")
    "'a\\x1bb'"
    """
    return ascii(text)


def _image_faults(images: pa.Table) -> list[str]:
    if images.schema != IMAGE_SCHEMA:
        return [f"image columns {images.schema.names} are not {IMAGE_SCHEMA.names}"]
    faults = [] if images.num_rows else ["no images"]
    for name in ("path", "patient_id"):
        column = images.column(name)
        if column.null_count or pc.any(pc.equal(column, "")).as_py():
            faults.append(f"a {name} is missing")
    for name, allowed in (("sex", ("F", "M")), ("official_split", OFFICIAL_SPLITS)):
        values = set(pc.unique(images.column(name)).to_pylist()) - {None, *allowed}
        if values:
            faults.append(f"{name} holds {sorted(values)}")
    return faults


def _detail_faults(table: LabelTable) -> list[str]:
    details = table.details
    if details is None:
        return []
    faults = []
    if details.num_rows != table.images.num_rows:
        faults.append(f"details have {counted(details.num_rows, 'row')}")
    for one in details.schema:
        wanted = (
            DETAIL_SCHEMA.field(one.name).type
            if one.name in DETAIL_SCHEMA.names
            else pa.string()
        )
        if one.type != wanted or one.name in IMAGE_SCHEMA.names:
            faults.append(f"detail {one.name!r} is {one.type}")
    return faults


def _label_faults(table: LabelTable) -> list[str]:
    states, findings = table.states, table.findings
    faults = []
    if len(set(findings)) != len(findings) or not all(findings):
        faults.append(f"findings are not distinct names: {list(findings)}")
    if not findings:
        faults.append("no findings")
    if states.shape != (table.images.num_rows, len(findings)):
        faults.append(
            f"states have shape {states.shape},"
            f" not {(table.images.num_rows, len(findings))}"
        )
    if states.dtype != np.int8:
        faults.append(f"states are {states.dtype}, not int8")
    strange = np.setdiff1d(states, [*STATE_NAMES, UNLABELLED])
    if strange.size:
        faults.append(f"states hold {strange.tolist()}")
    return faults
