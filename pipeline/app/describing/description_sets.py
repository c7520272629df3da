"""Named sets of descriptions: listed, shown, compared, imported, edited, exported."""

from dataclasses import dataclass
from datetime import UTC, datetime
from os import PathLike
from pathlib import Path

from retune.store import FeatureStore
from retune.store.description_sets import SetRow, list_sets
from retune.store.errors import ConfigurationError, StoreNotFoundError

from ...describe.exchange import Imported, export_set, load_members, read_import
from ...describe.members import Member, publish
from ...describe.validation import Requirements
from ...descriptions import available_sets, load_descriptions
from ...descriptions.sentence import Polarity
from ...findings import canonical_name

__all__ = [
    "Difference",
    "Draft",
    "ImportRequest",
    "SetChange",
    "compare_sets",
    "enter_set",
    "every_set",
    "read_draft",
    "read_sentences",
    "set_text",
    "start_edit",
]

_Path = str | PathLike[str]


@dataclass(frozen=True)
class Difference:
    """A sentence that only one of two sets has."""

    set_name: str
    finding: str
    polarity: Polarity
    text: str


@dataclass(frozen=True)
class SetChange:
    """What sets two sets apart, and how many sentences both have."""

    differences: tuple[Difference, ...]
    n_in_both: int


@dataclass(frozen=True)
class ImportRequest:
    """How to read the sentences of a person's file.

    Attributes:
        text: Text of the file, YAML.
        file_name: How errors name it.
        set_name: Name of the new set; None: the file's.
        language: ISO 639-1 code; None: the file's, or English.
        max_tokens: Longest sentence.
    """

    text: str
    file_name: str
    set_name: str | None = None
    language: str | None = None
    max_tokens: int = 75


@dataclass(frozen=True)
class Draft:
    """A set written out for a person to edit.

    Attributes:
        name: Name of the new set.
        language: ISO 639-1 code.
        text: YAML.
    """

    name: str
    language: str
    text: str


def every_set(store: _Path) -> tuple[list[SetRow], bool]:
    """The sets that ship, then those of the store; whether there is a store."""
    rows = [
        SetRow(name, "shipped", "", "en", len(sentences), sentences[0].created_at)
        for name in available_sets()
        for sentences in [load_descriptions(name)]
    ]
    try:
        return [*rows, *list_sets(FeatureStore(store))], True
    except StoreNotFoundError:
        return rows, False


def _members(store: _Path, set_name: str) -> tuple[str, tuple[Member, ...]]:
    """Language and sentences; sets that ship need no store."""
    shipped = set_name in available_sets()
    return load_members(None if shipped else FeatureStore(store), set_name)


def read_sentences(
    store: _Path, set_name: str, finding: str | None = None
) -> list[Member]:
    """The sentences of a set with where they come from.

    Args:
        store: Folder of the store.
        set_name: Name of the set.
        finding: Only this one, in any spelling; None for all.

    Raises:
        ConfigurationError: There is no such set or finding.
        StoreNotFoundError: There is no store, and the set does not ship.
    """
    _, members = _members(store, set_name)
    if finding is None:
        return [*members]
    known = list(dict.fromkeys(member.description.finding for member in members))
    name = canonical_name(finding, known)
    return [member for member in members if member.description.finding == name]


def compare_sets(store: _Path, first: str, second: str) -> SetChange:
    """Which sentences only one of two sets has, the first set's first.

    Raises:
        ConfigurationError: There is no such set.
        StoreNotFoundError: There is no store, and a set does not ship.
    """
    one, other = (_keys(store, name) for name in (first, second))
    only = [(first, key) for key in one if key not in other]
    only += [(second, key) for key in other if key not in one]
    differences = tuple(Difference(name, *key) for name, key in only)
    return SetChange(differences, len(one.keys() & other.keys()))


def _keys(store: _Path, set_name: str) -> dict[tuple[str, Polarity, str], None]:
    """What tells the sentences of a set apart, in their order."""
    rows = [member.description for member in _members(store, set_name)[1]]
    return {(row.finding, row.polarity, row.text): None for row in rows}


def set_text(store: _Path, set_name: str) -> tuple[str, int]:
    """A set as YAML, with all that is known of each sentence; and how many there are.

    Raises:
        ConfigurationError: There is no such set.
        StoreNotFoundError: There is no store, and the set does not ship.
    """
    language, members = _members(store, set_name)
    return export_set(set_name, language, members), len(members)


def start_edit(store: _Path, set_name: str, new_name: str | None = None) -> Draft:
    """A set as a file to edit. The store is made if the set ships and there is none.

    Args:
        store: Folder of the store.
        set_name: The set to start from; it stays.
        new_name: Name of the new set; None: the old name with a number.

    Raises:
        ConfigurationError: There is no such set.
        StoreNotFoundError: There is no store, and the set does not ship.
    """
    language, members = _members(store, set_name)
    name = new_name or _next_name(FeatureStore.create(store), set_name)
    text = export_set(name, language, members, parent=set_name, provenance=False)
    return Draft(name, language, text)


def _next_name(store: FeatureStore, set_name: str) -> str:
    taken = {row.set_name for row in list_sets(store)}
    numbered = (f"{set_name}-{number}" for number in range(2, len(taken) + 3))
    return next(name for name in numbered if name not in taken)


def read_draft(store: _Path, request: ImportRequest) -> Imported:
    """Read a file's sentences and judge each; nothing is entered.

    Raises:
        ConfigurationError: The file is not of the form, or its parent is not known.
    """
    return read_import(
        FeatureStore.create(store),
        request.text,
        request.file_name,
        Requirements(1, request.language or "en", request.max_tokens),
        set_name=request.set_name,
        language=request.language,
        created_at=_now(),
    )


def enter_set(
    store: _Path, imported: Imported, made_by: str, *, accept_anyway: bool = False
) -> SetRow:
    """Enter a file's sentences as a set.

    Args:
        store: Folder of the store.
        imported: From `read_draft`.
        made_by: ``import`` or ``edit``.
        accept_anyway: Also sentences that break a rule; that is recorded.

    Raises:
        ConfigurationError: Sentences break rules, or the name is taken.
    """
    if imported.problems and not accept_anyway:
        raise ConfigurationError(
            f"{len(imported.problems)} faults were found; no set was made",
            "Correct them, or keep the sentences with `accept_anyway`.",
        )
    return publish(
        FeatureStore(Path(store)),
        imported.members,
        made_by=made_by,
        language=imported.language,
        created_at=_now(),
        parent=imported.parent,
    )


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
