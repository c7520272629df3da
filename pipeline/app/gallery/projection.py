"""A map of the vectors in two dimensions, computed once and kept in the store.

Neighbourhoods are what such a map shows; distances, sizes and gaps between groups mean
nothing. openTSNE draws it where it is installed; PCA otherwise, and the page says so.
"""

import hashlib
import importlib.util
import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retune.store import FeatureStore, read_vectors
from retune.store.atomic_files import write_atomically

from .thumbnails import CACHE_FOLDER

__all__ = [
    "MOST_POINTS",
    "VectorMap",
    "compute_map",
    "image_of_digest",
    "method_of_map",
    "place_vectors",
    "read_map",
]

#: More points take minutes to lay out and say no more to the eye.
MOST_POINTS = 20_000
_SEED = 0
_PERPLEXITY = 30.0
_FEWEST = 10
_WIDTH = 50


@dataclass(frozen=True)
class VectorMap:
    """Points of pictures.

    Attributes:
        method: ``t-SNE`` or ``PCA``.
        digests: Content digests, N.
        xy: Shape (N, 2), float32, within 0..1.
        n_vectors: How many the store has; more than N if some were left out by chance.
    """

    method: str
    digests: tuple[str, ...]
    xy: npt.NDArray[np.float32]
    n_vectors: int


def method_of_map() -> str:
    """``t-SNE`` where openTSNE is installed, else ``PCA``."""
    return "t-SNE" if importlib.util.find_spec("openTSNE") is not None else "PCA"


def read_map(store: FeatureStore, fingerprint: str) -> VectorMap | None:
    """The map of an encoder's vectors as they are now; None if it is not made yet."""
    return _read(_file(store, fingerprint))


def compute_map(store: FeatureStore, fingerprint: str) -> VectorMap:
    """Draw the map of an encoder's vectors and keep it; the same each time.

    Raises:
        StoreWriteError: The disk refused.
    """
    file = _file(store, fingerprint)
    kept = _read(file)
    if kept is not None:
        return kept
    keys, vectors = read_vectors(store, fingerprint)
    chosen = np.arange(len(keys))
    if len(keys) > MOST_POINTS:
        drawn = np.random.default_rng(_SEED).choice(len(keys), MOST_POINTS, False)
        chosen = np.sort(drawn)
    shown = vectors[chosen].astype(np.float32)
    method, raw = place_vectors(shown / np.linalg.norm(shown, axis=1, keepdims=True))
    xy = _within_unit(raw)
    made = VectorMap(method, tuple(key.decode() for key in keys[chosen]), xy, len(keys))
    content = io.BytesIO()
    np.savez(
        content, method=np.array(method), digests=keys[chosen], xy=xy,
        n_vectors=np.array(len(keys)),
    )  # fmt: skip
    for older in file.parent.glob(f"map-{fingerprint}-*.npz"):
        older.unlink(missing_ok=True)
    write_atomically(file, content.getvalue())
    return made


def _file(store: FeatureStore, fingerprint: str) -> Path:
    """Named by the vectors that are there, so that others get another map."""
    rows = store.rows(
        """SELECT shard_id, count(*) FROM features
        WHERE fingerprint = ? AND modality = 'image' GROUP BY 1 ORDER BY 1""",
        [fingerprint],
    )
    text = repr((rows, method_of_map(), MOST_POINTS)).encode()
    digest = hashlib.blake2b(text, digest_size=8).hexdigest()
    return store.path / CACHE_FOLDER / f"map-{fingerprint}-{digest}.npz"


def _read(file: Path) -> VectorMap | None:
    if not file.is_file():
        return None
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as kept:
            return VectorMap(
                str(kept["method"]),
                tuple(key.decode() for key in kept["digests"]),
                kept["xy"],
                int(kept["n_vectors"]),
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        # Cut short: it is made again.
        return None


def place_vectors(
    units: npt.NDArray[np.float32],
) -> tuple[str, npt.NDArray[np.float64]]:
    """Project vectors onto a plane; the same each time.

    Args:
        units: Vectors of length 1, shape (N, D).

    Returns:
        The method, and x and y of each vector, shape (N, 2), in no unit.
    """
    reduced = _principal(units, min(_WIDTH, *units.shape)) if len(units) else units
    method = method_of_map()
    if method == "t-SNE" and len(units) >= _FEWEST:
        from openTSNE import TSNE

        xy = np.asarray(
            TSNE(
                perplexity=min(_PERPLEXITY, (len(units) - 1) / 3),
                random_state=_SEED,
                n_jobs=1,
                metric="euclidean",
            ).fit(reduced),
            dtype=np.float64,
        )
    else:
        method = "PCA"
        xy = np.zeros((len(units), 2))
        xy[:, : reduced.shape[1]] = reduced[:, :2]
    return method, xy


def _principal(units: npt.NDArray[np.float32], width: int) -> npt.NDArray[np.float64]:
    """Coordinates along the directions of largest variance, shape (N, width)."""
    centred = (units - units.mean(axis=0)).astype(np.float64)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    directions = vectors[:, np.argsort(-values)[:width]]
    # The sign of an eigenvector is arbitrary; this makes the map the same each time.
    largest = np.abs(directions).argmax(axis=0)
    directions *= np.sign(directions[largest, np.arange(directions.shape[1])])
    projected: npt.NDArray[np.float64] = centred @ directions
    return projected


def _within_unit(xy: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
    if not len(xy):
        return np.zeros((0, 2), dtype=np.float32)
    low, high = xy.min(axis=0), xy.max(axis=0)
    within = (xy - low) / np.maximum(high - low, 1e-12)
    return np.asarray(within, dtype=np.float32)


def image_of_digest(store: FeatureStore, digests: Sequence[str]) -> dict[str, str]:
    """Content digest -> the first image that has it, of those that are in the store."""
    import pyarrow as pa

    with store.catalog.read() as connection:
        connection.register("asked", pa.table({"digest": list(digests)}))
        rows = connection.execute(
            """SELECT content_digest, min(image_id) FROM images
            WHERE content_digest IN (SELECT digest FROM asked) GROUP BY 1"""
        ).fetchall()
    return dict(rows)
