"""How a dataset's table was understood, kept for the next ingest."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from os import PathLike
from pathlib import Path
from typing import Any

from retune.store import FeatureStore
from retune.store.errors import StoreNotFoundError
from retune.store.hidden_paths import dataset_folder
from retune.store.queries.readings import find_readings

from ...datasets.contract import TableOptions
from ...datasets.table_map import TableMap, map_from

__all__ = [
    "Remembered",
    "as_reading",
    "hidden_paths_file",
    "joined_options",
    "remembered",
]


@dataclass(frozen=True)
class Remembered:
    """What a store remembers of a dataset.

    Attributes:
        dataset: Its name.
        layout: The layout that it was read as.
        options: The options that it was read with.
        understood: Part of the table -> how it was understood.
        dates_from_dicom: Whether dates came from DICOM files.
        split_seed: Split seed of the patient hash that made its splits.
    """

    dataset: str
    layout: str
    options: TableOptions = field(default_factory=TableOptions)
    understood: Mapping[str, str] = field(default_factory=dict)
    dates_from_dicom: bool = False
    split_seed: int = 0


def remembered(
    store: str | PathLike[str], root: Path, dataset: str | None, layout: str | None
) -> Remembered | None:
    """What is remembered of the dataset that is meant; None if there is none.

    Args:
        store: Folder of the store; it need not be there.
        root: The dataset's folder.
        dataset: Its name; None: the only one that was read from this folder.
        layout: Its layout; None: any.
    """
    try:
        known = find_readings(FeatureStore(store))
    except StoreNotFoundError:
        return None
    if dataset is not None:
        meant = [one for one in known if one.dataset == dataset]
    else:
        meant = [one for one in known if one.root == str(root.resolve())]
    meant = [one for one in meant if layout is None or one.layout == layout]
    if len(meant) != 1:
        return None
    (one,) = meant
    plain = json.loads(one.reading) if one.reading else {}
    return Remembered(
        one.dataset,
        one.layout,
        _options(plain.get("options", {})),
        plain.get("understood", {}),
        bool(plain.get("dates_from_dicom")),
        one.split_seed,
    )


def hidden_paths_file(
    store: str | PathLike[str], root: Path, dataset: str | None
) -> Path | None:
    """The file that hides the paths of a dataset of this folder; None if none does.

    Args:
        store: Folder of the store; it need not be there.
        root: The dataset's folder.
        dataset: Its name; None: any that was read from this folder.
    """
    try:
        known = find_readings(FeatureStore(store))
    except StoreNotFoundError:
        return None
    folder = str(root.resolve())
    files = [
        one.root
        for one in known
        if dataset in (None, one.dataset)
        and one.root != folder
        and dataset_folder(one.root) == folder
    ]
    return Path(files[0]) if files else None


def _options(plain: Mapping[str, Any]) -> TableOptions:
    """Options from JSON; those that this version does not know are passed over."""
    known = {one.name for one in fields(TableOptions)}
    given: dict[str, Any] = {}
    for name, value in plain.items():
        if name == "mapping":
            given[name] = map_from(value, "what the store remembers")
        elif name == "path_prefix":
            given[name] = tuple((str(old), str(new)) for old, new in value)
        elif name in known:
            given[name] = tuple(value) if isinstance(value, list) else value
    return TableOptions(**given)


def joined_options(given: TableOptions, before: TableOptions) -> TableOptions:
    """What was said now, and what was said before where nothing is said now.

    A map says all there is to say: with one, nothing from earlier counts.
    """
    if given.mapping is not None:
        return given
    named = given.given()
    return replace(before, **{name: getattr(given, name) for name in named})


def as_reading(
    options: TableOptions,
    understood: Mapping[str, str],
    dates: str | None,
    *,
    dates_from_dicom: bool,
) -> str | None:
    """JSON of what the next ingest must know; None if there is nothing.

    Args:
        options: What was said.
        understood: How the table was understood.
        dates: The order of day and month that was found.
        dates_from_dicom: Whether dates came from DICOM files.
    """
    if dates and not (options.mapping and options.mapping.dates):
        mapping = replace(options.mapping or TableMap(), dates=dates)
        options = replace(options, mapping=mapping)
    plain: dict[str, Any] = {}
    for name in sorted(options.given()):
        value = getattr(options, name)
        plain[name] = value.as_json() if isinstance(value, TableMap) else value
    reading = {
        "options": plain,
        "understood": dict(understood),
        "dates_from_dicom": dates_from_dicom,
    }
    if not any(reading.values()):
        return None
    return json.dumps(reading, ensure_ascii=False)
