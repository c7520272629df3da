"""Small stores for tests."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from retune.store import EncoderSpec, FeatureStore, FileState, content_digest

FINDINGS = ("Edema", "Mass")


def encoder(dim: int = 8, **changes: object) -> EncoderSpec:
    """An encoder of D values; `changes` replace fields."""
    fields: dict[str, object] = {
        "backbone": "sample",
        "weights_digest": "w",
        "model_config": {"layers": 2},
        "preprocess": {"size": 4},
        "tokenizer": {"kind": "t"},
        "pooling": "mean",
        "precision": "float32",
        "output_dtype": "float16",
        "dim": dim,
    }
    return EncoderSpec(**(fields | changes))  # type: ignore[arg-type]  # by name


def images_table(n_images: int, dataset: str = "d") -> pa.Table:
    """N images, three of each patient."""
    return pa.table(
        {
            "image_id": [f"{dataset}/{i:04d}.png" for i in range(n_images)],
            "dataset": [dataset] * n_images,
            "path": [f"{i:04d}.png" for i in range(n_images)],
            "patient_id": [str(i // 3) for i in range(n_images)],
            "study_id": pa.nulls(n_images, pa.string()),
            "view": ["PA" if i % 2 else "AP" for i in range(n_images)],
            "sex": ["F"] * n_images,
            "age": pa.array([float(i) for i in range(n_images)], pa.float32()),
            "split": ["train"] * n_images,
        }
    )


def states(n_images: int, seed: int = 0) -> npt.NDArray[np.int8]:
    """Random label states, shape (N, 2)."""
    random = np.random.default_rng(seed)
    return random.integers(-2, 2, (n_images, len(FINDINGS))).astype(np.int8)


def vectors(n: int, dim: int = 8, seed: int = 0) -> npt.NDArray[np.float32]:
    """Random vectors, shape (n, D)."""
    return np.random.default_rng(seed).normal(size=(n, dim)).astype(np.float32)


def digests(names: Sequence[str]) -> list[str]:
    """Made-up content digests."""
    return [content_digest(name.encode()) for name in names]


def filled_store(root: Path, n_images: int = 10, dim: int = 8) -> FeatureStore:
    """A store with one dataset `d`, every image encoded."""
    store = FeatureStore.create(root)
    table = images_table(n_images)
    names = table["image_id"].to_pylist()
    with store.writer("test") as writer:
        writer.replace_dataset(
            table,
            FINDINGS,
            states(n_images),
            dataset="d",
            layout="table",
            root=root.parent,
            split_seed=0,
        )
        add_vectors(store, names, writer_dim=dim, writer=writer)
    return store


def add_vectors(
    store: FeatureStore,
    names: Sequence[str],
    *,
    writer: object,
    writer_dim: int = 8,
    seed: int = 0,
) -> None:
    """Publish and commit vectors for images by name."""
    from retune.store import StoreWriter

    assert isinstance(writer, StoreWriter)
    keys = digests(names)
    writer.publish(
        encoder(writer_dim), "image", keys, vectors(len(names), writer_dim, seed)
    )
    writer.note(
        [FileState(name, key, 1, 1) for name, key in zip(names, keys, strict=True)], []
    )
    writer.commit()
