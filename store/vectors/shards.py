"""Shards: immutable HDF5 files that hold vectors and their keys.

A shard is written under a temporary name, flushed to the disk and then renamed, so a
file with a shard's name is always complete. HDF5 never writes to the disk itself: it
lays out the file in memory, and the vectors are written from where they are. A full
disk is an ordinary `OSError` here instead of a half-written HDF5 file.
The normative text is FORMAT.md.
"""

import errno
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

import h5py
import numpy as np
import numpy.typing as npt

from ..atomic_files import write_atomically
from ..checksums import crc32
from ..errors import StoreCorruptError, StoreError, StoreWriteError
from ..fingerprint import EncoderSpec
from ..plural import counted
from .block_checks import BlockSums
from .sparse_file import SparseFile

__all__ = [
    "FORMAT_VERSION",
    "KEY_DTYPE",
    "REPAIR_HINT",
    "Keys",
    "ShardHeader",
    "check_contents",
    "check_vectors",
    "file_checksum",
    "map_embedding",
    "publish_shard",
    "read_header",
    "refuse_for_rights",
    "to_stored",
]

FORMAT_VERSION = 1
KEY_DTYPE = np.dtype("S32")
BLOCK_BYTES = 1 << 20
_ALIGNMENT_BYTES = 4096
_DTYPES: dict[str, np.dtype[np.floating]] = {
    "float16": np.dtype("<f2"),
    "float32": np.dtype("<f4"),
}

_NOT_DAMAGE = {errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
REPAIR_HINT = "Run `retune-cli repair`; the next `embed` encodes its rows again."

Vectors = npt.NDArray[np.floating]
#: Content digests, 32 hex digits each.
Keys = Sequence[str] | npt.NDArray[np.bytes_]


@dataclass(frozen=True)
class ShardHeader:
    """What a shard says about itself.

    Attributes:
        shard_id: The random part of the file's name.
        path: The file.
        fingerprint: Fingerprint of the encoder that made the vectors.
        modality: ``image`` or ``text``.
        n_rows: N, the number of vectors.
        dim: D, the number of values in a vector.
        dtype: ``float16`` or ``float32``.
        encoder: The full specification of the encoder.
        offset_bytes: Where the vectors begin in the file.
        key_offset_bytes: Where the keys begin in the file.
        key_crc32: Checksum of the keys.
        block_rows: Rows in a checksum block; the last may be shorter.
        block_crc32: Checksum of each block of vectors.
        file_crc32: Checksum of the whole file as it was written; None: it was read.
    """

    shard_id: str
    path: Path
    fingerprint: str
    modality: str
    n_rows: int
    dim: int
    dtype: str
    encoder: EncoderSpec
    offset_bytes: int
    key_offset_bytes: int
    key_crc32: int
    block_rows: int
    block_crc32: tuple[int, ...]
    file_crc32: int | None = field(default=None, compare=False)


def to_stored(vectors: Vectors, dtype: str) -> tuple[Vectors, npt.NDArray[np.bool_]]:
    """Convert to the stored type and say which rows may be stored.

    A row may be stored if it is finite in the stored type and not zero. Both follow
    from its greatest bit pattern without the sign, which for IEEE 754 numbers grows
    with the magnitude: above zero and below infinity. That takes one pass over
    integers, a third of the time of `isfinite` and `any` on float16.

    Args:
        vectors: Shape (n, D), floating, D at least 1.
        dtype: ``float16`` or ``float32``.

    Returns:
        The vectors, shape (n, D), C-contiguous, in `dtype`; and which rows are good,
        shape (n,).

    >>> to_stored(np.array([[1, 2], [0, 0], [1e9, 1]], dtype=np.float32), "float16")[1]
    array([ True, False, False])
    """
    stored_type = _DTYPES[dtype]
    with np.errstate(over="ignore", invalid="ignore"):
        stored = np.ascontiguousarray(vectors, dtype=stored_type)
    integers = np.dtype(f"<u{stored_type.itemsize}")
    without_sign = integers.type(np.iinfo(integers).max >> 1)
    infinity = np.array(np.inf, dtype=stored_type).view(integers)
    greatest = np.zeros(len(stored), dtype=integers)
    # Pieces stay in the processor's cache between the two steps.
    piece = _block_rows(stored)
    for start in range(0, len(stored), piece):
        bits = stored[start : start + piece].view(integers)
        greatest[start : start + piece] = (bits & without_sign).max(axis=1)
    return stored, (greatest > 0) & (greatest < infinity)


def check_vectors(vectors: Vectors, dtype: str) -> Vectors:
    """Convert to the stored type and refuse what must never be stored.

    Args:
        vectors: Shape (n, D), floating.
        dtype: ``float16`` or ``float32``.

    Returns:
        The vectors, shape (n, D), C-contiguous, in `dtype`.

    Raises:
        StoreError: A vector is not finite, is zero, or overflows the stored type.
    """
    if vectors.ndim != 2:
        raise StoreError(f"embeddings must have two axes, not shape {vectors.shape}")
    stored, good = to_stored(vectors, dtype)
    if good.all():
        return stored
    row = int(np.flatnonzero(~good)[0])
    if not stored[row].any():
        raise StoreError(f"embedding {row} of the shard has norm 0")
    overflow = bool(np.isfinite(vectors[row]).all())
    what = f"overflows {dtype}" if overflow else "is not finite"
    hint = "Store float32 instead (`output_dtype` float32)." if overflow else ""
    raise StoreError(f"embedding {row} of the shard {what}", hint)


def publish_shard(
    root: Path,
    encoder: EncoderSpec,
    modality: str,
    keys: npt.NDArray[np.bytes_],
    vectors: Vectors,
    shard_id: str | None = None,
) -> ShardHeader:
    """Write one shard so that it exists whole or not at all.

    Args:
        root: The store's folder.
        encoder: Who made the vectors; `output_dtype` says how they are stored.
        modality: ``image`` or ``text``.
        keys: Content digest of each item, shape (n,), 32 hex digits each, distinct.
        vectors: Shape (n, D).
        shard_id: 16 hex digits; None draws them. A shard of this name that is not in
            the catalog yet is replaced.

    Returns:
        The header of the published shard.

    Raises:
        StoreError: The vectors or the keys are not fit to be stored.
        StoreWriteError: The disk refused the write; nothing was published.
    """
    stored = check_vectors(vectors, encoder.output_dtype)
    keys = np.ascontiguousarray(keys, dtype=KEY_DTYPE)
    if keys.shape != (len(stored),) or stored.shape[1] != encoder.dim:
        raise StoreError(
            f"{keys.shape} keys and {stored.shape} vectors do not make a shard of "
            f"dimension {encoder.dim}"
        )
    if len(set(keys.tolist())) != len(keys):
        raise StoreError("a shard cannot hold one key twice")
    shard_id = shard_id or uuid.uuid4().hex[:16]
    path = root / "features" / encoder.fingerprint / f"{modality}-{shard_id}.h5"
    layout, offset_bytes = _laid_out(encoder, modality, keys, stored)
    parts = list(layout.around(offset_bytes, stored.data.cast("B")))
    write_atomically(path, parts)
    return replace(read_header(path), file_crc32=_checksum_of(parts))


def _laid_out(
    encoder: EncoderSpec, modality: str, keys: npt.NDArray[np.bytes_], stored: Vectors
) -> tuple[SparseFile, int]:
    """All of a shard but its vectors, and where these begin."""
    block_rows = _block_rows(stored)
    allocated = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    allocated.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
    allocated.set_fill_time(h5py.h5d.FILL_TIME_NEVER)
    layout = SparseFile()
    with h5py.File(
        layout,
        "w",
        alignment_threshold=_ALIGNMENT_BYTES,
        alignment_interval=_ALIGNMENT_BYTES,
    ) as file:
        file.create_dataset("key", data=keys)
        number_type = h5py.h5t.py_create(stored.dtype, logical=True)
        space = h5py.h5s.create_simple(stored.shape)
        embedding = h5py.Dataset(
            h5py.h5d.create(file.id, b"embedding", number_type, space, allocated)
        )
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs["fingerprint"] = encoder.fingerprint
        file.attrs["encoder"] = encoder.to_json()
        file.attrs["modality"] = modality
        file.attrs["count"] = len(stored)
        file.attrs["key_crc32"] = np.uint32(crc32(keys.data))
        file.attrs["block_rows"] = block_rows
        embedding.attrs["block_crc32"] = _block_checksums(stored, block_rows)
        offset_bytes = embedding.id.get_offset()
    return layout, int(offset_bytes)


def _block_rows(stored: Vectors) -> int:
    row_bytes: int = stored.shape[1] * stored.itemsize
    return max(1, BLOCK_BYTES // row_bytes)


def _block_checksums(stored: Vectors, block_rows: int) -> npt.NDArray[np.uint32]:
    starts = range(0, len(stored), block_rows)
    sums = [crc32(stored[start : start + block_rows].data) for start in starts]
    return np.array(sums, dtype=np.uint32)


def _checksum_of(parts: Iterable[bytes | memoryview]) -> int:
    total: int = 0
    for part in parts:
        total = int(crc32(part, total))
    return total


@contextmanager
def _opened(path: Path) -> Iterator[h5py.File]:
    """Open a shard; whatever HDF5 finds wrong with it becomes a `StoreCorruptError`."""
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (
        OSError, KeyError, ValueError, TypeError, RuntimeError, IndexError,
        AttributeError, OverflowError, ZeroDivisionError,
    ) as error:  # fmt: skip
        refuse_for_rights(path, error)
        raise StoreCorruptError(
            f"shard {path} cannot be read: {error}", REPAIR_HINT
        ) from error


def refuse_for_rights(path: Path, error: BaseException) -> None:
    """A file that may not be opened is not damaged: `repair` must not set it aside.

    Raises:
        StoreWriteError: `error` says that rights, memory or open files do not suffice.
    """
    if isinstance(error, OSError) and error.errno in _NOT_DAMAGE:
        raise StoreWriteError(
            f"cannot read {path}: {os.strerror(error.errno)}",
            "Fix the rights on that file, or close other programs.",
        ) from error


def read_header(path: Path) -> ShardHeader:
    """Read what a published shard says about itself, without its vectors.

    HDF5 opens the file, in this process: one with a flipped bit can end it. So this is
    for what was just written, for a file that its checksum confirms, and for a process
    that may end; everybody else reads by what the catalog knows (places.py).

    Raises:
        StoreCorruptError: The file is not a shard of this format, or is cut short.
    """
    modality, _, shard_id = path.stem.partition("-")
    with _opened(path) as file:
        version = int(file.attrs["format_version"])
        if version > FORMAT_VERSION:
            raise StoreCorruptError(
                f"shard {path} has format {version}; this retune reads up to "
                f"{FORMAT_VERSION}",
                "Update retune.",
            )
        dataset = file["embedding"]
        header = ShardHeader(
            shard_id=shard_id,
            path=path,
            fingerprint=str(file.attrs["fingerprint"]),
            modality=str(file.attrs["modality"]),
            n_rows=int(file.attrs["count"]),
            dim=int(dataset.shape[1]),
            dtype=str(dataset.dtype),
            encoder=EncoderSpec.from_json(str(file.attrs["encoder"])),
            offset_bytes=int(dataset.id.get_offset() or 0),
            key_offset_bytes=int(file["key"].id.get_offset() or 0),
            key_crc32=int(file.attrs["key_crc32"]),
            block_rows=int(file.attrs["block_rows"]),
            block_crc32=tuple(
                np.asarray(
                    dataset.attrs.get("block_crc32", []), dtype=np.uint32
                ).tolist()
            ),
        )
        sizes = (dataset.shape[0], file["key"].shape[0])
        # A chunked dataset has no offset.
        contiguous = header.offset_bytes > 0 and header.key_offset_bytes > 0
    _check_header(header, modality, sizes, contiguous)
    return header


def _check_header(
    header: ShardHeader, modality: str, sizes: tuple[int, int], contiguous: bool
) -> None:
    row_bytes = header.dim * np.dtype(header.dtype).itemsize
    end_bytes = header.offset_bytes + header.n_rows * row_bytes
    n_blocks = -(-header.n_rows // header.block_rows) if header.block_rows > 0 else -1
    problems = {
        f"its type {header.dtype} is not allowed": header.dtype not in _DTYPES,
        "its vectors or keys are not contiguous": not contiguous,
        f"it says {counted(header.n_rows, 'row')} and holds {sizes}": set(sizes)
        != {header.n_rows},
        "it lies in the folder of another fingerprint": header.path.parent.name
        != header.fingerprint,
        f"its name says {modality}, its content {header.modality}": modality
        != header.modality,
        "its fingerprint is not that of its encoder": header.encoder.fingerprint
        != header.fingerprint,
        "it does not have a checksum for each of its blocks": n_blocks
        != len(header.block_crc32),
        "it is cut short": header.path.stat().st_size < end_bytes,
    }
    for problem, present in problems.items():
        if present:
            raise StoreCorruptError(
                f"shard {header.path} is damaged: {problem}",
                REPAIR_HINT,
            )


def check_contents(path: Path) -> ShardHeader:
    """Compare the checksums of keys and vectors that a shard carries.

    Raises:
        StoreCorruptError: Something does not match; the message names the rows.
    """
    header = read_header(path)
    _check_keys(header)
    _check_blocks(header)
    return header


def _check_keys(header: ShardHeader) -> None:
    n_bytes = header.n_rows * KEY_DTYPE.itemsize
    with header.path.open("rb") as file:
        file.seek(header.key_offset_bytes)
        keys = file.read(n_bytes)
    if len(keys) != n_bytes or crc32(keys) != header.key_crc32:
        raise StoreCorruptError(
            f"keys of {header.path} do not match their checksum", REPAIR_HINT
        )


def file_checksum(path: Path) -> int:
    """CRC-32 of a whole file.

    Raises:
        StoreCorruptError: It cannot be read.
    """
    total = 0
    try:
        with path.open("rb") as file:
            while part := file.read(BLOCK_BYTES):
                total = crc32(part, total)
    except OSError as error:
        refuse_for_rights(path, error)
        raise StoreCorruptError(
            f"shard {path} cannot be read: {error}", REPAIR_HINT
        ) from error
    return total


def _check_blocks(header: ShardHeader) -> None:
    sums = BlockSums(header.path, header.n_rows, header.block_rows, header.block_crc32)
    vectors = map_embedding(header.path, header)
    for block in range(len(header.block_crc32)):
        sums.check(block, vectors[sums.rows(block)].data)


class _Block(Protocol):
    """Where vectors lie in a file: a `ShardHeader`, or what the catalog knows."""

    @property
    def n_rows(self) -> int: ...
    @property
    def dim(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def offset_bytes(self) -> int: ...


def map_embedding(path: Path, block: _Block) -> Vectors:
    """Map the vectors of a shard into memory, shape (n, D), read-only.

    Raises:
        StoreCorruptError: The file is gone or cut short.
    """
    try:
        return np.memmap(
            path,
            dtype=_DTYPES[block.dtype],
            mode="r",
            offset=block.offset_bytes,
            shape=(block.n_rows, block.dim),
        )
    except (OSError, ValueError, KeyError) as error:
        raise StoreCorruptError(
            f"vectors of {path} cannot be mapped: {error}",
            REPAIR_HINT,
        ) from error
