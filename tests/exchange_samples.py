"""A store whose images are known by a table alone, and files with their vectors."""

import csv
import struct
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.ipc
import pyarrow.parquet as pq

import retune
from retune.pipeline.exchange.readers.tfrecord import crc32c

N, D = 60, 8
IDS = [f"p{n // 2:02d}/s{n:03d}/view{n:03d}.jpg" for n in range(N)]


def make_store(folder: Path, n: int = N) -> "retune.Store":
    """A store with `n` images that have no files, two findings and splits."""
    data = folder / "table"
    data.mkdir()
    random = np.random.default_rng(1)
    with (data / "labels.csv").open("w", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["path", "patient_id", "split", "Edema", "Fracture"])
        for index in range(n):
            split = ("train", "train", "validation", "test")[index // 2 % 4]
            name = f"p{index // 2:02d}/s{index:03d}/view{index:03d}.jpg"
            states = random.integers(0, 2, 2).tolist()
            rows.writerow([name, f"p{index // 2:02d}", split, *states])
    store = retune.open(folder / "store", create=True)
    store.ingest(data, layout="table")
    return store


def vectors_of(n: int = N, dim: int = D, dtype: str = "float32") -> np.ndarray:
    """Vectors that depend on their place only."""
    return np.random.default_rng(7).standard_normal((n, dim)).astype(dtype)


def telling(store: retune.Store, *findings: str) -> np.ndarray:
    """Vectors of all images that tell whether they have these findings."""
    vectors, frame = vectors_of(), store.frame(labels=True)
    for number, finding in enumerate(findings):
        vectors[:, number] = 3 * frame[finding].to_numpy() - 1.5
    return vectors


def lists(vectors: np.ndarray) -> pa.Array:
    """Vectors as fixed-size lists."""
    flat = pa.array(np.ascontiguousarray(vectors).reshape(-1))
    return pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])


def varint(value: int) -> bytes:
    encoded = b""
    while value > 127:
        encoded += bytes([value & 127 | 128])
        value >>= 7
    return encoded + bytes([value])


def message(number: int, content: bytes) -> bytes:
    """A field of a protocol buffer that holds bytes or a message."""
    return varint(number << 3 | 2) + varint(len(content)) + content


def example(features: dict[str, bytes | np.ndarray | int]) -> bytes:
    """A `tf.train.Example` as TensorFlow serialises it."""
    entries = b""
    for name, value in features.items():
        if isinstance(value, bytes):
            feature = message(1, message(1, value))
        elif isinstance(value, int):
            feature = message(3, message(1, varint(value)))
        else:
            feature = message(2, message(1, value.astype("<f4").tobytes()))
        entries += message(1, message(1, name.encode()) + message(2, feature))
    return message(1, entries)


def framed(record: bytes) -> bytes:
    """A record of a TFRecord file."""

    def masked(content: bytes) -> bytes:
        value = crc32c(content)
        value = ((value >> 15 | value << 17) + 0xA282EAD8) & 0xFFFFFFFF
        return struct.pack("<I", value)

    head = struct.pack("<Q", len(record))
    return head + masked(head) + record + masked(record)


def write(
    folder: Path, layout: str, vectors: np.ndarray, ids: Sequence[str] = IDS
) -> dict:
    """Write vectors in a published layout; gives the arguments of `import_vectors`."""
    folder.mkdir(exist_ok=True)
    path = folder / "vectors"
    if layout == "parquet":  # a fixed-size list, as `datasets` and pandas write it
        file = path.with_suffix(".parquet")
        pq.write_table(pa.table({"image_id": ids, "embedding": lists(vectors)}), file)
        return {"files": [file], "ids": "image_id"}
    if layout == "parquet-lists":  # lists that need not be equally long, in row groups
        file = path.with_suffix(".parquet")
        column = pa.array(list(vectors), pa.list_(pa.from_numpy_dtype(vectors.dtype)))
        table = pa.table({"dicom_id": ids, "features": column, "n": range(len(ids))})
        pq.write_table(table, file, row_group_size=7)
        return {"files": [file], "ids": "dicom_id", "vectors": "features"}
    if layout == "feather":
        file = path.with_suffix(".feather")
        table = pa.table({"image_id": ids, "embedding": lists(vectors)})
        pyarrow.feather.write_feather(table, file)
        return {"files": [file], "ids": "image_id"}
    if layout == "arrow-stream":
        file = path.with_suffix(".arrow")
        table = pa.table({"image_id": ids, "embedding": lists(vectors)})
        with pyarrow.ipc.new_stream(file, table.schema) as out:
            out.write_table(table, max_chunksize=11)
        return {"files": [file], "ids": "image_id"}
    if layout == "npz":
        file = path.with_suffix(".npz")
        np.savez(file, embeddings=vectors, paths=np.array(ids))
        return {"files": [file], "ids": "paths"}
    if layout == "npz-packed":
        file = path.with_suffix(".npz")
        np.savez_compressed(file, x=vectors, names=np.array(ids, dtype="S"))
        return {"files": [file]}
    if layout == "npy-csv":
        np.save(path.with_suffix(".npy"), vectors)
        text = "image,label\n" + "".join(f"{name},0\n" for name in ids)
        path.with_suffix(".csv").write_text(text)
        return {
            "files": [path.with_suffix(".npy"), path.with_suffix(".csv")],
            "ids": "image",
        }
    if layout == "npy-txt":  # an array that is stored by columns
        np.save(path.with_suffix(".npy"), np.asfortranarray(vectors))
        path.with_suffix(".txt").write_text("\n".join(ids) + "\n")
        return {"files": [path.with_suffix(".npy"), path.with_suffix(".txt")]}
    if layout == "hdf5":
        file = path.with_suffix(".h5")
        with h5py.File(file, "w") as out:
            out.create_dataset(
                "set/embeddings", data=vectors, chunks=(7, vectors.shape[1])
            )
            out.create_dataset("set/keys", data=list(ids), dtype=h5py.string_dtype())
        return {"files": [file], "ids": "set/keys"}
    if layout == "datasets":  # Dataset.save_to_disk
        import datasets

        features = datasets.Features(
            {
                "image_path": datasets.Value("string"),
                "embedding": datasets.Sequence(
                    datasets.Value(str(vectors.dtype)), length=vectors.shape[1]
                ),
            }
        )
        made = datasets.Dataset.from_dict(
            {"image_path": list(ids), "embedding": list(vectors)}, features=features
        )
        made.save_to_disk(str(folder / "hf"), num_shards=2)
        return {"files": [folder / "hf"], "ids": "image_path"}
    if layout == "tfrecord":  # PhysioNet's: one file and one record per image
        for line, name in enumerate(ids):
            file = (folder / "files" / name).with_suffix(".tfrecord")
            file.parent.mkdir(parents=True, exist_ok=True)
            record = example(
                {
                    "image/format": b"png",
                    "image/id": f"files/{name.replace('.jpg', '.dcm')}".encode(),
                    "embedding": vectors[line],
                }
            )
            file.write_bytes(framed(record))
        return {"files": [folder / "files"]}
    assert layout == "clip-retrieval"
    for part, rows in enumerate(np.array_split(np.arange(len(ids)), 2)):
        for name in ("img_emb", "metadata"):
            (folder / "clip" / name).mkdir(parents=True, exist_ok=True)
        np.save(folder / "clip" / "img_emb" / f"img_emb_{part}.npy", vectors[rows])
        pq.write_table(
            pa.table({"image_path": [f"/data/{ids[row]}" for row in rows]}),
            folder / "clip" / "metadata" / f"metadata_{part}.parquet",
        )
    return {"files": [folder / "clip"]}


KINDS = (
    "parquet", "parquet-lists", "feather", "arrow-stream", "npz", "npz-packed",
    "npy-csv", "npy-txt", "hdf5", "datasets", "tfrecord", "clip-retrieval",
)  # fmt: skip
