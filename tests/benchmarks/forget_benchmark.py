"""Erasing one patient, and a hundred, from a store of a million images."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
from erasure_samples import add_descriptions
from measuring import Row, seconds
from store_samples import encoder

from retune.pipeline.app.erasing.forget import ForgetRequest, forget
from retune.pipeline.app.train import TrainRequest, train
from retune.store import FeatureStore, FileState
from retune.store.label_states import NEGATIVE, POSITIVE

N_IMAGES = 1_000_000
_IMAGES_OF_PATIENT = 4
_DIM = 128
_FINDINGS = ("Edema", "Mass", "Nodule", "Fracture", "Hernia")
_SHARD_ROWS = 16_384
#: What issue 18 allows: seconds for one patient, and times as long for a hundred.
_LIMIT_SECONDS = 60.0
_LIMIT_RATIO = 2.0


def forget_rows(root: Path, *, with_run: bool = True) -> list[Row]:
    """Erase from copies of one store, and compare with the limits."""
    store = million_store(root / "million")
    if with_run:
        train(store, TrainRequest("joint", method="analytic", bounds=False))
    n_patients = N_IMAGES // _IMAGES_OF_PATIENT
    taken = []
    for count in (1, min(100, n_patients // 4)):
        store_folder = root / f"without-{count}"
        shutil.copytree(store.path, store_folder)
        chosen = np.linspace(0, n_patients - 1, count).astype(int).tolist()
        request = ForgetRequest([_patient(number) for number in chosen])
        taken.append(seconds(lambda: forget(FeatureStore(store_folder), request)))  # noqa: B023
        shutil.rmtree(store_folder)
    one, many = taken
    what = f"of {N_IMAGES:,} images" + (" and an analytic run" if with_run else "")
    return [
        Row(
            f"forget a patient {what}", one, _LIMIT_SECONDS, "s",
            _LIMIT_SECONDS / one, 1,
        ),
        Row(
            "forget 100 patients (peer: twice one)", many, _LIMIT_RATIO * one, "s",
            _LIMIT_RATIO * one / many, 1,
        ),
    ]  # fmt: skip


def _patient(number: int) -> str:
    return f"patient-{number:07d}-x"


def million_store(path: Path) -> FeatureStore:
    """A store with random vectors that findings can be learned from."""
    random = np.random.default_rng(0)
    directions = random.normal(size=(len(_FINDINGS), _DIM))
    patient = np.arange(N_IMAGES) // _IMAGES_OF_PATIENT
    names = [_patient(number) for number in patient.tolist()]
    files = [f"scans/{name}/{index:07d}.png" for index, name in enumerate(names)]
    ids = [f"ward/{file}" for file in files]
    splits = np.array(["train"] * 8 + ["validation", "test"], dtype=object)
    images = pa.table(
        {
            "image_id": ids, "dataset": ["ward"] * N_IMAGES, "path": files,
            "patient_id": names, "study_id": pa.nulls(N_IMAGES, pa.string()),
            "view": ["PA"] * N_IMAGES, "sex": ["F"] * N_IMAGES,
            "age": pa.array((patient % 90).astype(np.float32)),
            "split": pa.array(splits[patient % 10]),
        }
    )  # fmt: skip
    store = FeatureStore.create(path)
    keys = [f"{number:032x}" for number in random.permutation(N_IMAGES).tolist()]
    states = np.empty((N_IMAGES, len(_FINDINGS)), dtype=np.int8)
    with store.writer("benchmark") as writer:
        for start in range(0, N_IMAGES, _SHARD_ROWS):
            part = slice(start, min(N_IMAGES, start + _SHARD_ROWS))
            x = random.normal(size=(part.stop - start, _DIM)).astype(np.float32)
            noise = 4 * random.normal(size=(len(x), len(_FINDINGS)))
            states[part] = np.where(x @ directions.T + noise > 8, POSITIVE, NEGATIVE)
            writer.publish(encoder(_DIM), "image", keys[part], x)
        writer.replace_dataset(
            images, _FINDINGS, states, dataset="ward", layout="table",
            root=path.parent, split_seed=0,
        )  # fmt: skip
        writer.note(
            [FileState(name, key, 1, 1) for name, key in zip(ids, keys, strict=True)],
            [],
        )
        add_descriptions(writer, _FINDINGS, directions)
    return store
