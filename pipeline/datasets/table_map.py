"""How a hospital's table is to be understood: a file that a person can edit.

It says which column plays which part, what words and findings mean, and in which units
numbers are. `retune-cli ingest --propose` writes one.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Final

import yaml

from retune.store.errors import ConfigurationError

from .tables.dates import DATE_ORDERS
from .tables.label_words import LABEL_STATES
from .tables.people import AGE_UNITS

__all__ = ["ROLES", "TableMap", "label_words", "load_map", "map_from"]

#: Parts that a column can play, in the order in which they are written.
ROLES: Final = (
    "path", "patient_id", "study_id", "series_id", "view", "sex", "age", "birth_date",
    "date", "time", "device", "site", "split",
)  # fmt: skip
_MOST_BYTES: Final = 1 << 20
_HINT: Final = (
    "`retune-cli ingest ROOT --layout table --propose` writes such a file to edit."
)


@dataclass(frozen=True)
class TableMap:
    """How a table is to be understood; what is left out is found in the table.

    Attributes:
        columns: Part, one of `ROLES` -> column.
        findings: The columns that are findings; None: all that look like labels.
        aliases: Column or name of a finding -> what it is called here.
        values: Column -> word in its cells -> what it means: ``positive``,
            ``negative``, ``uncertain``, ``absent`` or ``unlabelled`` for findings,
            ``F``, ``M`` or blank for a sex, any word for others.
        units: ``age`` -> ``years``, ``months``, ``weeks`` or ``days``.
        dates: ``day-first`` or ``month-first``; None: the dates tell.
        encoding: Encoding of a text file; None: it is found.
        sheet: Sheet of a workbook; None: the first that is filled in.
        path_prefix: Beginning of paths -> what stands there instead.
        keep: Columns that are kept as they are.
        ignore: Columns that are not read.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    findings: tuple[str, ...] | None = None
    aliases: Mapping[str, str] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    units: Mapping[str, str] = field(default_factory=dict)
    dates: str | None = None
    encoding: str | None = None
    sheet: str | None = None
    path_prefix: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """What is said, as plain values.

        >>> TableMap(dates="day-first").as_json()
        {'dates': 'day-first'}
        """
        plain: dict[str, Any] = {}
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, Mapping):
                value = {
                    key: dict(item) if isinstance(item, Mapping) else item
                    for key, item in value.items()
                }
            elif isinstance(value, tuple):
                value = list(value)
            if value or (one.name == "findings" and value is not None):
                plain[one.name] = value
        return plain


class _PlainLoader(yaml.SafeLoader):
    """YAML without aliases, and in which yes, no and dates are words."""

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Refuse references, which a small file can nest without end."""
        if self.check_event(yaml.AliasEvent):
            event = self.peek_event()  # type: ignore[no-untyped-call]
            raise yaml.MarkedYAMLError(
                None, None, "references are not allowed", event.start_mark
            )
        return super().compose_node(parent, index)


_PlainLoader.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] == "tag:yaml.org,2002:null"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def load_map(file: Path) -> TableMap:
    """Read a map.

    Raises:
        ConfigurationError: It cannot be read, is no YAML, or says what no map says.
    """
    try:
        with file.open("rb") as stream:
            content = stream.read(_MOST_BYTES + 1)
        if len(content) > _MOST_BYTES:
            raise ConfigurationError(
                f"{file} has more than {_MOST_BYTES:,} bytes, which no map has", _HINT
            )
        plain = yaml.load(content.decode("utf-8-sig"), _PlainLoader)  # noqa: S506 - safe
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigurationError(f"cannot read {file}: {reason}", _HINT) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        said = " ".join(str(error).split())
        raise ConfigurationError(f"{file} is no map: {said!a}", _HINT) from error
    return map_from(plain if plain is not None else {}, str(file))


def map_from(plain: object, where: str) -> TableMap:
    """Check plain values, such as a YAML file holds.

    Args:
        plain: What it says.
        where: For messages: where it stands.

    Raises:
        ConfigurationError: It says what no map says.

    >>> map_from({"columns": {"sex": "Geschlecht"}}, "m.yaml").columns["sex"]
    'Geschlecht'
    """
    top = _mapping(plain, where)
    known = {one.name for one in fields(TableMap)}
    for key in top:
        if key not in known:
            raise _wrong(where, f"{key!r} is no part of a map", sorted(known))
    columns = _texts(top.get("columns"), f"{where}: columns")
    for role in columns:
        if role not in ROLES:
            raise _wrong(f"{where}: columns", f"no part {role!r}", ROLES)
    units = _texts(top.get("units"), f"{where}: units")
    for name, unit in units.items():
        if name != "age" or unit not in AGE_UNITS:
            raise _wrong(f"{where}: units", f"no unit {name}: {unit}", list(AGE_UNITS))
    dates = _text(top.get("dates"), f"{where}: dates")
    if dates and dates not in DATE_ORDERS:
        raise _wrong(f"{where}: dates", f"{dates!r}", DATE_ORDERS)
    values = {
        column: _texts(words, f"{where}: values: {column}", blank=True)
        for column, words in _mapping(top.get("values"), f"{where}: values").items()
    }
    findings = top.get("findings")
    return TableMap(
        columns=columns,
        findings=None if findings is None else _list(findings, f"{where}: findings"),
        aliases=_texts(top.get("aliases"), f"{where}: aliases"),
        values=values,
        units=units,
        dates=dates,
        encoding=_text(top.get("encoding"), f"{where}: encoding"),
        sheet=_text(top.get("sheet"), f"{where}: sheet"),
        path_prefix=_texts(top.get("path_prefix"), f"{where}: path_prefix", blank=True),
        keep=_list(top.get("keep"), f"{where}: keep"),
        ignore=_list(top.get("ignore"), f"{where}: ignore"),
    )


def label_words(mapping: TableMap, column: str) -> dict[str, int]:
    """What a map says of the words of a finding's column.

    Raises:
        ConfigurationError: A word is to mean what no label means.
    """
    states = {}
    for word, meaning in mapping.values.get(column, {}).items():
        if meaning not in LABEL_STATES:
            raise _wrong(
                f"values: {column}", f"{word!r} cannot mean {meaning!r}",
                list(LABEL_STATES),
            )  # fmt: skip
        states[word] = LABEL_STATES[meaning]
    return states


def _wrong(where: str, what: str, known: "tuple[str, ...] | list[str]") -> Exception:
    return ConfigurationError(f"{where}: {what}; there is: {', '.join(known)}", _HINT)


def _mapping(value: object, where: str) -> dict[str, object]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise ConfigurationError(f"{where}: this is no list of `name: value`", _HINT)
    return {_text(key, where) or "": item for key, item in value.items()}


def _texts(value: object, where: str, *, blank: bool = False) -> dict[str, str]:
    texts = {}
    for key, item in _mapping(value, where).items():
        text = _text(item, f"{where}: {key}")
        if text or blank:
            texts[key] = text or ""
    return texts


def _text(value: object, where: str) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str | int | float):
        raise ConfigurationError(f"{where}: a word is needed here", _HINT)
    return str(value)


def _list(value: object, where: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, list | tuple):
        raise ConfigurationError(f"{where}: a list is needed here", _HINT)
    return tuple(_text(item, where) or "" for item in value)
