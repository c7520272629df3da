"""`audit labels` against radiologists' readings, and how long it takes.

    python tests/benchmarks/audit_benchmark.py STORE --radiographs ../shared/data

STORE holds nih-320, encoded by a backbone that never saw its patients (`make
mini-benchmark`). Radiologists read some of its images for the RSNA Pneumonia Detection
Challenge ("lung opacity suspicious for pneumonia"). A label `Pneumonia` of NIH that
differs from their reading counts as wrong. Precision at 20 is the share of wrong labels
among the 20 that the audit doubts most, of images that were read, with Clopper and
Pearson's interval; random is the share of wrong labels among all of them.
"""

import argparse
import csv
import sys
import time
from pathlib import Path

import numpy as np
from scipy.stats import beta

from retune.pipeline.app.measuring.label_audit import LabelAuditRequest, audit_labels
from retune.pipeline.learn.audit.held_out import held_out_scores
from retune.pipeline.learn.runs.selection import Selection
from retune.store import FeatureStore

__all__ = ["held_out_seconds", "interval", "precision_against_readings"]


def interval(hits: int, n: int) -> tuple[float, float]:
    """95 % interval of a share (Clopper & Pearson 1934).

    >>> [round(end, 3) for end in interval(10, 20)]
    [0.272, 0.728]
    """
    low = beta.ppf(0.025, hits, n - hits + 1) if hits else 0.0
    high = beta.ppf(0.975, hits + 1, n - hits) if hits < n else 1.0
    return float(low), float(high)


def precision_against_readings(
    store: FeatureStore, dataset: str, backbone: str | None, readings: Path, k: int = 20
) -> tuple[int, int, float]:
    """Wrong labels among the k most doubtful, k, and the share among all."""
    with readings.open(encoding="utf-8") as file:
        read = {
            row["image_index"]: row["lung_opacity"] == "1"
            for row in csv.DictReader(file)
        }
    selection = Selection((dataset,), allow_leakage=True, allow_contaminated=True)
    request = LabelAuditRequest(
        selection, ("Pneumonia",), k=1_000_000, backbone=backbone
    )
    audit = audit_labels(store, request)
    wrong = [
        read[name] != (one.label == 1)
        for one in audit.labels
        for name in [one.image_id.rsplit("/", 1)[-1]]
        if name in read
    ]
    return sum(wrong[:k]), min(k, len(wrong)), float(np.mean(wrong))


def held_out_seconds(n_images: int = 223_414, dim: int = 512, n: int = 14) -> float:
    """What 223,414 x 512 with 14 findings takes; labels differ in what is unknown."""
    random = np.random.default_rng(0)
    x = random.standard_normal((n_images, dim), dtype=np.float32)
    value = (random.random((n_images, n)) < 0.1).astype(np.float32)
    observed = random.random((n_images, n)) < 0.9
    patient = random.integers(0, n_images // 3, n_images)
    started = time.perf_counter()
    held_out_scores(lambda rows: x[rows], value, observed, patient, np.eye(n, dim))
    return time.perf_counter() - started


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", type=Path)
    parser.add_argument("--dataset", default="nih-320")
    parser.add_argument("--radiographs", type=Path, default=Path("../shared/data"))
    parser.add_argument("--backbone", default="local-dir:build/mini-benchmark/mini")
    parser.add_argument("--images", type=int, default=223_414)
    given = parser.parse_args()
    readings = given.radiographs / given.dataset / "rsna_pneumonia.csv"
    hits, k, share = precision_against_readings(
        FeatureStore(given.store), given.dataset, given.backbone, readings
    )
    low, high = interval(hits, k)
    sys.stdout.write(
        f"precision at {k}: {hits / k:.2f} ({low:.2f} to {high:.2f}), random "
        f"{share:.2f}\n"
    )
    taken = held_out_seconds(given.images)
    sys.stdout.write(f"{given.images:,} x 512 x 14, held out: {taken:.0f} s\n")


if __name__ == "__main__":
    main()
