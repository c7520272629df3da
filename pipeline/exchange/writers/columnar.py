"""Parquet, Arrow IPC, Lance, and folders of the package `datasets`."""

import hashlib
import json
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from retune.store.errors import ConfigurationError

from ..outgoing import OutgoingTable

__all__ = ["write_arrow", "write_dataset_folder", "write_lance", "write_parquet"]

_SHARD_BYTES: Final = 500_000_000
#: Arrow's types as the package `datasets` calls them.
_VALUES: Final = {"float": "float32", "halffloat": "float16", "double": "float64"}


def write_parquet(table: OutgoingTable, path: Path) -> None:
    """One Parquet file; vectors are not packed, which costs time and gains nothing."""
    packed: Any = list(table.columns.column_names)
    with pq.ParquetWriter(
        path, table.schema, use_dictionary=packed, compression="none"
    ) as writer:
        for batch in table.batches():
            writer.write_batch(batch)


def write_arrow(table: OutgoingTable, path: Path) -> None:
    """One file of Arrow's file format, which is Feather too."""
    with pyarrow.ipc.new_file(path, table.schema) as writer:
        for batch in table.batches():
            writer.write_batch(batch)


def write_lance(table: OutgoingTable, path: Path) -> None:
    """A Lance dataset.

    Raises:
        ConfigurationError: The package pylance is not installed.
    """
    try:
        import lance
    except ImportError as error:
        raise ConfigurationError(
            "writing Lance needs the package pylance", "pip install pylance"
        ) from error
    reader = pa.RecordBatchReader.from_batches(table.schema, table.batches())
    lance.write_dataset(reader, str(path))


def write_dataset_folder(table: OutgoingTable, path: Path) -> None:
    """What `datasets.load_from_disk` reads: Arrow streams and two records."""
    path.mkdir()
    row_bytes = table.dim * (2 if table.dtype == "float16" else 4)
    per_file = max(1, _SHARD_BYTES // row_bytes)
    names: list[str] = []
    total = -(-len(table) // per_file)
    writer, written = None, 0
    digest = hashlib.blake2b(digest_size=8)
    plain = table.schema.remove_metadata()
    for batch in table.batches():
        if writer is None or written >= per_file:
            if writer is not None:
                writer.close()
            names.append(f"data-{len(names):05d}-of-{total:05d}.arrow")
            writer, written = pyarrow.ipc.new_stream(path / names[-1], plain), 0
        writer.write_batch(batch.cast(plain))
        written += len(batch)
        digest.update(batch.column(0)[0].as_py().encode())
    if writer is not None:
        writer.close()
    names = _renamed(path, names)
    state: dict[str, Any] = {
        "_data_files": [{"filename": name} for name in names],
        "_fingerprint": digest.hexdigest(),
        "_format_columns": None, "_format_kwargs": {}, "_format_type": None,
        "_output_all_columns": False, "_split": None,
    }  # fmt: skip
    info = {
        "citation": "", "description": json.dumps(table.notes, ensure_ascii=False),
        "features": {one.name: _feature(one.type) for one in plain},
        "homepage": "", "license": "",
    }  # fmt: skip
    for name, content in (("state.json", state), ("dataset_info.json", info)):
        (path / name).write_text(json.dumps(content, indent=2), encoding="utf-8")


def _renamed(path: Path, names: list[str]) -> list[str]:
    """Files named by how many there turned out to be."""
    right = [f"data-{at:05d}-of-{len(names):05d}.arrow" for at in range(len(names))]
    for before, after in zip(names, right, strict=True):
        (path / before).rename(path / after)
    return right


def _feature(arrow_type: pa.DataType) -> dict[str, Any]:
    if pa.types.is_fixed_size_list(arrow_type):
        return {
            "feature": _feature(arrow_type.value_type),
            "length": arrow_type.list_size,
            "_type": "List",
        }
    return {"dtype": _VALUES.get(str(arrow_type), str(arrow_type)), "_type": "Value"}
