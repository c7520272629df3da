"""The instruction that a language model gets: a versioned template, filled in."""

import functools
import importlib.resources
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import yaml

from retune.store.errors import ConfigurationError

from ..descriptions.sentence import Polarity, content_digest
from .validation import Problem, Requirements

__all__ = ["Instruction", "Message", "digest_of", "load_instruction"]

#: A message of a chat: its role and its content.
Message = Mapping[str, str]

_KEYS: Final = ("template", "version", "system", "user", "again")
_LANGUAGES: Final = {
    "en": "English", "es": "Spanish", "fr": "French", "de": "German",
    "it": "Italian", "pt": "Portuguese",
}  # fmt: skip
#: A word of a report is about 1.6 tokens of CLIP.
_TOKENS_PER_WORD: Final = 1.6


@dataclass(frozen=True)
class Instruction:
    """A template with the three texts that are sent.

    Attributes:
        template: Its name.
        version: Its version.
        system: What is wanted of every answer.
        user: What is asked about one finding.
        again: What is asked when sentences were refused.
    """

    template: str
    version: str
    system: str
    user: str
    again: str

    @property
    def digest(self) -> str:
        """Digest of the three texts, 32 hexadecimal characters."""
        return content_digest(f"{self.system}\0{self.user}\0{self.again}")

    def messages(
        self,
        finding: str,
        lacking: Mapping[Polarity, int],
        requirements: Requirements,
        kept: Sequence[str] = (),
        refused: Sequence[Problem] = (),
    ) -> tuple[Message, ...]:
        """What is sent about one finding, and all that is sent.

        Args:
            finding: Its name.
            lacking: Sentences to ask for, by polarity.
            requirements: Language and length.
            kept: What the model wrote before and need not write again.
            refused: What it wrote before and cannot be used.

        >>> instruction = load_instruction()
        >>> asked = {"positive": 2, "negative": 2}
        >>> sent = instruction.messages("Edema", asked, Requirements())
        >>> [message["role"] for message in sent]
        ['system', 'user']
        """
        language = requirements.language
        values = {
            "finding": finding,
            "n_positive": str(lacking["positive"]),
            "n_negative": str(lacking["negative"]),
            "language": _LANGUAGES.get(language, f"the language '{language}'"),
            "max_words": str(int(requirements.max_tokens / _TOKENS_PER_WORD)),
        }
        messages = [
            {"role": "system", "content": self.system},
            {"role": "user", "content": _filled(self.user, values)},
        ]
        if kept or refused:
            values["problems"] = _listed(f"{p.text} ({p.reason})" for p in refused)
            values["kept"] = _listed(kept)
            messages[1]["content"] += "\n\n" + _filled(self.again, values)
        return tuple(messages)


def digest_of(messages: Sequence[Message]) -> str:
    """Digest of a prompt, 32 hexadecimal characters.

    >>> len(digest_of([{"role": "user", "content": "x"}]))
    32
    """
    return content_digest(json.dumps([dict(m) for m in messages], sort_keys=True))


def load_instruction(path: Path | None = None) -> Instruction:
    """The project's own template, or a user's YAML file of the same form.

    Raises:
        ConfigurationError: The file cannot be read or is not of the form.
    """
    if path is None:
        return _shipped()
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(
            f"{path}: cannot be read: {error.strerror}",
            "Give `template` the path of a YAML file.",
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: not UTF-8 text at byte {error.start}", "Save it as UTF-8."
        ) from error
    return _parsed(text, str(path))


@functools.cache
def _shipped() -> Instruction:
    file = importlib.resources.files(__package__) / "instruction.yaml"
    return _parsed(file.read_text(encoding="utf-8"), file.name)


def _parsed(text: str, name: str) -> Instruction:
    hint = (
        f"It needs the keys {', '.join(_KEYS)}, each a text; `describe --dry-run` "
        "shows what is sent."
    )
    try:
        raw = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigurationError(f"{name}: not valid YAML: {error}", hint) from error
    if not isinstance(raw, dict):
        raise ConfigurationError(f"{name}: expected 'key: value' entries", hint)
    for key in [*_KEYS, *raw]:
        if key not in raw or key not in _KEYS:
            state = "missing" if key not in raw else "not known"
            raise ConfigurationError(f"{name}: the key {key!r} is {state}", hint)
        if not isinstance(raw[key], str) or not raw[key].strip():
            raise ConfigurationError(f"{name}: {key!r} is not a text", hint)
    if "{finding}" not in raw["user"]:
        raise ConfigurationError(
            f"{name}: 'user' lacks {{finding}}",
            "Write {finding} where the name of the finding belongs.",
        )
    return Instruction(**raw)


def _filled(template: str, values: Mapping[str, str]) -> str:
    # Not str.format: a template may hold braces of its own, as JSON does.
    for name, value in values.items():
        template = template.replace("{" + name + "}", value)
    return template


def _listed(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines) or "(none)"
