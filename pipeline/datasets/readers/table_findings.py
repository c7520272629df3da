"""The columns of a hospital's table that are findings, and their labels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import STATE_NAMES
from retune.store.plural import counted

from ...findings import NO_FINDING, alias_of, known_spelling, spelling_key
from ..contract import TableOptions
from ..table_map import TableMap, label_words
from ..tables.delimited import TextTable
from ..tables.label_words import LABEL_STATES, LabelColumn, parse_labels
from .table_notes import TableNotes
from .table_roles import Roles

__all__ = ["TableFindings", "read_findings"]

#: Words that need no explanation.
_MEANINGS = {state: name for name, state in LABEL_STATES.items()}
#: Words of a column that are no label and that a map lists.
_MOST_WORDS = 20
_PLAIN = {"1", "0", "-1", "1.0", "0.0", "-1.0"}


@dataclass(frozen=True)
class TableFindings:
    """What a table labels.

    Attributes:
        names: K findings, canonical where the vocabulary has them.
        states: Shape (N, K), int8.
        understood: How columns and words were understood, for a person.
        columns: The K columns.
        words: Column -> word that is no plain number -> name of its state; words that
            are no label are ``unlabelled``.
    """

    names: tuple[str, ...]
    states: npt.NDArray[np.int8]
    understood: dict[str, str]
    columns: tuple[str, ...]
    words: dict[str, dict[str, str]]


def read_findings(
    table: TextTable,
    roles: Roles,
    options: TableOptions,
    mapping: TableMap,
    notes: TableNotes,
) -> TableFindings:
    """Find the columns of labels and read them.

    A column counts if most of its cells that are filled in are labels; the others are
    unlabelled and listed.

    Raises:
        ConfigurationError: The map says of a word what no label means.
        DatasetError: A chosen column is not there or not one of labels; no column is;
            two columns are one finding.
    """
    named = options.finding_columns
    named = mapping.findings if named is None else named
    chosen = named and [_chosen_column(table, name, mapping) for name in named]
    table.require(chosen or [])
    kept = {*roles.used, *mapping.ignore, *mapping.keep, *options.keep}
    candidates = (
        chosen
        if chosen is not None
        else [name for name in table.cells.column_names if name not in kept]
    )
    read = _labels(table, candidates, mapping, notes, strict=chosen is not None)
    if not read:
        raise DatasetError(
            f"{table.file} has no column of labels; looked at:"
            f" {', '.join(map(repr, candidates)) or 'none'}",
            "A finding's column holds 1, 0, -1 (uncertain) or words such as yes and no,"
            " and blanks.",
        )
    columns = list(read)
    names = _names(table, columns, mapping, notes)
    return TableFindings(
        names,
        np.stack([read[column].states for column in columns], axis=1),
        _understood(columns, names, read),
        tuple(columns),
        {name: _words(table.column(name), read[name]) for name in columns},
    )


def _words(cells: pa.StringArray, labels: LabelColumn) -> dict[str, str]:
    odd = set(pc.unique(cells.filter(pa.array(labels.odd)))[:_MOST_WORDS].to_pylist())
    known = {
        word: _MEANINGS[state]
        for word, state in labels.words.items()
        if word not in _PLAIN
    }
    return known | {word.strip(): "unlabelled" for word in sorted(odd)}


def _chosen_column(table: TextTable, name: str, mapping: TableMap) -> str:
    """The column that a person means, by its name or by the finding's."""
    columns: list[str] = table.cells.column_names
    if name in columns:
        return name
    meant = {mapping.aliases.get(one) or _canonical(one): one for one in columns}
    return meant.get(_canonical(name), name)


def _labels(
    table: TextTable,
    candidates: Sequence[str],
    mapping: TableMap,
    notes: TableNotes,
    *,
    strict: bool,
) -> dict[str, LabelColumn]:
    read: dict[str, LabelColumn] = {}
    left_out = []
    for name in candidates:
        if spelling_key(name) == spelling_key(NO_FINDING):
            notes.lines.append(
                f"column {name!r} not read: it follows from the findings"
            )
            continue
        cells = table.column(name)
        labels = parse_labels(cells, label_words(mapping, name))
        if labels.is_of_labels:
            read[name] = labels
            notes.odd(name, cells, labels.odd, "unlabelled")
            _note_missing(name, labels, notes)
        elif strict:
            _refuse(table, name, cells, labels)
        else:
            left_out.append(name)
    if left_out:
        names = ", ".join(map(repr, left_out))
        notes.lines.append(
            f"{counted(len(left_out), 'column')} not read, not all labels: {names}"
        )
    return read


def _note_missing(name: str, labels: LabelColumn, notes: TableNotes) -> None:
    count = int(labels.missing.sum())
    if count:
        notes.lines.append(
            f"column {name!r}: {counted(count, 'cell', 'say')} that nothing is known: "
            "unlabelled"
        )


def _refuse(
    table: TextTable, name: str, cells: pa.StringArray, labels: LabelColumn
) -> None:
    rows = np.flatnonzero(labels.odd)
    if not rows.size:
        raise DatasetError(
            f"{table.file}, column {name!r}: no cell is a label",
            "Leave it out, or fill it in.",
        )
    more = f" ({rows.size:,} such cells in this column)" if rows.size > 1 else ""
    raise DatasetError(
        f"{table.places([int(rows[0])])[0]}, column {name!r}:"
        f" {cells[int(rows[0])].as_py()!r} is not a label{more}",
        "A label is 1, 0, -1 (uncertain), a word such as yes or no, or blank (not"
        " mentioned); a map (`mapping`) can say what other words mean.",
    )


def _canonical(name: str) -> str:
    return known_spelling(name) or alias_of(name) or name


def _names(
    table: TextTable, columns: Sequence[str], mapping: TableMap, notes: TableNotes
) -> tuple[str, ...]:
    """The vocabulary's names for findings that it has, the table's own for the rest."""
    exact = [mapping.aliases.get(one) or known_spelling(one) for one in columns]
    names = []
    for column, name in zip(columns, exact, strict=True):
        alias = name or alias_of(column)
        others = [one for one in columns if one != column]
        is_taken = alias in exact or alias in {alias_of(one) for one in others}
        if name is None and alias is not None and is_taken:
            notes.lines.append(
                f"column {column!r} keeps its name: another column is {alias}"
            )
            alias = None
        names.append(alias or column)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        same = [c for c, name in zip(columns, names, strict=True) if name in twice]
        raise DatasetError(
            f"{table.file}: columns {', '.join(map(repr, same))} are the same finding",
            "Keep one column per finding.",
        )
    return tuple(names)


def _understood(
    columns: Sequence[str], names: Sequence[str], read: dict[str, LabelColumn]
) -> dict[str, str]:
    pairs = zip(columns, names, strict=True)
    listed = [
        f"{column} is {name}" if column != name else name for column, name in pairs
    ]
    words: dict[str, str] = {}
    for labels in read.values():
        for word, state in labels.words.items():
            if word not in _PLAIN and state in STATE_NAMES:
                words[word.casefold()] = STATE_NAMES[state]
    answers = {"findings": ", ".join(listed)}
    if words:
        ranked = sorted(words.items(), key=lambda pair: (pair[1], pair[0]))
        answers["labels mean"] = ", ".join(f"{word} {state}" for word, state in ranked)
    return answers
