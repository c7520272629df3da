"""PadChest: one table of 160,861 images with lists of labels, and 16-bit PNG files.

The table is in Spanish and English; `Labels` is a Python list written as text. Nothing
of it is evaluated.
"""

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted

from ...findings import VOCABULARY, known_spelling
from ..arrangements import choose_arrangement
from ..contract import LabelTable, TableOptions, image_columns
from ..tables.cells import ages, required_ids, sexes, text_or_null
from ..tables.delimited import TextTable, read_csv
from ..tables.image_paths import check_paths, tidy_paths
from ..tables.listed_labels import TokenMap, count_tokens, read_lists
from ..tables.packed import find_tables
from .padchest_tokens import NORMAL, OTHER_TOKENS, PADCHEST_TOKENS, SILENT

__all__ = ["find_padchest_table", "parse_list", "read_padchest"]

_PATTERN: Final = "PADCHEST_chest_x_ray_images_labels*.csv"
_IMAGE, _FOLDER, _PATIENT, _STUDY = "ImageID", "ImageDir", "PatientID", "StudyID"
_SEX, _BIRTH, _DATE = "PatientSex_DICOM", "PatientBirth", "StudyDate_DICOM"
_VIEW, _LABELS = "Projection", "Labels"
_REQUIRED: Final = (_IMAGE, _FOLDER, _STUDY, _PATIENT, _BIRTH, _SEX, _VIEW, _LABELS)
#: Canonical findings that PadChest labels, in the order of the vocabulary.
_CANONICAL: Final = tuple(
    name
    for name in VOCABULARY
    if any(name in names for names in PADCHEST_TOKENS.values())
)
_LONGEST_LIST: Final = 10_000


def find_padchest_table(root: Path) -> Path | None:
    """PadChest's label table in `root`, packed or not, or None where there is none."""
    return next(iter(find_tables(root, _PATTERN)), None)


def parse_list(text: str) -> list[str]:
    """A Python list of strings as PadChest writes it; blank and ``nan`` are empty.

    Raises:
        ValueError: It is something else.

    >>> parse_list("['pneumonia', ' cardiomegaly', '']")
    ['pneumonia', ' cardiomegaly', '']
    >>> parse_list("nan")
    []
    """
    if text.strip() in ("", "nan"):
        return []
    if len(text) > _LONGEST_LIST:
        raise ValueError(f"{len(text):,} characters")
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise ValueError("not a Python list") from error
    if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
        raise ValueError("not a list of texts")
    return value


def read_padchest(root: Path, options: TableOptions) -> LabelTable:
    """Read PadChest.

    Findings are those of the vocabulary that its labels stand for. `finding_columns`
    names others instead: canonical ones, PadChest's own labels, or ``all``.

    Raises:
        ConfigurationError: A finding that was asked for is none of PadChest's.
        DatasetError: There is no label table, or it cannot be read.
    """
    file = root / options.file if options.file else find_padchest_table(root)
    if file is None:
        raise DatasetError(
            f"{root} holds no {_PATTERN}",
            "Give the folder that holds PadChest's label table.",
        )
    table = read_csv(file)
    table.require(_REQUIRED)
    meaning = _meaning(options.finding_columns)
    findings = tuple(
        dict.fromkeys(name for names in meaning.values() for name in names)
    )
    findings = tuple(sorted(findings, key=_rank))
    known = {**dict.fromkeys([*OTHER_TOKENS, *PADCHEST_TOKENS], ()), **meaning}
    tokens = TokenMap(known.get, NORMAL, SILENT)
    labels = read_lists(
        table.column(_LABELS), parse_list, tokens, findings, table.places
    )
    warnings = labels.warnings(f"column {_LABELS!r}")
    if labels.unread:
        warnings.append(
            f"{counted(len(labels.unread), 'label', 'are')} not among the findings "
            "(`findings` names or "
            f"'all' reads them): {count_tokens(labels.unread, 5)}"
        )
    images, odd = _images(root, table)
    return LabelTable("padchest", images, findings, labels.states, (*warnings, *odd))


def _rank(finding: str) -> tuple[int, str]:
    rank = VOCABULARY.index(finding) if finding in VOCABULARY else len(VOCABULARY)
    return rank, finding


def _meaning(wanted: tuple[str, ...] | None) -> Mapping[str, tuple[str, ...]]:
    """Token -> findings that are in use."""
    if wanted is None:
        return PADCHEST_TOKENS
    # A label that is no finding of the vocabulary is a finding under its own name.
    own = {token: token[0].upper() + token[1:] for token in OTHER_TOKENS}
    if [name.casefold() for name in wanted] == ["all"]:
        return {**PADCHEST_TOKENS, **{token: (name,) for token, name in own.items()}}
    names: set[str] = set()
    for name in wanted:
        spelling = known_spelling(name, [*_CANONICAL, *own.values()])
        if spelling is None:
            raise ConfigurationError(
                f"PadChest has no finding {name!r}",
                f"It has {', '.join(_CANONICAL)}, and by its own labels "
                f"{', '.join(OTHER_TOKENS)}; or say all.",
            )
        names.add(spelling)
    chosen = {
        token: tuple(name for name in meaning if name in names)
        for token, meaning in PADCHEST_TOKENS.items()
    }
    return chosen | {token: (name,) for token, name in own.items() if name in names}


def _images(root: Path, table: TextTable) -> tuple[pa.Table, list[str]]:
    names = tidy_paths(table.column(_IMAGE))
    check_paths(names, table.places)
    in_folders = pc.binary_join_element_wise(table.column(_FOLDER), names, "/")
    paths = choose_arrangement(
        root,
        [in_folders, names, pc.binary_join_element_wise("images", names, "/")],
    )
    sex, sex_odd = sexes(_not_nan(table.column(_SEX)), _SEX)
    age, age_odd = _ages(table)
    images = image_columns(
        path=paths,
        patient_id=required_ids(table, _PATIENT),
        study_id=text_or_null(table.column(_STUDY)),
        view=pc.utf8_upper(text_or_null(_not_nan(table.column(_VIEW)))),
        sex=sex,
        age=age,
    )
    return images, [*sex_odd, *age_odd]


def _not_nan(values: pa.StringArray) -> pa.StringArray:
    return pc.if_else(pc.equal(values, "nan"), "", values)


def _ages(table: TextTable) -> tuple[pa.Array, list[str]]:
    """Year of the study less year of birth: all that PadChest publishes."""
    if _DATE not in table.cells.column_names:
        return pa.nulls(table.cells.num_rows, pa.float32()), []
    born = pc.struct_field(
        pc.extract_regex(table.column(_BIRTH), r"^(?P<year>\d{4})(?:\.0)?$"), "year"
    )
    taken = pc.struct_field(
        pc.extract_regex(table.column(_DATE), r"^(?P<year>\d{4})\d{4}$"), "year"
    )
    years = pc.subtract(pc.cast(taken, pa.int32()), pc.cast(born, pa.int32()))
    years = pc.cast(years, pa.string())
    return ages(pc.fill_null(years, ""), f"{_DATE} less {_BIRTH}")
