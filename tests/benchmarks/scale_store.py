"""A store of many images, quickly made: its vectors repeat, its rows do not."""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.pipeline.descriptions import load_descriptions
from retune.store import EncoderSpec, FeatureStore, StoreWriter
from retune.store.label_states import NEGATIVE, POSITIVE

__all__ = ["FINDINGS", "add_vectors", "make_scale_store"]

FINDINGS = ("Atelectasis", "Cardiomegaly", "Edema", "Pneumonia", "Pneumothorax")
_SHARD_ROWS = 16_384
_FILES_PER_FOLDER = 1_000
_IMAGES_PER_PATIENT = 4


def make_scale_store(root: Path, n_images: int, dim: int) -> FeatureStore:
    """A store of N encoded images with labels and descriptions.

    Args:
        root: Folder for `store` and `images`. All images are the same thousand empty
            files, under N names.
        n_images: N.
        dim: D.
    """
    spec = _encoder(dim)
    store = FeatureStore.create(root / "store")
    folder = _image_folders(root / "images", n_images)
    numbers = np.arange(n_images)
    with store.writer("benchmark") as writer:
        writer.replace_dataset(
            _images(numbers), FINDINGS, _states(numbers), dataset="scale",
            layout="table", root=folder, split_seed=0,
        )  # fmt: skip
        writer.add_encoder(spec, "scale", "cpu")
        _add_descriptions(writer, spec)
        for keys, vectors in _shards(n_images, dim):
            writer.publish(spec, "image", keys, vectors)
    _read_files(store, folder)
    return store


def add_vectors(store: FeatureStore, n_rows: int) -> None:
    """Commit further vectors, as `embed` does."""
    ((dim,),) = store.sql("SELECT dim FROM encoders").fetchall()
    with store.writer("benchmark") as writer:
        for keys, vectors in _shards(n_rows, dim):
            names = ["f" * 16 + key[16:] for key in keys]
            writer.publish(_encoder(dim), "image", names, vectors)


def _encoder(dim: int) -> EncoderSpec:
    return EncoderSpec("scale", "0", {}, {}, {}, "mean", "float32", "float16", dim)


def _image_folders(folder: Path, n_images: int) -> Path:
    real = folder / "real"
    real.mkdir(parents=True)
    for number in range(_FILES_PER_FOLDER):
        (real / f"{number:03d}.png").touch()
    for number in range(-(-n_images // _FILES_PER_FOLDER)):
        (folder / f"{number:05d}").symlink_to(real)
    return folder


def _images(numbers: npt.NDArray[np.int64]) -> pa.Table:
    path = [f"{n // 1000:05d}/{n % 1000:03d}.png" for n in numbers]
    patient = numbers // _IMAGES_PER_PATIENT
    n_images = len(numbers)
    splits = np.array(["train"] * 8 + ["validation", "test"])
    return pa.table(
        {
            "image_id": [f"scale/{one}" for one in path],
            "dataset": ["scale"] * n_images,
            "path": path,
            "patient_id": [f"patient{one:08d}" for one in patient],
            "study_id": pa.nulls(n_images, pa.string()),
            "view": np.array(["PA", "AP"])[numbers % 2],
            "sex": np.array(["F", "M"])[patient % 2],
            "age": pa.array(20.0 + patient % 70, pa.float32()),
            "split": splits[patient % 10],
        }
    )


def _states(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int8]:
    drawn = np.random.default_rng(1).random((len(numbers), len(FINDINGS)))
    return np.where(drawn < 0.2, POSITIVE, NEGATIVE).astype(np.int8)


def _add_descriptions(writer: StoreWriter, spec: EncoderSpec) -> None:
    described = load_descriptions("templates", FINDINGS)
    rows = [
        {
            "description_id": one.description_id,
            "text_digest": one.text_digest,
            **asdict(one),
        }
        for one in described
    ]
    writer.add_descriptions(pa.Table.from_pylist(rows))
    keys = sorted({one.text_digest for one in described})
    random = np.random.default_rng(2)
    vectors = random.standard_normal((len(keys), spec.dim), dtype=np.float32)
    writer.publish(spec, "text", keys, vectors)


def _shards(n_images: int, dim: int) -> Iterator[tuple[list[str], npt.NDArray]]:
    random = np.random.default_rng(0)
    block = random.standard_normal((_SHARD_ROWS, dim), dtype=np.float32)
    for start in range(0, n_images, _SHARD_ROWS):
        rows = range(start, min(start + _SHARD_ROWS, n_images))
        yield [_digest(row) for row in rows], block[: len(rows)] + start / n_images


def _digest(number: int) -> str:
    """Spread over all values, as content digests are."""
    return f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:016x}"


def _read_files(store: FeatureStore, folder: Path) -> None:
    """Say of every file that it was read and is as it was then."""
    modified = (folder / "real" / "000.png").stat().st_mtime_ns
    for path in (folder / "real").iterdir():
        os.utime(path, ns=(modified, modified))
    with store.catalog.write() as connection:
        connection.execute(
            """UPDATE images SET size_bytes = 0, mtime_ns = ?, content_digest =
            lpad(lower(hex(((split_part(path, '/', 1)::HUGEINT * 1000
                + split_part(split_part(path, '/', 2), '.', 1)::HUGEINT)
                * 11400714819323198485 % 18446744073709551616)::UBIGINT)), 16, '0')
            || lpad(lower(hex(split_part(path, '/', 1)::UBIGINT * 1000
                + split_part(split_part(path, '/', 2), '.', 1)::UBIGINT)), 16, '0')""",
            [modified],
        )
