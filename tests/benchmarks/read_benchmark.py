"""Reading all vectors of a store into one array, against three peers."""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from measuring import Row, in_turns

from retune.store import EncoderSpec, FeatureStore, read_vectors
from retune.store.vectors import block_checks

DIM = 512
SHARDS = 31
Reader = Callable[[], np.ndarray]


def make_store(root: Path, n_rows: int) -> tuple[FeatureStore, EncoderSpec]:
    """A store of random float16 vectors in 31 shards, made once per folder."""
    spec = EncoderSpec(
        "random", str(n_rows), {}, {}, {}, "mean", "float32", "float16", DIM
    )
    if (root / "store" / "retune-store.json").exists():
        return FeatureStore(root / "store"), spec
    store = FeatureStore.create(root / "store")
    random = np.random.default_rng(0)
    with store.writer("benchmark") as writer:
        for rows in np.array_split(np.arange(n_rows), SHARDS):
            keys = [f"{row:032x}" for row in rows]
            values = random.standard_normal((len(rows), DIM), dtype=np.float32)
            writer.publish(spec, "image", keys, values)
    return store, spec


def read_rows(root: Path, n_rows: int, repeats: int) -> list[Row]:
    """Our reading against each peer, in turns."""
    store, spec = make_store(root, n_rows)
    _, vectors = read_vectors(store, spec.fingerprint)
    plain = root / "plain.npy"
    np.save(plain, vectors)
    peers = {"NumPy memory map (the limit)": _memory_map(plain)}
    peers["Parquet"] = _parquet(root, vectors)
    if importlib.util.find_spec("lance") is not None:
        peers["Lance"] = _lance(root, vectors)
    del vectors
    rows = [_first_read_row(store, spec, n_rows, repeats)]
    for name, peer in peers.items():
        ours, theirs, ratio = in_turns(
            lambda: read_vectors(store, spec.fingerprint), peer, repeats
        )
        goal = 0.8 if "limit" in name else None
        title = f"read {n_rows:,} x {DIM} float16: {name}"
        rows.append(Row(title, ours, theirs, "s", ratio, goal))
    return rows


def _first_read_row(
    store: FeatureStore, spec: EncoderSpec, n_rows: int, repeats: int
) -> Row:
    """What it costs to check every block, as a process does when it first reads it."""

    def first() -> object:
        block_checks.forget_checked()
        return read_vectors(store, spec.fingerprint)

    def again() -> object:
        return read_vectors(store, spec.fingerprint)

    # A tenth of the time is the price that we allow: a ratio of 0.91.
    ours, theirs, ratio = in_turns(first, again, 2 * repeats + 1)
    title = f"first read of {n_rows:,} x {DIM}, all blocks checked: read again"
    return Row(title, ours, theirs, "s", ratio, 0.91)


def _as_array(table: pa.Table) -> np.ndarray:
    flat = table["embedding"].combine_chunks().flatten()
    return np.array(flat.to_numpy(zero_copy_only=False)).reshape(-1, DIM)


def _memory_map(path: Path) -> Reader:
    # Into fresh memory, as our reader does.
    return lambda: np.array(np.load(path, mmap_mode="r"))


def _parquet(root: Path, vectors: np.ndarray) -> Reader:
    path = root / "vectors.parquet"
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    pq.write_table(pa.table({"embedding": flat}), path, compression="none")

    def read() -> np.ndarray:
        column = pq.read_table(path)["embedding"].combine_chunks()
        return np.array(column.flatten().to_numpy(zero_copy_only=False)).reshape(
            -1, DIM
        )

    return read


def _lance(root: Path, vectors: np.ndarray) -> Reader:
    import lance

    path = root / "vectors.lance"
    flat = pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), DIM)
    lance.write_dataset(pa.table({"embedding": flat}), path)

    def read() -> np.ndarray:
        column = lance.dataset(path).to_table()["embedding"].combine_chunks()
        return np.array(column.flatten().to_numpy(zero_copy_only=False)).reshape(
            -1, DIM
        )

    return read
