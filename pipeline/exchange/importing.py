"""Vectors of files become vectors of a store, block by block."""

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
    ItemFailure,
    StoreWriter,
)
from retune.store.errors import ConfigurationError
from retune.store.plural import counted
from retune.store.vectors.shards import to_stored

from ..encode.stage.sink import ShardSink
from ..platform.memory import keep_freed_memory
from ..progress import Progress, ProgressCallback, silent
from .contents import Contents
from .contract import Block, VectorTable
from .image_files import ImageFiles
from .matching import Match

__all__ = ["Counts", "agreed_shape", "all_ids", "import_images", "read_contents"]

_NAMED: Final = 5
#: Shards that wait longer for their rows are adopted if the process is killed.
_COMMIT_SECONDS: Final = 10.0
#: Images whose files are read before the next are looked up.
_READ_TOGETHER: Final = 8_192


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
    if not dims or set(dims) == {0}:
        names = ", ".join(str(table.path) for table in tables)
        raise ConfigurationError(
            f"there are no vectors in {names}", "Did whatever wrote them end well?"
        )
    if len(dims) != 1 or 0 in dims:
        told = ", ".join(f"{dim} in {path}" for dim, path in sorted(dims.items()))
        raise ConfigurationError(
            f"vectors of one encoder are equally long; found: {told}",
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


def read_contents(
    writer: StoreWriter,
    images: pa.Table,
    places: npt.NDArray[np.int64],
    progress: ProgressCallback = silent,
) -> npt.NDArray[np.bytes_]:
    """The content digests of images; files that were never read are read.

    So a later `embed` finds the same content.

    Args:
        writer: Writer of the store; the digests are entered.
        images: As `retune.store.queries.identities.read_image_names` gives them, N.
        places: Rows of those that are needed.
        progress: Told while files are read.

    Returns:
        Shape (N,), 32 bytes each; empty for images whose file is not there, and for
        those that are not needed.
    """
    images = images.combine_chunks()
    digests = images["content_digest"].combine_chunks()
    known = np.asarray(digests.is_valid())
    keys = np.zeros(len(images), dtype="S32")
    keys[known] = digests.drop_null().to_numpy(zero_copy_only=False).astype("S32")
    needed = np.zeros(len(images), dtype=bool)
    needed[places] = True
    new = np.flatnonzero(needed & ~known)
    with ImageFiles() as files:
        for start in range(0, len(new), _READ_TOGETHER):
            rows = new[start : start + _READ_TOGETHER]
            states = files.read(images.take(pa.array(rows)))
            keys[rows] = [state.content_digest if state else "" for state in states]
            writer.note([state for state in states if state is not None], [])
            progress(Progress("files", start + len(rows), len(new)))
    return keys


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

    An image without a file gets a digest of its id in place of its content's.

    Args:
        writer: Writer of the store.
        spec: Whose vectors they are.
        tables: The files, in the order of `match`.
        match: Which image each row is of.
        images: The images that `match` speaks of.
        keys: Their content digests, as `read_contents` gives them.
        known: Sorted digests that have a vector of this encoder.
        progress: Told after each block.

    Raises:
        DatasetError: A file cannot be read further; what came before is kept.
        StoreWriteError: The disk refused.
    """
    keep_freed_memory()
    contents = Contents.of(keys, known)
    ids = images["image_id"].combine_chunks()
    counts = Counts()
    at, total = 0, len(match.image_row)
    with ShardSink(
        writer,
        spec,
        "image",
        commit_seconds=_COMMIT_SECONDS,
        remember=False,
        writers=2,
    ) as sink:
        for path, block in _blocks(tables):
            image_rows = match.image_row[at : at + len(block.lengths)]
            at += len(block.lengths)
            rows = np.flatnonzero(image_rows >= 0)
            stand_ins = contents.stand_in(image_rows[rows], ids)
            if len(stand_ins):
                writer.identify_images(stand_ins)
            failures = _take(
                sink, spec, counts, block, rows, image_rows, images, contents, path
            )
            sink.note([], failures)
            progress(Progress("vectors", at, total))
    return counts


def _blocks(tables: Sequence[VectorTable]) -> Iterator[tuple[Path, Block]]:
    """The blocks of all files; one is read while the block before is in use."""
    blocks = ((table.path, block) for table in tables for block in table.blocks())
    with ThreadPoolExecutor(1, thread_name_prefix="read") as reader:
        coming = reader.submit(next, blocks, None)
        while (block := coming.result()) is not None:
            coming = reader.submit(next, blocks, None)
            yield block


def _take(
    sink: ShardSink,
    spec: EncoderSpec,
    counts: Counts,
    block: Block,
    rows: npt.NDArray[np.int64],
    image_rows: npt.NDArray[np.int64],
    images: pa.Table,
    contents: Contents,
    path: Path,
) -> list[ItemFailure]:
    """Give the sink the good vectors of a block that are new; the bad ones fail."""
    stored, good = to_stored(block.vectors, spec.output_dtype)
    good &= block.lengths == spec.dim
    whole = len(rows) == len(good) and bool(good.all())
    fine = rows if whole else rows[good[rows]]
    new = contents.take(image_rows[fine])
    names = contents.keys[image_rows[fine[new]]]
    if len(names):
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
            contents.keys,
        )
        for row in bad
    ]


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
        reason = f"its vector has {counted(length, 'number')}, not {spec.dim}"
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
