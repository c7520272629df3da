"""Description sets by name or by file, for exactly the findings that are in use."""

import functools
import importlib.resources
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from retune.store.errors import ConfigurationError

from ..findings import FINDINGS, NO_FINDING, spelling_key
from .document import Document, Sentences, read_document
from .sentence import Description, content_digest, fill_template
from .text_file import read_text_file

__all__ = ["available_sets", "expand_templates", "load_descriptions"]

_SHIPPED: Final = ("default", "templates", "wide")
#: A shipped set that holds another one's sentences too.
_INCLUDED: Final = {"wide": "default"}


def available_sets() -> tuple[str, ...]:
    """The names of the sets that ship with retune.

    >>> available_sets()
    ('default', 'templates', 'wide')
    """
    return _SHIPPED


def load_descriptions(
    set_name_or_path: str | Path = "default", findings: Sequence[str] | None = None
) -> tuple[Description, ...]:
    """Load a description set for the findings in use.

    A file has the form below. `findings`, `templates` or both must be there. The keys
    `model`, `instruction`, `reviewed`, `edited`, `version`, `licence`, `note`,
    `language`, `parent` and `provenance` (both written by `describe export`) may be
    left out::

        set: our-hospital          # not the name of a shipped set
        generator: large language model
        model: some-model-7b       # the language model, if one wrote it
        created_at: 2026-11-23
        reviewed: false            # true once a radiologist has read every sentence
        findings:
          Rib fracture:
            positive: [There is a rib fracture.]
            negative: [The ribs are intact.]
        templates:                 # for findings that are not listed
          positive: ["There is {finding}."]
          negative: ["There is no {finding}."]

    A finding takes the sentences that stand under its name, upper or lower case,
    underscore or space. One that the set does not list, such as a hospital's own
    column, takes the set's templates, or the shipped ones: such rows keep the set's
    name and say `generator="template"`.

    Args:
        set_name_or_path: A shipped set's name, or the path of a YAML file.
        findings: The findings in use, in order. None means every finding that the set
            lists, or the canonical findings if it lists none.

    Returns:
        Per finding the positives, then the negatives, in the order of the file.

    Raises:
        ConfigurationError: There is no such set or file, the file is not of the form
            (file and line are named), or a name in `findings` is not a finding.

    >>> load_descriptions("templates", ["Edema"])[1].text
    'There is edema.'
    """
    document, source = _open(set_name_or_path)
    parts = _parts(document, source)
    every = tuple(name for part, _ in parts for name in part.findings)
    names = every or FINDINGS if findings is None else findings
    listed = {
        spelling_key(name): (part, made_in, sentences)
        for part, made_in in parts
        for name, sentences in part.findings.items()
    }
    rows: list[Description] = []
    for name in dict.fromkeys(names):
        if spelling_key(name) in ("", spelling_key(NO_FINDING)):
            raise ConfigurationError(
                f"{name!r} is not a finding, so it has no descriptions",
                "Leave it out; 'No Finding' is derived from the findings.",
            )
        entry = listed.get(spelling_key(name))
        if entry is None:
            rows += _expanded(document, source, name)
        else:
            part, made_in, sentences = entry
            rows += _rows(part, made_in, name, sentences)
    return tuple(rows)


def _parts(document: Document, source: str) -> list[tuple[Document, str]]:
    """A set and what it includes, under one name; each keeps what made it."""
    included = _INCLUDED.get(document.set_name)
    if included is None:
        return [(document, source)]
    other, other_source = _shipped(included)
    return [
        (replace(other, set_name=document.set_name), other_source),
        (document, source),
    ]


def expand_templates(set_name: str, finding: str) -> tuple[Description, ...]:
    """The shipped templates for a finding that a set does not list.

    >>> expand_templates("ours", "Edema")[1].text
    'There is edema.'
    """
    document, source = _shipped("templates")
    return tuple(_expanded(replace(document, set_name=set_name), source, finding))


def _expanded(document: Document, source: str, finding: str) -> list[Description]:
    """A finding that the set does not list, by the set's templates or the shipped."""
    made_by, made_in = document, source
    if made_by.templates is None:
        made_by, made_in = _shipped("templates")
    assert made_by.templates is not None
    sentences: Sentences = {
        polarity: tuple(fill_template(template, finding) for template in templates)
        for polarity, templates in made_by.templates.items()
    }
    renamed = replace(made_by, set_name=document.set_name, generator="template")
    return _rows(renamed, made_in, finding, sentences)


def _rows(
    document: Document, source: str, finding: str, sentences: Sentences
) -> list[Description]:
    digest = content_digest(document.instruction) if document.instruction else ""
    return [
        Description(
            set_name=document.set_name,
            finding=finding,
            polarity=polarity,
            text=text,
            generator=document.generator,
            model=document.model,
            created_at=document.created_at,
            instruction_digest=digest,
            reviewed=document.reviewed,
            edited=document.edited,
            source=source,
        )
        for polarity, texts in sentences.items()
        for text in texts
    ]


def _open(set_name_or_path: str | Path) -> tuple[Document, str]:
    """The document and what its descriptions give as their source."""
    if set_name_or_path in _SHIPPED:
        return _shipped(str(set_name_or_path))
    path = Path(set_name_or_path)
    try:
        text = read_text_file(path)
    except FileNotFoundError as error:
        raise ConfigurationError(
            f"there is no description set or file {str(set_name_or_path)!r}",
            f"Name a shipped set ({', '.join(_SHIPPED)}) or the path of a YAML file.",
        ) from error
    document = read_document(text, str(path))
    if document.set_name in _SHIPPED:
        raise ConfigurationError(
            f"{path}: the set name {document.set_name!r} belongs to a shipped set",
            "Give your set a name of its own; two texts must not share one.",
        )
    # The name without its folder: a store must not tell where a user keeps files.
    return document, path.name


@functools.cache
def _shipped(name: str) -> tuple[Document, str]:
    file = importlib.resources.files(__package__) / f"{name}.yaml"
    document = read_document(file.read_text(encoding="utf-8"), file.name)
    return document, f"shipped:{file.name}"
