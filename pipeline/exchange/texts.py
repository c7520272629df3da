"""Vectors of sentences that others made: one or more per finding and polarity."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import numpy as np
import pyarrow as pa

from retune.store import EncoderSpec, StoreWriter
from retune.store.errors import ConfigurationError, DatasetError
from retune.store.plural import counted
from retune.store.vectors.shards import to_stored

from ..descriptions.sentence import Description
from ..encode.stage.sink import ShardSink
from ..findings import known_spelling
from .contract import VectorTable

__all__ = ["TEXT_COLUMNS", "import_texts", "read_sentences"]

TEXT_COLUMNS: Final = ("finding", "polarity", "text")
_POLARITIES: Final[dict[str, Literal["positive", "negative"]]] = {
    "positive": "positive", "pos": "positive", "1": "positive", "+": "positive",
    "true": "positive", "present": "positive",
    "negative": "negative", "neg": "negative", "0": "negative", "-": "negative",
    "false": "negative", "absent": "negative", "-1": "negative",
}  # fmt: skip


def read_sentences(
    tables: Sequence[VectorTable], set_name: str, path: Path
) -> list[Description]:
    """What each vector of some files says.

    Args:
        tables: With the columns `finding`, `polarity` and perhaps `text`.
        set_name: Name of the descriptions that are made of them.
        path: For messages and as their source.

    Raises:
        ConfigurationError: A column is not there, or a polarity is none.
    """
    made = datetime.now(UTC).date().isoformat()
    descriptions: list[Description] = []
    for table in tables:
        columns = table.columns(TEXT_COLUMNS)
        lacking = {"finding", "polarity"} - set(columns.column_names)
        if lacking:
            raise ConfigurationError(
                f"{table.path} has no column {', '.join(sorted(lacking))}",
                "Vectors of texts need the columns finding and polarity (positive or "
                "negative), and may have a column text with the sentences.",
            )
        for row in columns.to_pylist():
            number = len(descriptions) + 1
            finding, polarity = row["finding"], _polarity(row["polarity"], number, path)
            if not finding:
                raise ConfigurationError(f"{path}: row {number} names no finding")
            name = known_spelling(finding) or finding
            text = row.get("text") or f"{name}, {polarity}, number {number}"
            descriptions.append(
                Description(
                    set_name, name, polarity, " ".join(text.split()), "import", "",
                    made, "", reviewed=False, edited=False, source=path.name,
                )
            )  # fmt: skip
    return descriptions


def _polarity(
    word: str | None, number: int, path: Path
) -> Literal["positive", "negative"]:
    polarity = _POLARITIES.get(str(word).strip().lower())
    if polarity is None:
        raise ConfigurationError(
            f"{path}: row {number} has the polarity {word!r}",
            "Write positive or negative.",
        )
    return polarity


def import_texts(
    writer: StoreWriter,
    spec: EncoderSpec,
    tables: Sequence[VectorTable],
    sentences: Sequence[Description],
    known: Sequence[str],
) -> int:
    """Put descriptions and their vectors into the store; gives how many are new.

    Raises:
        DatasetError: A vector is not finite, zero or of another length than D.
        StoreWriteError: The disk refused.
    """
    keys = [sentence.text_digest for sentence in sentences]
    vectors = [
        _checked(table, block.vectors, block.lengths, spec)
        for table in tables
        for block in table.blocks()
    ]
    stored = np.concatenate(vectors)
    rows = [
        {
            "description_id": sentence.description_id,
            "text_digest": sentence.text_digest,
            **asdict(sentence),
        }
        for sentence in {one.description_id: one for one in sentences}.values()
    ]
    writer.add_descriptions(pa.Table.from_pylist(rows))
    there = set(known)
    first = {key: row for row, key in reversed([*enumerate(keys)]) if key not in there}
    with ShardSink(writer, spec, "text") as sink:
        if first:
            chosen = sorted(first.values())
            sink.add([keys[row] for row in chosen], stored[chosen])
    return len(first)


def _checked(
    table: VectorTable,
    vectors: np.ndarray,
    lengths: np.ndarray,
    spec: EncoderSpec,
) -> np.ndarray:
    """There are few vectors of texts, and a run needs each: a bad one ends it all."""
    stored, good = to_stored(vectors, spec.output_dtype)
    good &= lengths == spec.dim
    if not good.all():
        row = int(np.flatnonzero(~good)[0])
        raise DatasetError(
            f"{table.path}: the vector of a text, row {row + 1}, is not finite, zero, "
            f"or has {counted(int(lengths[row]), 'number')} instead of {spec.dim}",
            "Remove or repair that row.",
        )
    return stored
