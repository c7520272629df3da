"""By which rules a store's pictures were seen, and whether that makes a difference.

The rules are part of the fingerprint. A store that was begun before they changed goes
on under its old fingerprint if none of its pictures looks different: its vectors, runs
and states stay of use. Otherwise its pictures are encoded anew, under another one.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa

from retune.store import FeatureStore, FileState, StoreWriter
from retune.store.hidden_paths import real_path
from retune.store.queries.displays import read_encoders_of, read_undisplayed

from ..platform.processor import usable_cores
from ..progress import Progress, ProgressCallback
from .images.picture import PIXEL_RULES
from .images.rules import display_of_before

__all__ = ["pixel_rules"]

_TOGETHER = 256


def pixel_rules(
    store: FeatureStore, writer: StoreWriter, backbone: str, progress: ProgressCallback
) -> int:
    """The rules that the fingerprint of a backbone's next vectors names.

    Pictures that were encoded before it was kept how they are shown are looked at once.

    Args:
        store: With vectors or without.
        writer: Writer of the store; enters how the pictures are shown.
        backbone: By name.
        progress: Told while pictures are looked at.

    Returns:
        1 if the store has vectors under the earlier rules, and the rules of now show
        the same of every picture; else `PIXEL_RULES`.
    """
    specs = read_encoders_of(store, backbone)
    if not specs or any("pixels" in spec.preprocess for spec in specs):
        return PIXEL_RULES
    for spec in specs:
        pictures = read_undisplayed(store, spec.fingerprint)
        for done, files in _looked_at(pictures):
            if files is None:
                return PIXEL_RULES
            writer.note(files, ())
            progress(Progress("looking at earlier pictures", done, len(pictures)))
    writer.commit()
    return 1


def _looked_at(pictures: pa.Table) -> Iterator[tuple[int, list[FileState] | None]]:
    """Files with their display, some at a time; None where one looks different now."""
    names = ("image_id", "content_digest", "size_bytes", "mtime_ns")
    with ThreadPoolExecutor(usable_cores()) as readers:
        for start in range(0, len(pictures), _TOGETHER):
            rows = pictures.slice(start, _TOGETHER).to_pylist()
            paths = [Path(real_path(row["root"], row["path"])) for row in rows]
            displays = list(readers.map(display_of_before, paths))
            if None in displays:
                yield start + len(rows), None
                return
            yield (
                start + len(rows),
                [
                    FileState(**{name: row[name] for name in names}, display=display)
                    for row, display in zip(rows, displays, strict=True)
                    if display
                ],
            )
