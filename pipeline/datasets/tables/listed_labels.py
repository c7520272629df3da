"""Labels written as lists of tokens: what is listed is positive, the rest negative.

Only the few distinct lists of a table are taken apart, never row by row.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from retune.store.errors import DatasetError
from retune.store.label_states import ABSENT, NEGATIVE, POSITIVE
from retune.store.plural import counted

from .delimited import Places

__all__ = ["ListedLabels", "TokenMap", "count_tokens", "read_lists"]


@dataclass(frozen=True)
class TokenMap:
    """What the tokens of one data set mean.

    Attributes:
        findings_of: Token -> canonical findings, none if it is known but no finding in
            use; None if the token is unknown.
        normal: Tokens that say that nothing was found.
        silent: Tokens that say nothing about findings, such as "unchanged".
    """

    findings_of: Callable[[str], tuple[str, ...] | None]
    normal: frozenset[str]
    silent: frozenset[str] = frozenset()


@dataclass
class ListedLabels:
    """What became of a column of lists.

    Attributes:
        states: (N, K) int8: positive if listed, else negative; absent in all K where a
            list says nothing about findings.
        unknown: Token that is in no vocabulary -> rows.
        unread: Known token of which no finding is in use -> rows.
        n_silent: Rows whose list says nothing.
        n_contradictory: Rows that say that nothing was found, and list a finding.
    """

    states: np.ndarray
    unknown: Counter[str] = field(default_factory=Counter)
    unread: Counter[str] = field(default_factory=Counter)
    n_silent: int = 0
    n_contradictory: int = 0

    def warnings(self, where: str) -> list[str]:
        """What was odd, in words; `where` names the column."""
        texts = []
        if self.unknown:
            texts.append(
                f"{where}: unknown labels ignored: {count_tokens(self.unknown)}"
            )
        if self.n_silent:
            texts.append(
                f"{where}: {counted(self.n_silent, 'row', 'say')} nothing about "
                "findings; nothing "
                "is known of them"
            )
        if self.n_contradictory:
            texts.append(
                f"{where}: normal beside a finding in "
                f"{counted(self.n_contradictory, 'row')}; "
                "the findings were kept"
            )
        return texts


def count_tokens(counts: Counter[str], most: int = 10) -> str:
    """Tokens with their rows, the commonest first.

    >>> count_tokens(Counter({"a": 1, "b": 2000, "c": 1}), most=2)
    "'b' (2,000), 'a' (1) and 1 other"
    """
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    shown = ", ".join(f"{token!r} ({count:,})" for token, count in ranked[:most])
    rest = len(ranked) - most
    return shown if rest <= 0 else f"{shown} and {counted(rest, 'other')}"


def read_lists(
    cells: pa.StringArray,
    split: Callable[[str], Iterable[str]],
    tokens: TokenMap,
    findings: Sequence[str],
    places: Places,
) -> ListedLabels:
    """Label states of a column of lists.

    Args:
        cells: N lists as text.
        split: Takes a list apart; raises ValueError, with the reason, if it is none.
        tokens: What they mean.
        findings: K names that are in use.
        places: Says in which file and line a row stands.

    Raises:
        DatasetError: A cell is no list; names its line.
    """
    encoded = pc.dictionary_encode(cells)
    rows = encoded.indices.to_numpy()
    n_rows = np.bincount(rows, minlength=len(encoded.dictionary)).tolist()
    column_of = {finding: column for column, finding in enumerate(findings)}
    codes = np.full((len(n_rows), len(findings)), NEGATIVE, dtype=np.int8)
    labels = ListedLabels(codes)
    for i, text in enumerate(encoded.dictionary.to_pylist()):
        try:
            listed = {token for token in map(str.strip, split(text)) if token}
        except ValueError as error:
            row = int(np.flatnonzero(rows == i)[0])
            raise DatasetError(
                f"{places([row])[0]}: {text[:80]!r} is no list of labels: {error}",
                "Export or download the table again.",
            ) from error
        told = listed - tokens.silent
        if not told:
            codes[i] = ABSENT
            labels.n_silent += n_rows[i]
            continue
        positive = told - tokens.normal
        labels.n_contradictory += n_rows[i] * bool(positive and positive != told)
        for token in positive:
            names = tokens.findings_of(token)
            used = [column_of[name] for name in names or () if name in column_of]
            codes[i, used] = POSITIVE
            if names is None:
                labels.unknown[token] += n_rows[i]
            elif not used:
                labels.unread[token] += n_rows[i]
    labels.states = codes[rows]
    return labels
