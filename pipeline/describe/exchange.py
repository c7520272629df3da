"""Sets as YAML files: out of a store, into one, and back after editing."""

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import yaml

from retune.store import FeatureStore
from retune.store.errors import ConfigurationError

from ..descriptions.document import Document, load_plain, read_document
from ..descriptions.library import available_sets, load_descriptions
from ..descriptions.sentence import Description, Polarity
from .members import Member, find_set, member_to_json, members_from_json, renamed
from .repetition import split_words
from .validation import Problem, Requirements, validate_finding

__all__ = ["Imported", "export_set", "load_members", "read_import"]

_BOTH: Final[tuple[Polarity, ...]] = ("positive", "negative")
#: Less alike than this, a sentence is a new one and not an edited one.
_SAME_SENTENCE: Final = 0.6
#: How many are compared with one letter by letter: those that share most words with it.
_COMPARED: Final = 10
_COMMON: Final = 200
_PROVENANCE: Final = re.compile(r"^[\"']?provenance", re.MULTILINE)


@dataclass(frozen=True)
class Imported:
    """A file that was read and judged.

    Attributes:
        set_name: Name of the new set.
        parent: The set that was edited, or empty.
        language: ISO 639-1 code.
        members: Its sentences; those that break a rule say which.
        problems: What is wrong, by finding.
    """

    set_name: str
    parent: str
    language: str
    members: tuple[Member, ...]
    problems: tuple[tuple[str, Problem], ...]


def load_members(
    store: FeatureStore | None, set_name: str
) -> tuple[str, tuple[Member, ...]]:
    """Language and sentences of a set of the store, or of one that ships.

    Args:
        store: None is enough for sets that ship.
        set_name: Name of the set.

    Raises:
        ConfigurationError: There is no such set.
    """
    if set_name in available_sets():
        return "en", tuple(Member(row) for row in load_descriptions(set_name))
    assert store is not None
    row, members = find_set(store, set_name)
    return row.language, members


def export_set(
    set_name: str,
    language: str,
    members: Sequence[Member],
    *,
    parent: str = "",
    provenance: bool = True,
) -> str:
    """A set as YAML in the form that `embed` and `import` read.

    Args:
        set_name: Name to write; import may choose another.
        language: ISO 639-1 code.
        members: The sentences.
        parent: The set that they come from; import looks there for where the
            sentences come from.
        provenance: Write all that is known of each sentence.
    """
    first = members[0].description
    content: dict[str, Any] = {
        "set": set_name,
        "generator": first.generator,
        "created_at": first.created_at,
        "language": language,
        "reviewed": all(member.description.reviewed for member in members),
        "edited": any(member.description.edited for member in members),
    }
    if first.model:
        content["model"] = first.model
    if parent:
        content["parent"] = parent
    findings: dict[str, dict[str, list[str]]] = {}
    for member in members:
        lists = findings.setdefault(member.description.finding, {p: [] for p in _BOTH})
        lists[member.description.polarity].append(member.description.text)
    content["findings"] = findings
    if provenance:
        content["provenance"] = [member_to_json(member) for member in members]
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=1000)


def read_import(
    store: FeatureStore,
    text: str,
    file_name: str,
    requirements: Requirements,
    *,
    set_name: str | None = None,
    language: str | None = None,
    created_at: str = "",
) -> Imported:
    """Read a YAML file as a set to be, and judge every sentence.

    Sentences that the set named as the file's `parent`, or its `provenance`, knows keep
    where they come from. One that is close to a sentence that has gone from there, or
    stood under another finding, counts as that sentence edited; any other is a
    person's. Edited and new sentences are not reviewed, until a person changes
    `reviewed` in the file: then that goes for all of it.

    Args:
        store: Where the parent is.
        text: The file's text.
        file_name: How errors name the file.
        requirements: What sentences must be; its language is not looked at.
        set_name: Instead of the file's.
        language: Instead of the file's; English if neither says.
        created_at: Time of sentences that a person wrote into an edited set.

    Raises:
        ConfigurationError: The file is not of the form, or its parent is not known.
    """
    document = read_document(text, file_name)
    if document.templates is not None or not document.findings:
        raise ConfigurationError(
            f"{file_name}: templates cannot be imported",
            "A named set lists sentences under 'findings'; give files with templates "
            "to `embed --descriptions FILE`.",
        )
    parents = _provenance(text, file_name)
    name = set_name or document.set_name
    if document.parent:
        _, parents = load_members(store, document.parent)
    members: tuple[Member, ...]
    if parents:
        rows = _by_hand(document, file_name, created_at)
        edited = _after_editing(rows, parents)
        members = _reviewed(edited, parents, document.reviewed)
    else:
        members = tuple(Member(row) for row in _described(document, file_name))
    spoken = language or document.language or "en"
    judged, problems = _judge(members, replace(requirements, language=spoken))
    return Imported(name, document.parent, spoken, renamed(judged, name), problems)


def _described(document: Document, file_name: str) -> list[Description]:
    source = file_name.rsplit("/", 1)[-1]
    return [
        Description(
            set_name=document.set_name,
            finding=finding,
            polarity=polarity,
            text=text,
            generator=document.generator,
            model=document.model,
            created_at=document.created_at,
            instruction_digest="",
            reviewed=document.reviewed,
            edited=document.edited,
            source=source,
        )
        for finding, sentences in document.findings.items()
        for polarity, texts in sentences.items()
        for text in texts
    ]


def _by_hand(document: Document, file_name: str, created_at: str) -> list[Description]:
    """The sentences as if a person had written all of them into an exported file."""
    source = f"edit:{document.parent}" if document.parent else ""
    return [
        replace(
            row,
            generator="person",
            model="",
            created_at=created_at,
            reviewed=False,
            edited=True,
            source=source or row.source,
        )
        for row in _described(document, file_name)
    ]


def _provenance(text: str, file_name: str) -> tuple[Member, ...]:
    """What a file says of the sentences that it was exported with."""
    if _PROVENANCE.search(text) is None:
        return ()
    try:
        return members_from_json(load_plain(text).get("provenance") or [])
    except (
        TypeError,
        KeyError,
        ValueError,
        AttributeError,
        RecursionError,
        yaml.YAMLError,
    ) as error:
        raise ConfigurationError(
            f"{file_name}: 'provenance' is not what `describe export` writes: {error}",
            "Leave 'provenance' as it was exported, or take it out.",
        ) from error


def _after_editing(
    rows: Sequence[Description], parents: Sequence[Member]
) -> tuple[Member, ...]:
    """Sentences of a file, as those of its parent where they come from there.

    Args:
        rows: The file's sentences, as a person's own.
        parents: What the file was exported with.
    """
    by_place = {_place(m.description): m for m in parents}
    by_text = {m.description.text: m for m in parents}
    taken = {_place(row) for row in rows}
    gone = _Gone([m for index, m in by_place.items() if index not in taken])
    members = []
    for row in rows:
        same = by_place.get(_place(row))
        if same is not None:
            members.append(same)
            continue
        old = by_text.get(row.text) or gone.closest(row)
        if old is None:
            members.append(Member(row))
            continue
        gone.drop(old)
        edited = replace(
            old.description,
            finding=row.finding,
            polarity=row.polarity,
            text=row.text,
            reviewed=False,
            edited=True,
        )
        members.append(Member(edited, old.origin))
    return tuple(members)


def _place(row: Description) -> tuple[str, Polarity, str]:
    return row.finding, row.polarity, row.text


class _Gone:
    """Sentences that an edited file no longer has."""

    def __init__(self, members: Sequence[Member]) -> None:
        self._texts: dict[tuple[str, Polarity], dict[str, Member]] = {}
        self._having: dict[tuple[str, Polarity, str], set[str]] = {}
        for member in members:
            finding, polarity, text = _place(member.description)
            self._texts.setdefault((finding, polarity), {})[text] = member
            for word in set(split_words(text)):
                self._having.setdefault((finding, polarity, word), set()).add(text)

    def drop(self, member: Member) -> None:
        """The sentence is accounted for."""
        finding, polarity, text = _place(member.description)
        if self._texts.get((finding, polarity), {}).pop(text, None) is None:
            return
        for word in set(split_words(text)):
            self._having[finding, polarity, word].discard(text)

    def closest(self, row: Description) -> Member | None:
        """The sentence of the same finding and polarity that a row was made from."""
        finding, polarity, text = _place(row)
        beside = self._texts.get((finding, polarity), {})
        candidates = list(beside)
        if len(beside) > _COMPARED:
            shared: Counter[str] = Counter()
            for word in set(split_words(text)):
                having = self._having.get((finding, polarity, word), set())
                if len(having) <= _COMMON:
                    shared.update(having)
            ranked = sorted(shared, key=lambda other: (-shared[other], other))
            candidates = ranked[:_COMPARED]
        close = difflib.get_close_matches(text, candidates, 1, _SAME_SENTENCE)
        return beside[close[0]] if close else None


def _reviewed(
    members: Sequence[Member], parents: Sequence[Member], reviewed: bool
) -> tuple[Member, ...]:
    """Take over what a person changed in the file's `reviewed`."""
    if reviewed == all(member.description.reviewed for member in parents):
        return tuple(members)
    return tuple(
        replace(m, description=replace(m.description, reviewed=reviewed))
        for m in members
    )


def _judge(
    members: Sequence[Member], requirements: Requirements
) -> tuple[tuple[Member, ...], tuple[tuple[str, Problem], ...]]:
    """Each sentence with the rules that it breaks, and all faults by finding."""
    judged: list[Member] = []
    problems_found: list[tuple[str, Problem]] = []
    by_finding: dict[str, list[Member]] = {}
    for member in members:
        by_finding.setdefault(member.description.finding, []).append(member)
    for finding, own in by_finding.items():
        sentences = {
            polarity: [
                m.description.text for m in own if m.description.polarity == polarity
            ]
            for polarity in _BOTH
        }
        problems = validate_finding(finding, sentences, replace(requirements, n=1))
        problems_found += [(finding, problem) for problem in problems]
        broken: dict[tuple[str, str], list[str]] = {}
        for problem in problems:
            broken.setdefault((problem.polarity, problem.text), []).append(problem.rule)
        for member in own:
            said = member.description
            rules = list(broken.get((said.polarity, said.text), ()))
            # That too few came when they were asked for is not judged anew.
            rules += [rule for rule in member.accepted if rule == "count"]
            judged.append(replace(member, accepted=tuple(dict.fromkeys(rules))))
    return tuple(judged), tuple(problems_found)
