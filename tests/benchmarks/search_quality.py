"""Does `search` find what it is asked for? On images that mini never saw.

Needs `make mini-benchmark` (a mini that saw no patient of nih-320) and a store that
`make results` made with it. A sentence should find images with the finding more often
than a draw would; an image should find images that share its findings.
"""

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from retune.pipeline.app.searching.query_encoder import QueryEncoder
from retune.pipeline.app.searching.search import SearchRequest, search
from retune.store import FeatureStore, choose_encoder, read_labelled_images
from retune.store.label_states import POSITIVE

_STORE = Path(__file__).resolve().parents[2] / "build" / "mini-benchmark" / "store"
#: Of mini; the store also has vectors of its image tower alone.
_BACKBONE = "local-dir:build/mini-benchmark/mini"
_K, _LEAST_POSITIVE, _DRAWS = 10, 20, 1000


def quality_lines() -> Iterator[str]:
    """Precision per finding and the same-finding rate, with 95 % intervals."""
    path = Path(os.environ.get("RETUNE_QUALITY_STORE", _STORE))
    if not (path / "retune-store.json").exists():
        yield f"search quality: no store at {path} (RETUNE_QUALITY_STORE names one)"
        return
    store = FeatureStore(path)
    encoder = choose_encoder(store, backbone=_BACKBONE)
    read = read_labelled_images(store, encoder.fingerprint, datasets=["nih-320"])
    positive = read.states == POSITIVE
    ids = {name: row for row, name in enumerate(read.images["image_id"].to_pylist())}
    patients = np.array(read.images["patient_id"].to_pylist())
    asked = QueryEncoder(store, encoder.fingerprint)
    yield f"search quality: {len(ids):,} images of nih-320, {encoder.backbone}"
    yield f"{'finding':22}  precision@{_K}  (95 %)            share of positives"
    for column, name in enumerate(read.findings):
        n_positive = int(positive[:, column].sum())
        if n_positive < _LEAST_POSITIVE or name == "No Finding":
            continue
        matches = search(
            store,
            SearchRequest(
                f"{name.lower()} is present", _K, datasets=("nih-320",), per_patient=1,
                without=f"no {name.lower()}",
            ),
            asked,
        )  # fmt: skip
        hits = sum(bool(positive[ids[hit.image_id], column]) for hit in matches)
        low, high = wilson(hits, len(matches))
        share = n_positive / len(positive)
        yield (
            f"{name:22}  {hits / len(matches):12.2f}  ({low:.2f} to {high:.2f})"
            f"  {share:16.3f}"
        )
    yield _same_finding_line(read.embedding.astype(np.float32), positive, patients)


def _same_finding_line(
    vectors: np.ndarray, positive: np.ndarray, patients: np.ndarray
) -> str:
    """How often the nearest image of another patient shares a finding."""
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    similar = vectors @ vectors.T
    similar[patients[:, None] == patients[None, :]] = -np.inf
    shared = (positive.astype(np.float32) @ positive.astype(np.float32).T) > 0
    asked = np.flatnonzero(positive.any(axis=1))
    nearest = np.argsort(-similar[asked], axis=1)[:, :_K]
    rate = np.take_along_axis(shared[asked], nearest, axis=1).mean(axis=1)
    others = patients[asked][:, None] != patients[None, :]
    chance = (shared[asked] & others).sum(axis=1) / others.sum(axis=1)
    low, high = _interval(rate - chance, patients[asked])
    return (
        f"image to image: {rate.mean():.3f} of the {_K} nearest share a finding, "
        f"{chance.mean():.3f} of all; difference {(rate - chance).mean():+.3f} "
        f"({low:+.3f} to {high:+.3f}, bootstrap over patients)"
    )


def _interval(values: np.ndarray, patients: np.ndarray) -> tuple[float, float]:
    _, of = np.unique(patients, return_inverse=True)
    totals = np.bincount(of, values)
    counts = np.bincount(of)
    random = np.random.default_rng(0)
    drawn = random.integers(0, len(totals), (_DRAWS, len(totals)))
    means = totals[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def wilson(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share.

    >>> [round(end, 3) for end in wilson(5, 10)]
    [0.237, 0.763]
    """
    z = 1.959964
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * np.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, float(centre - half)), min(1.0, float(centre + half))
