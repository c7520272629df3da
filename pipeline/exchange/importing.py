"""Vectors of files become vectors of a store, block by block."""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import (
    EncoderSpec,
    FileState,
    ItemFailure,
    StoreWriter,
    content_digest,
)
from retune.store.errors import ConfigurationError
from retune.store.hidden_paths import real_path
from retune.store.vectors.shards import to_stored

from ..encode.stage.sink import ShardSink
from ..progress import Progress, ProgressCallback, silent
from .contract import Block, VectorTable
from .matching import Match

__all__ = ["Counts", "agreed_shape", "all_ids", "identify", "import_images"]

_NAMED: Final = 5
#: Images that threads read before the next are looked up, and those of one thread.
_READ_TOGETHER: Final = 8_192
_READ_AT_ONCE: Final = 128
#: What the content digest of an image is made of whose file nobody has.
_STAND_IN: Final = "image without a file: "


@dataclass
class Counts:
    """What became of the rows of files; names are of a few of them.

    Attributes:
        imported: Vectors that are new in the store.
        known: Vectors that the store had.
        failed: Rows that are no vectors: not finite, zero, or of another length.
        failures: What was wrong with the first of them.
    """

    imported: int = 0
    known: int = 0
    failed: int = 0
    failures: list[str] = field(default_factory=list)


def agreed_shape(tables: Sequence[VectorTable]) -> tuple[int, str]:
    """D and the type that all files share; float32 if any of them has it.

    Raises:
        ConfigurationError: Files have vectors of different length, or none.
        DatasetError: A file cannot be read.
    """
    dims = {table.dim: table.path for table in tables if table.n_rows}
    if len(dims) != 1 or 0 in dims:
        told = ", ".join(f"{dim} in {path}" for dim, path in sorted(dims.items()))
        raise ConfigurationError(
            f"vectors of one encoder are equally long; found: {told or 'no vectors'}",
            "Import files of different encoders one after the other, each under a "
            "`backbone_name` of its own.",
        )
    types = {table.dtype for table in tables}
    return next(iter(dims)), "float32" if "float32" in types else "float16"


def all_ids(tables: Sequence[VectorTable]) -> pa.Array:
    """The ids of all rows of all files.

    Raises:
        ConfigurationError: A file has none, or none is named.
        DatasetError: A file cannot be read, or its ids and vectors differ in number.
    """
    parts = []
    for table in tables:
        ids = table.ids()
        if ids is None:
            raise ConfigurationError(
                f"nothing says which image each vector in {table.path} is of",
                "Give a .csv or .txt with the ids beside it, in the same order. If the "
                "rows are in the order of the store's image ids, say `by_position`.",
            )
        parts.append(ids)
    return pa.concat_arrays([part.cast(pa.string()) for part in parts])


def identify(
    writer: StoreWriter,
    images: pa.Table,
    places: npt.NDArray[np.int64],
    progress: ProgressCallback = silent,
) -> npt.NDArray[np.bytes_]:
    """The content digests of images, of which some were never read.

    A file that is there is read, so that a later `embed` finds the same content. An
    image without one gets a digest of its id in place of its content's.

    Args:
        writer: Writer of the store; the digests are entered.
        images: As `retune.store.queries.identities.read_image_names` gives them, N.
        places: Rows of those that are needed.
        progress: Told while files are read.

    Returns:
        Shape (N,), 32 bytes each; empty for images that are not needed.
    """
    digests = images["content_digest"].combine_chunks()
    known = np.asarray(digests.is_valid())
    keys_found = np.zeros(len(images), dtype="S32")
    keys_found[known] = digests.drop_null().to_numpy(zero_copy_only=False).astype("S32")
    new = np.unique(places[~known[places]])
    absent: list[str] = []
    rows: list[int] = []
    with ThreadPoolExecutor() as readers:
        for start in range(0, len(new), _READ_TOGETHER):
            some = new[start : start + _READ_TOGETHER]
            chosen = images.take(pa.array(some)).to_pylist()
            parts = [
                chosen[at : at + _READ_AT_ONCE]
                for at in range(0, len(chosen), _READ_AT_ONCE)
            ]
            states = [
                state for part in readers.map(_file_states, parts) for state in part
            ]
            for row, image, state in zip(some.tolist(), chosen, states, strict=True):
                if state is None:
                    digest = content_digest((_STAND_IN + image["image_id"]).encode())
                    absent.append(image["image_id"])
                    rows.append(row)
                else:
                    digest = state.content_digest
                keys_found[row] = digest.encode()
            writer.note([state for state in states if state is not None], [])
            progress(Progress("files", start + len(some), len(new)))
    if absent:
        writer.identify_images(
            pa.table(
                {"image_id": absent, "content_digest": keys_found[rows].astype(str)}
            )
        )
    return keys_found


def _file_states(images: Sequence[dict[str, str]]) -> list[FileState | None]:
    """Of several at once: to hand one to a thread takes longer than to open it."""
    return [_file_state(image) for image in images]


def _file_state(image: dict[str, str]) -> FileState | None:
    """What an image's file looks like; None if there is none that can be read."""
    path = real_path(image["root"], image["path"])
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            status = os.fstat(file.fileno())
            digest = content_digest(file.read())
    except OSError:
        return None
    return FileState(
        image["image_id"], digest, status.st_size, status.st_mtime_ns, None
    )


def import_images(
    writer: StoreWriter,
    spec: EncoderSpec,
    tables: Sequence[VectorTable],
    match: Match,
    images: pa.Table,
    keys: npt.NDArray[np.bytes_],
    known: npt.NDArray[np.bytes_],
    progress: ProgressCallback = silent,
) -> Counts:
    """Put the vectors of all matched rows into the store.

    Args:
        writer: Writer of the store.
        spec: Whose vectors they are.
        tables: The files, in the order of `match`.
        match: Which image each row is of.
        images: The images that `match` speaks of.
        keys: Their content digests.
        known: Sorted digests that have a vector of this encoder.
        progress: Told after each block.

    Raises:
        DatasetError: A file cannot be read further; what came before is kept.
        StoreWriteError: The disk refused.
    """
    wanted = _Wanted.of(keys, known)
    counts = Counts()
    at, total = 0, len(match.image_row)
    with ShardSink(writer, spec, "image") as sink:
        for path, block in _blocks(tables):
            image_rows = match.image_row[at : at + len(block.lengths)]
            at += len(block.lengths)
            rows = np.flatnonzero(image_rows >= 0)
            failures = _take(
                sink, spec, counts, block, rows, image_rows, images, wanted, path
            )
            sink.note([], failures)
            progress(Progress("vectors", at, total))
    return counts


def _blocks(tables: Sequence[VectorTable]) -> Iterator[tuple[Path, Block]]:
    for table in tables:
        for block in table.blocks():
            yield table.path, block


def _take(
    sink: ShardSink,
    spec: EncoderSpec,
    counts: Counts,
    block: Block,
    rows: npt.NDArray[np.int64],
    image_rows: npt.NDArray[np.int64],
    images: pa.Table,
    wanted: "_Wanted",
    path: Path,
) -> list[ItemFailure]:
    """Give the sink the good vectors of a block that are new; the bad ones fail."""
    stored, good = to_stored(block.vectors, spec.output_dtype)
    good &= block.lengths == spec.dim
    whole = len(rows) == len(good) and bool(good.all())
    fine = rows if whole else rows[good[rows]]
    new = wanted.take(image_rows[fine])
    names = [key.decode() for key in wanted.keys[image_rows[fine[new]]].tolist()]
    if names:
        sink.add(names, stored if whole and len(names) == len(stored) else
                 stored[fine[new]])  # fmt: skip
    counts.imported += int(new.sum())
    counts.known += int((~new).sum())
    bad = rows[~good[rows]]
    counts.failed += len(bad)
    return [
        _failure(
            counts,
            block,
            int(row),
            images,
            int(image_rows[row]),
            spec,
            path,
            wanted.keys,
        )
        for row in bad
    ]


@dataclass(frozen=True)
class _Wanted:
    """Which contents have a vector already, and which get one now.

    Attributes:
        keys: Content digests of images, shape (N,).
        content: Number of each image's content, shape (N,); equal where keys are.
        taken: Whether a content has a vector, by its number.
    """

    keys: npt.NDArray[np.bytes_]
    content: npt.NDArray[np.int64]
    taken: npt.NDArray[np.bool_]

    @staticmethod
    def of(keys: npt.NDArray[np.bytes_], known: npt.NDArray[np.bytes_]) -> "_Wanted":
        """With sorted keys that have a vector from before."""
        distinct, content = np.unique(keys, return_inverse=True)
        return _Wanted(keys, content.astype(np.int64), _are_in(distinct, known))

    def take(self, image_rows: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of these images get a vector now; they have one from then on.

        Two images of one content share a vector: that of the first.
        """
        content = self.content[image_rows]
        new = np.zeros(len(content), dtype=bool)
        new[np.unique(content, return_index=True)[1]] = True
        new &= ~self.taken[content]
        self.taken[content[new]] = True
        return new


def _are_in(
    keys: npt.NDArray[np.bytes_], known: npt.NDArray[np.bytes_]
) -> npt.NDArray[np.bool_]:
    """Which keys are among sorted ones."""
    if not len(known):
        return np.zeros(len(keys), dtype=bool)
    at = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    is_known: npt.NDArray[np.bool_] = known[at] == keys
    return is_known


def _failure(
    counts: Counts,
    block: Block,
    row: int,
    images: pa.Table,
    image_row: int,
    spec: EncoderSpec,
    path: Path,
    keys: npt.NDArray[np.bytes_],
) -> ItemFailure:
    length = int(block.lengths[row])
    vector = block.vectors[row]
    if length < 0:
        reason = "its vector is null"
    elif length != spec.dim:
        reason = f"its vector has {length} numbers, not {spec.dim}"
    elif not np.isfinite(vector).all():
        reason = "its vector is not finite"
    elif not vector.any():
        reason = "its vector is zero"
    else:
        reason = f"its vector is too large for {spec.output_dtype}"
    image_id = str(images["image_id"][image_row].as_py())
    if len(counts.failures) < _NAMED:
        counts.failures.append(f"{image_id}: {reason}")
    return ItemFailure(image_id, str(path), "import", reason, keys[image_row].decode())
