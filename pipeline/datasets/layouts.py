"""The layouts that can be read, by name; a new one is one more entry here."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from retune.store.errors import ConfigurationError, DatasetError

from .chexpert import find_chexpert_tables, read_chexpert
from .delimited import read_header
from .hospital_table import find_single_table, read_hospital_table, table_columns
from .label_table import LabelTable, Reader, TableOptions, check_label_table
from .nih import find_nih_table, read_nih

__all__ = ["LAYOUTS", "Layout", "read_layout", "recognise"]


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
    """

    name: str
    read: Reader
    recognises: Callable[[Path], bool]
    looks_for: str
    options: frozenset[str] = frozenset({"file"})
    generic: bool = False


def _is_chexpert(root: Path) -> bool:
    # Others call their tables train.csv too; CheXpert's begin with `Path`.
    return any(
        {"Path", "Atelectasis"} <= set(read_header(file))
        for file in find_chexpert_tables(root).values()
    )


def _is_table(root: Path) -> bool:
    file = find_single_table(root)
    return file is not None and "path" in map(str.casefold, table_columns(file))


_ALL = (
    Layout(
        name="nih",
        read=read_nih,
        recognises=lambda root: find_nih_table(root) is not None,
        looks_for="Data_Entry_2017*.csv",
    ),
    Layout(
        name="chexpert",
        read=read_chexpert,
        recognises=_is_chexpert,
        looks_for="train.csv, valid.csv, test.csv, val_labels.csv or test_labels.csv"
        " with the columns Path and Atelectasis, here or in CheXpert-v1.0[-small]/",
    ),
    Layout(
        name="table",
        read=read_hospital_table,
        recognises=_is_table,
        looks_for="a single CSV or Parquet file with a column path",
        options=frozenset(TableOptions.__dataclass_fields__),
        generic=True,
    ),
)

#: Every layout by its name.
LAYOUTS: Final[Mapping[str, Layout]] = MappingProxyType(
    {layout.name: layout for layout in _ALL}
)


def read_layout(name: str, root: Path, options: TableOptions) -> LabelTable:
    """Read the label tables under `root` and check them against the contract.

    Raises:
        ConfigurationError: No such layout, or it does not take an option that is set.
        DatasetError: The tables are not there or cannot be read.
    """
    layout = LAYOUTS.get(name)
    if layout is None:
        raise ConfigurationError(
            f"unknown layout {name!r}", f"Layouts: {', '.join(LAYOUTS)}."
        )
    useless = sorted(options.given() - layout.options)
    if useless:
        raise ConfigurationError(
            f"the layout {name!r} does not take {', '.join(useless)}",
            f"It takes: {', '.join(sorted(layout.options))}. Only 'table' takes all.",
        )
    table = layout.read(root, options)
    check_label_table(table)
    return table


def recognise(root: Path) -> str:
    """The name of the layout that a folder is in.

    Raises:
        DatasetError: None fits, or several do; says what was looked for.
    """
    fitting = [layout for layout in LAYOUTS.values() if layout.recognises(root)]
    special = [layout for layout in fitting if not layout.generic]
    fitting = special or fitting
    if len(fitting) == 1:
        return fitting[0].name
    if fitting:
        names = ", ".join(layout.name for layout in fitting)
        raise DatasetError(
            f"{root} looks like several layouts: {names}", "Choose one with --layout."
        )
    looked_for = "; ".join(f"{one.name}: {one.looks_for}" for one in LAYOUTS.values())
    raise DatasetError(
        f"{root} is in no layout that is known; looked for {looked_for}",
        "Give the folder that holds the label table, or choose with --layout.",
    )
