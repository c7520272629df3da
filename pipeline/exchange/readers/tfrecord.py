"""Vectors in TFRecord files of `tf.train.Example`, read without TensorFlow.

The framing is a length, its checksum, the content and its checksum (masked CRC-32C). An
Example is a map from names to lists of bytes, floats or integers in protocol-buffer
encoding; https://protobuf.dev/programming-guides/encoding describes it. PhysioNet's
embeddings of MIMIC-CXR have the features ``image/id`` and ``embedding``.
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store.errors import ConfigurationError, DatasetError

from ..contract import (
    BLOCK_ROWS,
    Block,
    ColumnNames,
    choose_column,
    list_block,
    usual_length,
)

__all__ = ["ExampleTable", "crc32c", "parse_example", "read_records"]

Feature = list[bytes] | npt.NDArray[np.float32] | list[int]
_POLYNOMIAL = 0x82F63B78
_MASK = 0xA282EAD8
_MOST_BYTES = 1 << 30


def _table() -> list[int]:
    records = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = (value >> 1) ^ (_POLYNOMIAL if value & 1 else 0)
        records.append(value)
    return records


_REMAINDERS = _table()


def crc32c(content: bytes) -> int:
    """CRC-32 with Castagnoli's polynomial.

    >>> hex(crc32c(b"123456789"))
    '0xe3069283'
    """
    value = 0xFFFFFFFF
    for byte in content:
        value = _REMAINDERS[(value ^ byte) & 255] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def _masked(content: bytes) -> int:
    value = crc32c(content)
    return ((value >> 15 | value << 17) + _MASK) & 0xFFFFFFFF


def read_records(path: Path) -> Iterator[bytes]:
    """The records of a TFRecord file; every checksum is compared.

    Raises:
        DatasetError: The file cannot be read, is damaged or cut short.
    """
    hint = "Download it again. Compressed TFRecord files have to be unpacked first."
    number = 0
    try:
        with path.open("rb") as file:
            while head := file.read(12):
                number += 1
                where = f"record {number} of {path}"
                if len(head) < 12:
                    raise DatasetError(f"{where} is cut short", hint)
                length, check = struct.unpack("<QI", head)
                if _masked(head[:8]) != check or length > _MOST_BYTES:
                    raise DatasetError(f"{where} does not match its checksum", hint)
                content = file.read(length)
                tail = file.read(4)
                if len(content) < length or len(tail) < 4:
                    raise DatasetError(f"{where} is cut short", hint)
                if _masked(content) != struct.unpack("<I", tail)[0]:
                    raise DatasetError(f"{where} does not match its checksum", hint)
                yield content
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error}") from error


def parse_example(content: bytes) -> dict[str, Feature]:
    """The features of a `tf.train.Example`.

    Raises:
        ValueError: It is none.

    >>> parse_example(b"")
    {}
    """
    parsed: dict[str, Feature] = {}
    for number, features in _fields(content):
        if number != 1 or not isinstance(features, bytes):
            continue
        for _, entry in _fields(features):
            if not isinstance(entry, bytes):
                raise ValueError("a feature is no message")  # noqa: TRY004 - of content
            parts = dict(_fields(entry))
            name, feature = parts.get(1, b""), parts.get(2, b"")
            if not (isinstance(name, bytes) and isinstance(feature, bytes)):
                raise ValueError("a feature has no name")  # noqa: TRY004 - as above
            parsed[name.decode("utf-8")] = _feature(feature)
    return parsed


def _feature(content: bytes) -> Feature:
    """Bytes (1), floats (2) or integers (3)."""
    for feature_type, values in _fields(content):
        if not isinstance(values, bytes):
            break
        listed = [value for number, value in _fields(values) if number == 1]
        if feature_type == 2:
            packed = b"".join(one for one in listed if isinstance(one, bytes))
            return np.frombuffer(packed, dtype="<f4")
        if feature_type == 1 and all(isinstance(one, bytes) for one in listed):
            return [one for one in listed if isinstance(one, bytes)]
        if feature_type == 3:
            return [number for one in listed for number in _integers(one)]
    return []


def _integers(value: bytes | int) -> Iterator[int]:
    if isinstance(value, int):
        yield value
        return
    at = 0
    while at < len(value):
        number, at = _varint(value, at)
        yield number


def _fields(content: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and values of a message's fields; fixed ones as bytes."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, wire_type = tag >> 3, tag & 7
        if wire_type == 0:
            value, at = _varint(content, at)
            yield number, value
            continue
        if wire_type == 2:
            length, at = _varint(content, at)
        elif wire_type in (1, 5):
            length = 8 if wire_type == 1 else 4
        else:
            raise ValueError(f"wire type {wire_type} is not used by tf.train.Example")
        if at + length > len(content):
            raise ValueError("a field is cut short")
        yield number, content[at : at + length]
        at += length


def _varint(content: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(content):
            raise ValueError("a number is cut short")
        byte = content[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number is too long")


@dataclass(frozen=True)
class ExampleTable:
    """TFRecord files of Examples, one after the other.

    Attributes:
        paths: The files; PhysioNet has one per image.
        names: How the user calls the features; ``image/id`` and ``embedding`` if not
            given.
    """

    paths: tuple[Path, ...]
    names: ColumnNames = field(default_factory=ColumnNames)
    dtype: str = "float32"

    @property
    def path(self) -> Path:
        """The first file."""
        return self.paths[0]

    @cached_property
    def _first(self) -> Mapping[str, Feature]:
        first = None
        for _, example in self._examples():
            if any(isinstance(value, np.ndarray) for value in example.values()):
                return example  # one without a vector may come first
            first = first or example
        if first is None:
            raise DatasetError(
                f"{self.path} has no records", "Download it again, or leave it out."
            )
        return first

    @cached_property
    def _vectors(self) -> str:
        fitting = [k for k, v in self._first.items() if isinstance(v, np.ndarray)]
        return choose_column(
            self.path, "vectors", self.names.vectors, fitting, self._listed()
        )

    @cached_property
    def _ids(self) -> str:
        fitting = [
            name
            for name, value in self._first.items()
            if isinstance(value, list) and len(value) == 1
        ]
        given = self.names.ids or ("image/id" if "image/id" in fitting else None)
        return choose_column(self.path, "ids", given, fitting, self._listed())

    @cached_property
    def _kept(self) -> tuple[pa.Array, int]:
        """The ids of all records, and D; one pass over the files."""
        texts = []
        dim = usual_length(np.array([len(self._first[self._vectors])], np.int64))
        for path, example in self._examples():
            texts.append(_text(example.get(self._ids), path, self._ids))
        return pa.array(texts, pa.string()), dim

    @property
    def n_rows(self) -> int:
        """N."""
        return len(self._kept[0])

    @property
    def dim(self) -> int:
        """D."""
        return self._kept[1]

    def ids(self) -> pa.Array:
        """The feature with the ids."""
        return self._kept[0]

    def columns(self, names: Sequence[str]) -> pa.Table:
        """Further features of text."""
        present = [name for name in names if name in self._first]
        rows = [
            {name: _text(example.get(name), path, name) for name in present}
            for path, example in self._examples()
        ]
        schema = pa.schema([(name, pa.string()) for name in present])
        return pa.Table.from_pylist(rows, schema)

    def blocks(self) -> Iterator[Block]:
        """All rows in order."""
        rows: list[npt.NDArray[np.float32]] = []
        for _, example in self._examples():
            value = example.get(self._vectors, [])
            if not isinstance(value, np.ndarray):
                value = np.empty(0, np.float32)
            rows.append(value)
            if len(rows) == BLOCK_ROWS:
                yield self._block(rows)
                rows = []
        if rows:
            yield self._block(rows)

    def _block(self, rows: Sequence[npt.NDArray[np.float32]]) -> Block:
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        return list_block(np.concatenate(rows), lengths, self.dim, self.dtype)

    def _examples(self) -> Iterator[tuple[Path, dict[str, Feature]]]:
        for path in self.paths:
            for number, record in enumerate(read_records(path), start=1):
                try:
                    example = parse_example(record)
                except ValueError as error:
                    raise DatasetError(
                        f"record {number} of {path} is no tf.train.Example: {error}"
                    ) from error
                yield path, example

    def _listed(self) -> str:
        return ", ".join(self._first)


def _text(value: Feature | None, path: Path, name: str) -> str | None:
    if value is None or not len(value):
        return None
    one = value[0]
    if isinstance(one, bytes):
        try:
            return one.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ConfigurationError(
                f"feature {name!r} in {path} is no text: {error}",
                "Name the feature with the ids with `ids`.",
            ) from error
    return str(one)
