"""The YAML form of a description set, read so that every error names its line.

The text is composed into YAML nodes with the safe loader and walked from there: no
Python object is ever constructed from a tag, a node knows its line, and a key that
stands twice is seen rather than silently overwritten.
"""

import difflib
import re
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Final

import yaml

from retune.store.errors import ConfigurationError
from retune.store.plural import counted

from ..findings import NO_FINDING, spelling_key
from .sentence import STEERING, Polarity, is_date

__all__ = [
    "Document",
    "Sentences",
    "check_set_name",
    "load_plain",
    "read_document",
]

#: The sentences of one finding (or the templates of all), by polarity.
Sentences = dict[Polarity, tuple[str, ...]]

_POLARITIES: Final[tuple[Polarity, Polarity]] = ("positive", "negative")
_REQUIRED: Final = ("set", "generator", "created_at")
_CONTENT: Final = ("findings", "templates")
_OPTIONAL: Final = (
    *("version", "licence", "model", "instruction", "note", "reviewed", "edited"),
    *("language", "parent", "provenance"),
    *_CONTENT,
)
_MOST_ALIASES: Final = 1_000
#: Counted where they are listed, so also each time that an alias stands for them.
_MOST_SENTENCES: Final = 200_000
_SET_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Document:
    """What a description file says.

    Attributes:
        set_name: The name of the set.
        generator: What made the sentences.
        model: The language model, or empty.
        created_at: When they were made.
        instruction: The instruction that they were written from, or empty.
        reviewed: Whether a radiologist has reviewed them.
        edited: Whether a person has changed them.
        findings: The sentences of each finding, in the order of the file.
        templates: Sentences with `{finding}` for any other finding, or None.
        language: ISO 639-1 code, or empty.
        parent: The set that this one was edited from, or empty.
    """

    set_name: str
    generator: str
    model: str
    created_at: str
    instruction: str
    reviewed: bool
    edited: bool
    findings: dict[str, Sentences]
    templates: Sentences | None
    language: str = ""
    parent: str = ""


def read_document(text: str, file_name: str) -> Document:
    """Read a description set; `library.load_descriptions` documents the form.

    Args:
        text: The YAML text.
        file_name: How errors name the file.

    Raises:
        ConfigurationError: The text is not YAML, or not of the form; the message holds
            the file's name and the line.
    """
    try:
        root = yaml.compose(text, Loader=_PlainLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = "" if mark is None else f":{mark.line + 1}"
        message = f"{file_name}{line}: not valid YAML: {error.problem}"
        raise ConfigurationError(message, _YAML_HINT) from error
    except (yaml.YAMLError, RecursionError) as error:
        message = f"{file_name}: not valid YAML: {error}"
        raise ConfigurationError(message, _YAML_HINT) from error
    if root is None:
        raise ConfigurationError(
            f"{file_name}: the file is empty",
            "Begin with 'set: NAME'.",
        )
    return _Walk(file_name).document(root)


class _PlainLoader(yaml.SafeLoader):
    """YAML with few aliases: many short lines of them unfold to any size."""

    _n_aliases = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Compose a node; the arguments are YAML's own."""
        if self.check_event(yaml.AliasEvent):
            self._n_aliases += 1
            if self._n_aliases > _MOST_ALIASES:
                mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
                raise yaml.MarkedYAMLError(
                    problem=f"more than {_MOST_ALIASES:,} aliases", problem_mark=mark
                )
        return super().compose_node(parent, index)


def load_plain(text: str) -> dict[str, Any]:
    """The mapping in a YAML text: plain values without tags.

    Raises:
        yaml.YAMLError: It is not YAML, or has tags or very many aliases.
        TypeError: It is no mapping.
        ValueError: A value is none of its kind, such as the date 2026-13-45.
        RecursionError: It is nested too deeply.
    """
    content = yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a safe loader
    if not isinstance(content, dict):
        raise TypeError("it is no mapping")
    return content


def check_set_name(name: str) -> None:
    """Refuse what cannot name a set.

    Raises:
        ConfigurationError: It holds other characters than names have.

    >>> check_set_name("our-hospital.2")
    """
    if not _SET_NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} cannot name a set", "Use letters, digits, '.', '_' and '-'."
        )


_YAML_HINT: Final = (
    "Put sentences that hold a colon, a hash or a leading quote in double quotes."
)


class _Walk:
    """Takes YAML nodes apart and raises errors that name the file and the line."""

    def __init__(self, file_name: str) -> None:
        self._file_name = file_name
        self._n_sentences = 0

    def document(self, root: yaml.Node) -> Document:
        top = self._mapping(root, "the document", _REQUIRED, _OPTIONAL)
        if not any(key in top for key in _CONTENT):
            raise self._error(
                root,
                "neither 'findings' nor 'templates' is given",
                "List sentences per finding under 'findings'.",
            )
        set_name = self._text(top["set"], "set")
        if not _SET_NAME.fullmatch(set_name):
            raise self._error(
                top["set"],
                f"{set_name!r} cannot name a set",
                "Use letters, digits, '.', '_' and '-'.",
            )
        for key in ("version", "licence", "note"):
            self._optional_text(top, key)  # kept by nobody, but it must be sound
        return Document(
            set_name=set_name,
            generator=self._text(top["generator"], "generator"),
            created_at=self._date(top["created_at"]),
            model=self._optional_text(top, "model"),
            instruction=self._optional_text(top, "instruction"),
            reviewed=self._flag(top, "reviewed"),
            edited=self._flag(top, "edited"),
            language=self._optional_text(top, "language"),
            parent=self._optional_text(top, "parent"),
            findings=self._findings(top["findings"]) if "findings" in top else {},
            templates=self._sentences(top["templates"], "templates", "{finding}")
            if "templates" in top
            else None,
        )

    def _findings(self, node: yaml.Node) -> dict[str, Sentences]:
        entries = self._mapping(node, "findings")
        if not entries:
            raise self._error(node, "'findings' is empty", "Name at least one finding.")
        spellings: dict[str, str] = {}
        for name, entry in entries.items():
            key = spelling_key(name)
            if key in ("", spelling_key(NO_FINDING)):
                raise self._error(
                    entry,
                    f"{name!r} is not a finding",
                    "Remove it; 'No Finding' is derived from the findings.",
                )
            if key in spellings:
                raise self._error(
                    entry,
                    f"{name!r} and {spellings[key]!r} name one finding",
                    "Merge the two.",
                )
            spellings[key] = name
        return {name: self._sentences(entry, name) for name, entry in entries.items()}

    def _sentences(
        self, node: yaml.Node, where: str, placeholder: str = ""
    ) -> Sentences:
        lists = self._mapping(node, where, required=_POLARITIES)
        seen: dict[str, int] = {}
        return {
            polarity: self._sentence_list(
                lists[polarity], f"{where} > {polarity}", placeholder, seen
            )
            for polarity in _POLARITIES
        }

    def _sentence_list(
        self, node: yaml.Node, where: str, placeholder: str, seen: dict[str, int]
    ) -> tuple[str, ...]:
        """The sentences of one list; `seen` maps those of the finding to their line."""
        if not isinstance(node, yaml.SequenceNode):
            raise self._error(
                node, f"{where}: expected a list", "Start each sentence with '- '."
            )
        if not node.value:
            raise self._error(node, f"{where}: the list is empty", "Add a sentence.")
        self._n_sentences += len(node.value)
        if self._n_sentences > _MOST_SENTENCES:
            raise self._error(
                node,
                f"more than {counted(_MOST_SENTENCES, 'sentence')}",
                "Divide the set into several.",
            )
        sentences = []
        for item in node.value:
            text = self._text(item, where, kinds=("str",))
            if text.casefold() in seen:
                raise self._error(
                    item,
                    f"{where}: {text!r} stands on line {seen[text.casefold()]} already",
                    "A sentence may stand once per finding, positive or negative.",
                )
            if placeholder not in text:
                raise self._error(
                    item,
                    f"{where}: {text!r} lacks {placeholder}",
                    f"Write {placeholder} where the finding's name belongs.",
                )
            seen[text.casefold()] = _line(item)
            sentences.append(text)
        return tuple(sentences)

    def _mapping(
        self,
        node: yaml.Node,
        where: str,
        required: Collection[str] | None = None,
        optional: Collection[str] = (),
    ) -> dict[str, yaml.Node]:
        """The entries of a mapping; `required` None lets any key in."""
        if not isinstance(node, yaml.MappingNode):
            raise self._error(
                node,
                f"{where}: expected 'key: value' entries",
                "Indent its entries.",
            )
        entries: dict[str, yaml.Node] = {}
        for key_node, value in node.value:
            key = self._text(key_node, f"a key of {where}", kinds=("str",))
            if key in entries:
                raise self._error(
                    key_node, f"{where}: {key!r} stands twice", "Keep one of them."
                )
            if required is not None and key not in (*required, *optional):
                known = (*required, *optional)
                close = difflib.get_close_matches(key, known, n=1) or known
                raise self._error(
                    key_node,
                    f"{where}: unknown key {key!r}",
                    f"Did you mean {' or '.join(close)}?",
                )
            entries[key] = value
        missing = [key for key in required or () if key not in entries]
        if missing:
            raise self._error(node, f"{where}: {missing[0]!r} is missing", "Add it.")
        return entries

    def _text(
        self,
        node: yaml.Node,
        where: str,
        kinds: Collection[str] = ("str", "int", "float", "timestamp"),
    ) -> str:
        """A scalar as it is written, on one line.

        Dates and versions need no quotes; a sentence or a name must be text, or a bare
        `No` would be a finding called "False".
        """
        node_type = node.tag.removeprefix("tag:yaml.org,2002:")
        if not isinstance(node, yaml.ScalarNode) or node_type not in kinds:
            raise self._error(
                node,
                f"{where}: expected text, found {_KINDS.get(node_type, node_type)}",
                'Put the text in double quotes, like "Signs: none.".',
            )
        text = " ".join(node.value.split())
        if not text or "\0" in text:
            raise self._error(
                node, f"{where}: the text is empty or holds a NUL", "Write or drop it."
            )
        if STEERING.search(text):
            raise self._error(
                node,
                f"{where}: {text!a} holds a control character",
                "Take it out.",
            )
        return text

    def _date(self, node: yaml.Node) -> str:
        text = self._text(node, "created_at")
        if not is_date(text):
            raise self._error(
                node,
                f"created_at: {text!r} is no date",
                "Write a date as 2026, 2026-11 or 2026-11-23.",
            )
        return text

    def _optional_text(self, top: dict[str, yaml.Node], key: str) -> str:
        return self._text(top[key], key) if key in top else ""

    def _flag(self, top: dict[str, yaml.Node], key: str) -> bool:
        """True or false; false where the key is left out."""
        if key not in top:
            return False
        node = top[key]
        if not node.tag.endswith(":bool") or node.value not in ("true", "false"):
            raise self._error(node, f"{key}: expected true or false", "Write either.")
        return bool(node.value == "true")

    def _error(self, node: yaml.Node, what: str, hint: str) -> ConfigurationError:
        return ConfigurationError(f"{self._file_name}:{_line(node)}: {what}", hint)


_KINDS: Final = {
    "bool": "a yes/no value",
    "int": "a number",
    "float": "a number",
    "map": "a 'key: value' entry",
    "null": "nothing",
    "seq": "a list",
    "timestamp": "a date",
}


def _line(node: yaml.Node) -> int:
    """The line that a node starts on, counted from 1."""
    return int(node.start_mark.line) + 1
