"""The layouts that can be read, by name; a new one is one more entry here.

Another package adds one by an entry point in the group ``retune.layouts`` that names a
`Layout`; it goes through the same checks.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from types import MappingProxyType
from typing import Final

from retune.store.errors import ConfigurationError, DatasetError

from ..findings import ALIASES, CHEXPERT_TOKENS, NIH_TOKENS
from .contract import LabelTable, Reader, TableOptions, check_label_table, check_text
from .readers.brax import find_brax_table, read_brax
from .readers.chexpert import find_chexpert_tables, read_chexpert
from .readers.chexpert_plus import find_chexpert_plus_table, read_chexpert_plus
from .readers.hospital_table import (
    find_single_table,
    read_hospital_table,
    table_columns,
)
from .readers.mimic import find_mimic_table, read_mimic
from .readers.nih import find_nih_table, read_nih
from .readers.openi import OPENI_HEADINGS, find_openi_reports, read_openi
from .readers.padchest import find_padchest_table, read_padchest
from .readers.padchest_tokens import PADCHEST_TOKENS
from .readers.table_roles import names_path
from .readers.vindr import VINDR_TOKENS, find_vindr_tables, read_vindr
from .tables.delimited import read_header
from .tables.packed import find_tables

__all__ = ["LAYOUTS", "Layout", "known_layouts", "read_layout", "recognise"]


@dataclass(frozen=True)
class Layout:
    """One way in which label tables lie on disk.

    Attributes:
        name: What users call it.
        read: Reads it.
        recognises: Whether a folder looks like it; cheap, no table is read in full.
        looks_for: The same in words, for messages.
        options: The fields of `TableOptions` that the reader understands.
        generic: Fits many tables; only considered where no other layout fits.
        tokens: How the data set writes a finding -> canonical findings.
        population: Whose patients these are: in two datasets of one population, equal
            ids are one patient. None: each dataset has its own. If it is left out, the
            layout's name.
    """

    name: str
    read: Reader
    recognises: Callable[[Path], bool]
    looks_for: str
    options: frozenset[str] = frozenset({"file"})
    generic: bool = False
    tokens: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    population: str | None = ""

    def __post_init__(self) -> None:
        if self.population == "":
            object.__setattr__(self, "population", self.name)


def _single(tokens: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    return {token: (name,) for token, name in tokens.items()}


def _is_chexpert(root: Path) -> bool:
    # Others call their tables train.csv too; CheXpert's begin with `Path`.
    return any(
        {"Path", "Atelectasis"} <= set(read_header(file))
        for file in find_chexpert_tables(root).values()
    )


def _is_table(root: Path) -> bool:
    file = find_single_table(root)
    return file is not None and names_path(table_columns(file))


_ALL = (
    Layout(
        name="nih",
        read=read_nih,
        recognises=lambda root: find_nih_table(root) is not None,
        looks_for="Data_Entry_2017*.csv, or [sample/]sample_labels.csv",
        tokens=_single(NIH_TOKENS),
    ),
    Layout(
        name="chexpert",
        read=read_chexpert,
        recognises=_is_chexpert,
        looks_for="train.csv, valid.csv, test.csv, val_labels.csv or test_labels.csv"
        " with the columns Path and Atelectasis, here or in CheXpert[-v1.0[-small]]/ or"
        " 'CheXpert-v1.0 batch 1 (validate & csv)'/",
        tokens=_single(CHEXPERT_TOKENS),
    ),
    Layout(
        name="chexpert-plus",
        read=read_chexpert_plus,
        recognises=lambda root: find_chexpert_plus_table(root) is not None,
        looks_for="df_chexpert_plus*.csv",
        population="chexpert",
        tokens=_single(CHEXPERT_TOKENS),
    ),
    Layout(
        name="mimic",
        read=read_mimic,
        recognises=lambda root: find_mimic_table(root, "metadata") is not None,
        looks_for="mimic-cxr-2*-metadata.csv",
        tokens=_single(CHEXPERT_TOKENS),
    ),
    Layout(
        name="padchest",
        read=read_padchest,
        recognises=lambda root: find_padchest_table(root) is not None,
        looks_for="PADCHEST_chest_x_ray_images_labels*.csv",
        options=frozenset({"file", "finding_columns"}),
        tokens=PADCHEST_TOKENS,
    ),
    Layout(
        name="vindr",
        read=read_vindr,
        recognises=lambda root: bool(find_vindr_tables(root)),
        looks_for="train.csv with the columns image_id, rad_id and class_name, or"
        " [annotations/]image_labels_{train,test}.csv",
        options=frozenset({"file", "votes"}),
        tokens=_single(VINDR_TOKENS),
    ),
    Layout(
        name="openi",
        read=read_openi,
        recognises=lambda root: bool(
            find_tables(root, "indiana_reports.csv") or find_openi_reports(root)
        ),
        looks_for="indiana_reports.csv, or [ecgen-radiology/]1.xml and so on",
        options=frozenset(),
        tokens=OPENI_HEADINGS,
    ),
    Layout(
        name="brax",
        read=read_brax,
        recognises=lambda root: find_brax_table(root) is not None,
        looks_for="master_spreadsheet*.csv",
        tokens=_single(CHEXPERT_TOKENS),
    ),
    Layout(
        name="table",
        read=read_hospital_table,
        recognises=_is_table,
        looks_for="a single CSV, Excel or Parquet file with a column path",
        options=frozenset(TableOptions.__dataclass_fields__) - {"votes"},
        generic=True,
        population=None,
        tokens=_single(ALIASES),
    ),
)

#: Our own layouts by name.
LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {layout.name: layout for layout in _ALL}
)


def known_layouts() -> dict[str, Layout]:
    """Our own layouts and those of installed packages, by name; ours come first.

    Raises:
        ConfigurationError: A package's layout cannot be imported, or is none.
    """
    readers = dict(LAYOUTS)
    for point in entry_points(group="retune.layouts"):
        try:
            layout = point.load()
        except (ImportError, AttributeError) as error:
            raise ConfigurationError(
                f"the layout {point.name} of an installed package cannot be imported: "
                f"{error}",
                f"It is {point.value}; install that package again.",
            ) from error
        if not isinstance(layout, Layout) or layout.name != point.name:
            raise ConfigurationError(
                f"{point.value} of an installed package is no layout {point.name!r}",
                "Such an entry point has the name of the Layout that it names.",
            )
        readers.setdefault(point.name, layout)
    return readers


def read_layout(name: str, root: Path, options: TableOptions) -> LabelTable:
    """Read the label tables under `root` and check them against the contract.

    Raises:
        ConfigurationError: No such layout, or it does not take an option that is set.
        DatasetError: The tables are not there, cannot be read or exceed the memory.
    """
    layouts = known_layouts()
    layout = layouts.get(name)
    if layout is None:
        raise ConfigurationError(
            f"unknown layout {name!r}", f"Layouts: {', '.join(layouts)}."
        )
    useless = sorted(options.given() - layout.options)
    if useless:
        raise ConfigurationError(
            f"the layout {name!r} does not take {_as_typed(useless)}",
            f"It takes {_as_typed(layout.options) or 'none of these options'}."
            " Only 'table' takes all that name columns.",
        )
    try:
        table = layout.read(root, options)
    except MemoryError as error:
        raise DatasetError(
            f"the label tables in {root} need more memory than there is",
            "Check that they are what you mean; a few kilobytes of gzip can unpack to "
            "gigabytes. Otherwise use a machine with more memory.",
        ) from error
    check_label_table(table)
    check_text(table)
    return table


def _as_typed(options: Iterable[str]) -> str:
    """Fields of `TableOptions` under the names that users give them."""
    called = {"finding_columns": "findings"}
    names = [called.get(name, name) for name in options]
    return ", ".join(f"`{name}`" for name in sorted(names))


def recognise(root: Path) -> str:
    """The name of the layout that a folder is in.

    Raises:
        DatasetError: None fits, or several do; says what was looked for.
    """
    layouts = known_layouts().values()
    special, generic = (
        [layout for layout in layouts if layout.generic is is_generic]
        for is_generic in (False, True)
    )
    fitting = [layout for layout in special if layout.recognises(root)]
    fitting = fitting or [layout for layout in generic if layout.recognises(root)]
    if len(fitting) == 1:
        return fitting[0].name
    if fitting:
        names = ", ".join(layout.name for layout in fitting)
        raise DatasetError(
            f"{root} looks like several layouts: {names}", "Choose one with `layout`."
        )
    looked_for = "".join(f"\n  {one.name}: {one.looks_for}" for one in layouts)
    raise DatasetError(
        f"{root} is in no layout that is known; it holds {_content(root)}.\n"
        f"Looked for, gzipped (.csv.gz) or not{looked_for}",
        "Give the folder that holds the label table, or choose with `layout`.",
    )


def _content(root: Path, most: int = 5) -> str:
    """The first names in a folder, those of folders with a slash."""
    entries = sorted(root.iterdir(), key=lambda entry: (entry.is_dir(), entry.name))
    names = [entry.name + "/" * entry.is_dir() for entry in entries[:most]]
    return ", ".join(names) + f" and {len(entries) - most:,} more" * (
        len(entries) > most
    )
