"""Predictions written as they come: CSV, JSON or Parquet, however many there are."""

import csv
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TextIO, TypeAlias

import pyarrow as pa

from retune.store.errors import ConfigurationError, StoreWriteError

from .prediction import (
    PREDICTION_SCHEMA,
    DecisionRule,
    ImagePrediction,
    rows_of,
    to_table,
)

__all__ = ["Output", "Write", "csv_output", "file_output", "json_output"]

#: Takes predictions of images that follow each other.
Write: TypeAlias = Callable[[Sequence[ImagePrediction]], None]
#: Opens a place for predictions, which are complete when it is left.
Output: TypeAlias = Callable[[DecisionRule], AbstractContextManager[Write]]

_ROWS_OF_A_GROUP = 65_536


def csv_output(stream: TextIO) -> Output:
    """CSV with a row for each image and finding, and one for an unusable image.

    Args:
        stream: Stays open.
    """

    @contextmanager
    def opened(rule: DecisionRule) -> Iterator[Write]:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(PREDICTION_SCHEMA.names)

        def write(part: Sequence[ImagePrediction]) -> None:
            writer.writerows(rows_of(part, rule))

        yield write

    return opened


def json_output(stream: TextIO) -> Output:
    """A JSON list with an object for each image.

    Args:
        stream: Stays open.
    """

    @contextmanager
    def opened(rule: DecisionRule) -> Iterator[Write]:
        n_written = 0

        def write(part: Sequence[ImagePrediction]) -> None:
            nonlocal n_written
            for one in part:
                stream.write(",\n" if n_written else "\n")
                stream.write(
                    json.dumps(
                        _plain({"model": rule.model} | vars(one)), ensure_ascii=False
                    )
                )
                n_written += 1

        stream.write("[")
        try:
            yield write
        finally:  # a list that was cut short is still a list
            stream.write("\n]\n")

    return opened


def _plain(value: object) -> object:
    """A value as JSON has it: no NaN."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return value


def file_output(path: Path) -> Output:
    """A CSV, JSON or Parquet file, by its suffix; one of that name is replaced.

    Rows go to ``NAME.partial``, which gets its name when it is complete; what was cut
    short stays there, and can be read.

    Raises:
        ConfigurationError: The suffix is another, or there is no such folder.
    """
    extension = path.suffix.lower()
    if extension not in (".csv", ".json", ".parquet"):
        raise ConfigurationError(
            f"predictions cannot be written as '{path.name}'",
            "Use a name that ends in .csv, .json or .parquet.",
        )
    if not path.parent.is_dir() or path.is_dir():
        what = "is a folder" if path.is_dir() else "lies in no folder that exists"
        raise ConfigurationError(f"{path} {what}", "Choose another place for `out`.")
    partial = path.with_name(path.name + ".partial")

    @contextmanager
    def opened(rule: DecisionRule) -> Iterator[Write]:
        try:
            if extension == ".parquet":
                with _parquet(partial, rule) as write:
                    yield write
            else:
                text = csv_output if extension == ".csv" else json_output
                with (
                    partial.open("w", encoding="utf-8", newline="") as stream,
                    text(stream)(rule) as write,
                ):
                    yield write
            partial.replace(path)
        except OSError as error:
            raise StoreWriteError(
                f"cannot write {path}: {error.strerror or error}",
                "Choose another place for `out`.",
            ) from error

    return opened


@contextmanager
def _parquet(path: Path, rule: DecisionRule) -> Iterator[Write]:
    from pyarrow import parquet

    waiting: list[pa.Table] = []
    with parquet.ParquetWriter(path, PREDICTION_SCHEMA) as writer:

        def flush() -> None:
            if waiting:
                writer.write_table(pa.concat_tables(waiting))
                waiting.clear()

        def write(part: Sequence[ImagePrediction]) -> None:
            waiting.append(to_table(part, rule))
            if sum(table.num_rows for table in waiting) >= _ROWS_OF_A_GROUP:
                flush()

        try:
            yield write
        finally:
            flush()
