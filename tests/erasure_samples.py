"""A store with learnable vectors and no picture, from which people are erased."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from store_samples import encoder

from retune.store import FeatureStore, FileState, ItemFailure, content_digest
from retune.store.label_states import NEGATIVE, POSITIVE

FINDINGS = ("Edema", "Mass")
DIM = 16


def patient_name(number: int) -> str:
    """The id of a patient, long enough to be told in bytes."""
    return f"patient-{number:05d}-x"


def image_rows(patients: npt.NDArray[np.int64], dataset: str = "ward") -> pa.Table:
    """A row for each image; the number of its patient says the split."""
    n_images = len(patients)
    names = [patient_name(number) for number in patients.tolist()]
    files = [f"scans/{name}/{index:05d}.png" for index, name in enumerate(names)]
    splits = ("train", "train", "train", "validation", "test")
    return pa.table(
        {
            "image_id": [f"{dataset}/{file}" for file in files],
            "dataset": [dataset] * n_images,
            "path": files,
            "patient_id": names,
            "study_id": [f"study-of-{name}" for name in names],
            "view": ["PA"] * n_images,
            "sex": ["F" if number % 2 else "M" for number in patients.tolist()],
            "age": pa.array((patients % 80).astype(np.float32), pa.float32()),
            "split": [splits[number % 5] for number in patients.tolist()],
        }
    )


def learnable_store(
    root: Path,
    n_patients: int = 60,
    *,
    without: frozenset[int] = frozenset(),
    shifted: float = 0.0,
) -> FeatureStore:
    """Two images of each patient, findings that are directions of the vectors.

    Args:
        root: Where the store goes.
        n_patients: How many patients.
        without: Numbers of patients who never were in it.
        shifted: How far images of patients with odd numbers lie elsewhere, along a
            direction that no finding has.
    """
    random = np.random.default_rng(0)
    directions = np.linalg.qr(random.normal(size=(DIM, DIM)))[0][: len(FINDINGS)]
    patients = np.repeat(np.arange(n_patients), 2)
    x = random.normal(size=(len(patients), DIM)) + 0.3
    aside = np.linalg.svd(directions)[2][-1]
    x += shifted * (patients % 2)[:, None] * aside
    noise = 0.4 * random.normal(size=(len(patients), len(FINDINGS)))
    states = np.where((x @ directions.T + noise) > 0.3, POSITIVE, NEGATIVE)
    rows = image_rows(patients)
    kept = np.array([number not in without for number in patients.tolist()])
    rows, states, x = rows.filter(pa.array(kept)), states[kept], x[kept]
    store = FeatureStore.create(root)
    names = rows["image_id"].to_pylist()
    keys = [content_digest(name.encode()) for name in names]
    with store.writer("test") as writer:
        writer.replace_dataset(
            rows, FINDINGS, states.astype(np.int8), dataset="ward", layout="table",
            root=root.parent, split_seed=0,
        )  # fmt: skip
        half = len(keys) // 2
        for part in (slice(0, half), slice(half, None)):
            writer.publish(encoder(DIM), "image", keys[part], x[part])
        writer.note(
            [FileState(name, key, 1, 1) for name, key in zip(names, keys, strict=True)],
            [ItemFailure(names[4], rows["path"][4].as_py(), "decode", "was cut", None)],
        )
        add_descriptions(writer, FINDINGS, directions)
    return store


def add_descriptions(
    writer: object, findings: Sequence[str], directions: npt.NDArray[np.float64]
) -> None:
    """A sentence of each polarity for each finding, along its direction."""
    from retune.store import StoreWriter

    assert isinstance(writer, StoreWriter)
    texts, vectors = [], []
    for finding, direction in zip(findings, directions, strict=True):
        for polarity, sign in (("positive", 1), ("negative", -1)):
            texts.append((finding, polarity, f"{polarity} {finding}"))
            vectors.append(sign * direction)
    digests = [content_digest(text.encode()) for _, _, text in texts]
    n = len(texts)
    writer.add_descriptions(
        pa.table(
            {
                "description_id": digests,
                "set_name": ["default"] * n,
                "finding": [one for one, _, _ in texts],
                "polarity": [one for _, one, _ in texts],
                "text": [one for _, _, one in texts],
                "text_digest": digests,
            }
        )
    )
    writer.publish(encoder(directions.shape[1]), "text", digests, np.array(vectors))
    writer.commit()


def bytes_of(root: Path) -> dict[str, bytes]:
    """Name of each file of a store -> its content, the proof of an erasure left out."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.name != "erasure.key"
    }
