"""A store with something in every table, and what it answers."""

from datetime import datetime
from pathlib import Path

import pyarrow as pa
from store_samples import FINDINGS, encoder, filled_store, images_table

from retune.store import (
    FeatureStore,
    MetricValue,
    Run,
    read_labelled_images,
    read_vectors,
    record_run,
)

N_IMAGES = 60
DIM = 16


def run_of(run_id: str) -> Run:
    """A finished run."""
    begun = datetime(2026, 1, 2, 3, 4, 5)
    spec = encoder(DIM)
    return Run(run_id, spec.fingerprint, "label", "m", 0, "{}", begun, 1.5, "finished")


def predictions() -> pa.Table:
    """A score for each image."""
    ids = images_table(N_IMAGES)["image_id"]
    scores = pa.array([0.5] * N_IMAGES, pa.float32())
    return pa.table(
        {
            "task": pa.array([1] * N_IMAGES, pa.int32()),
            "image_id": ids,
            "finding": [FINDINGS[0]] * N_IMAGES,
            "score": scores,
            "probability": scores,
        }
    )


def whole_store(root: Path) -> FeatureStore:
    """A store with images, labels, vectors and a run."""
    store = filled_store(root, N_IMAGES, DIM)
    figures = [MetricValue(1, "test", None, "final_auroc", 0.75)]
    record_run(store, run_of("first"), figures, predictions())
    return store


_QUERIES = (
    "FROM datasets",
    "FROM images ORDER BY ALL",
    "FROM labels ORDER BY ALL",
    "FROM label_matrix ORDER BY ALL",
    "FROM label_versions ORDER BY ALL",
    "SELECT * EXCLUDE (added_at, device) FROM encoders ORDER BY ALL",
    "FROM features ORDER BY ALL",
    "FROM runs ORDER BY ALL",
    "FROM metrics ORDER BY ALL",
    "FROM predictions ORDER BY ALL",
    "SELECT image_id, embedding FROM image_features ORDER BY ALL",
)


#: All of them in one statement: what takes long is opening a catalog.
_EVERYTHING = "SELECT " + ", ".join(
    f"(SELECT list(answer) FROM ({query}) answer)" for query in _QUERIES
)


def answers(store: FeatureStore) -> list[object]:
    """All that a store says, as values that can be compared."""
    fingerprint = encoder(DIM).fingerprint
    keys, vectors = read_vectors(store, fingerprint)
    read = read_labelled_images(store, fingerprint)
    arrays = [keys, vectors, read.states, read.embedding]
    rows = store.sql(_EVERYTHING).fetchall()
    return [*(array.tobytes() for array in arrays), *rows]
