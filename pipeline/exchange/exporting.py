"""Writing what goes out, so that a file exists whole or not at all."""

import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.parquet as pq

from retune.store.errors import ConfigurationError, StoreWriteError

from .outgoing import OutgoingTable
from .writers.columnar import (
    write_arrow,
    write_dataset_folder,
    write_lance,
    write_parquet,
)
from .writers.croissant import describe
from .writers.matrices import write_csv, write_hdf5, write_npy, write_npz

__all__ = ["FORMATS", "refuse_existing", "write_export"]

_WRITERS: Final[dict[str, Callable[[OutgoingTable, Path], None]]] = {
    "parquet": write_parquet,
    "arrow": write_arrow,
    "npy": write_npy,
    "npz": write_npz,
    "h5": write_hdf5,
    "hf-dataset": write_dataset_folder,
    "lance": write_lance,
}
#: Name of a format -> what its files end in.
FORMATS: Final = {
    "parquet": ".parquet", "arrow": ".arrow", "npy": ".npy", "npz": ".npz",
    "h5": ".h5", "hf-dataset": "", "lance": ".lance",
}  # fmt: skip


def write_export(
    tables: Sequence[tuple[str | None, OutgoingTable]],
    to: str,
    out: Path,
    long_labels: pa.Table | None,
) -> list[Path]:
    """Write tables, labels and their description; gives what was written.

    Args:
        tables: Split and table; one with the split None, or one per split.
        to: A name in `FORMATS`.
        out: File or folder; with splits, ``-SPLIT`` comes before its ending.
        long_labels: One row per image and finding; None: not written.

    Raises:
        ConfigurationError: A package is not installed, or a number is too large.
        StoreWriteError: The disk refused; nothing is left of it.
    """
    if to == "hf-dataset" and tables[0][0] is not None:
        written = [_put(out, lambda part: _splits(tables, part))]
    else:
        written = []
        for split, table in tables:
            target = out if split is None else _beside(out, f"-{split}")
            written.append(_put(target, partial(_WRITERS[to], table)))
            if to == "npy":
                columns = table.columns
                beside = target.with_suffix(".csv")
                written.append(_put(beside, partial(write_csv, columns)))
    if long_labels is not None:
        labels = long_labels
        ending = ".csv" if to in ("npy", "npz", "h5") else ".parquet"
        written.append(
            _put(
                _named(out, f".labels{ending}"),
                lambda part: (
                    write_csv(labels, part)
                    if ending == ".csv"
                    else pq.write_table(labels, part)
                ),
            )
        )
    first = tables[0][1]
    told = describe(out.stem, first.schema, written, first.notes)
    text = json.dumps(told, indent=2, ensure_ascii=False)
    written.append(
        _put(
            _named(out, ".croissant.json"),
            lambda part: part.write_text(text, encoding="utf-8"),
        )
    )
    return written


def refuse_existing(out: Path, to: str) -> None:
    """Files are never replaced.

    Raises:
        ConfigurationError: `to` is unknown, the place is taken, or its folder is not
            there.
    """
    if to not in FORMATS:
        raise ConfigurationError(f"unknown `to` {to}", f"Use {', '.join(FORMATS)}.")
    if not out.absolute().parent.is_dir():
        raise ConfigurationError(
            f"there is no folder {out.absolute().parent}", "Make it, or choose another."
        )
    taken = [
        one
        for one in out.absolute().parent.iterdir()
        if one.name == out.name
        or one.name in (f"{out.stem}.croissant.json", f"{out.stem}.csv" * (to == "npy"))
    ]
    if taken:
        raise ConfigurationError(
            f"{taken[0]} exists already",
            "Remove it, or choose another place with `out`.",
        )


def _splits(tables: Sequence[tuple[str | None, OutgoingTable]], folder: Path) -> None:
    """What `datasets` calls a DatasetDict: a folder for each split."""
    folder.mkdir()
    names = [str(split) for split, _ in tables]
    for split, table in tables:
        write_dataset_folder(table, folder / str(split))
    content = json.dumps({"splits": names})
    (folder / "dataset_dict.json").write_text(content, encoding="utf-8")


def _beside(out: Path, words: str) -> Path:
    return out.with_name(f"{out.stem}{words}{out.suffix}")


def _named(out: Path, ending: str) -> Path:
    return out.with_name(out.stem + ending)


def _put(target: Path, write: Callable[[Path], object]) -> Path:
    """Write under another name, and rename when all is there."""
    part = target.with_name(f".tmp-{uuid.uuid4().hex}{target.suffix}")
    try:
        write(part)
        os.replace(part, target)  # noqa: PTH105 - files and folders alike
    except OSError as error:
        raise StoreWriteError(
            f"cannot write {target}: {error.strerror or error}",
            "Free space there, or choose another place with `out`.",
        ) from error
    finally:
        if part.is_dir():
            shutil.rmtree(part, ignore_errors=True)
        else:
            part.unlink(missing_ok=True)
    return target
