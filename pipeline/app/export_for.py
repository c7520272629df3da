"""Files that other tools for looking at images open at once.

Embedding Atlas takes a Parquet file with places on a map, neighbours and small
pictures; FiftyOne a folder with paths and labels. Both then hold what the store does
not: pictures of patients, or where they lie.
"""

import io
import json
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from retune.store import FeatureStore
from retune.store.atomic_files import write_atomically
from retune.store.errors import ConfigurationError, StoreWriteError
from retune.store.hidden_paths import real_path

from ..progress import Progress, ProgressCallback, silent
from .example_images import small_jpeg
from .gallery.projection import place_vectors
from .queries.images import ImageQuery, image_table

__all__ = [
    "TOOLS",
    "ExportForRequest",
    "ExportedFor",
    "export_for",
    "export_for_embedding_atlas",
    "export_for_fiftyone",
]

TOOLS = ("embedding-atlas", "fiftyone")
_SEED, _N_NEIGHBOURS, _BLOCK = 0, 15, 1024
#: What a browser shows as it is.
_SHOWN = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
_STATES = {1: "positive", 0: "negative", -1: "uncertain"}
_ABOUT = ("dataset", "patient_id", "view", "sex", "age", "split")
_ATLAS_OPTIONS = (
    "--x", "x", "--y", "y", "--neighbors", "neighbors", "--image", "image",
    "--disable-projection",
)  # fmt: skip
_FIFTYONE_TYPE = "fiftyone.types.FiftyOneImageClassificationDataset"
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class ExportForRequest:
    """What to export for which tool.

    Attributes:
        tool: One of `TOOLS`.
        out: The file or folder to write; None: named after the tool.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        backbone: Whose vectors; None if the store has those of one encoder.
        fingerprint: Fingerprint of the encoder, or its beginning.
        most: More images are drawn by chance, because pictures and neighbours of all
            would take hours.
        side: Side of the small pictures, in pixels.
        split: ``train``, ``validation`` or ``test``; None for all.
    """

    tool: str
    out: Path | None = None
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    backbone: str | None = None
    fingerprint: str | None = None
    most: int = 20_000
    side: int = 256
    split: str | None = None


@dataclass(frozen=True)
class ExportedFor:
    """What was written.

    Attributes:
        path: The file or folder.
        n_images: How many images are in it.
        n_left_out: How many were left out by chance.
        n_unreadable: How many of those in it have no picture.
        command: What opens it.
    """

    path: Path
    n_images: int
    n_left_out: int
    n_unreadable: int
    command: str


def export_for(
    store: FeatureStore, request: ExportForRequest, progress: ProgressCallback = silent
) -> ExportedFor:
    """Write what a tool opens at once.

    Args:
        store: With vectors.
        request: What to export.
        progress: Called as pictures are made.

    Raises:
        ConfigurationError: The tool, a dataset or an encoder is unknown, no image fits,
            or the place to write to is taken.
        QueryError: `where` is no condition over `images`.
        StoreWriteError: The disk refused.

    Example:
        export_for(store, ExportForRequest("fiftyone"))
    """
    written: Mapping[str, Callable[..., ExportedFor]] = {
        "embedding-atlas": export_for_embedding_atlas,
        "fiftyone": export_for_fiftyone,
    }
    if request.tool not in written:
        raise ConfigurationError(
            f"unknown tool {request.tool}", f"Use one of {', '.join(TOOLS)}."
        )
    return written[request.tool](store, request, progress)


def export_for_embedding_atlas(
    store: FeatureStore, request: ExportForRequest, progress: ProgressCallback = silent
) -> ExportedFor:
    """A Parquet file with `x`, `y`, `neighbors`, `image`, labels and what is known.

    Raises:
        ConfigurationError: As `export_for`.
        StoreWriteError: The disk refused.
    """
    out = _free(request.out or Path("embedding-atlas.parquet"))
    table, left_out = _images(store, request, vectors=True)
    vectors = _units(table["embedding"])
    _, xy = place_vectors(vectors)
    paths = _paths(store, table)
    pictures = []
    for number, path in enumerate(paths, start=1):
        pictures.append(small_jpeg(path, request.side))
        progress(Progress("pictures", number, len(paths)))
    columns = {
        "x": pa.array(xy[:, 0], pa.float32()),
        "y": pa.array(xy[:, 1], pa.float32()),
        "neighbors": _neighbours(vectors),
        "image": pa.array(
            [one and {"bytes": one, "path": None} for one in pictures],
            pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
        ),
    }
    known = _readable(table)
    for name in known.column_names:
        columns[name if name not in columns else f"{name} (label)"] = known[name]
    file = io.BytesIO()
    pq.write_table(pa.table(columns), file, compression="zstd")
    _write(out, file.getvalue())
    command = shlex.join(["embedding-atlas", str(out), *_ATLAS_OPTIONS])
    unreadable = sum(one is None for one in pictures)
    return ExportedFor(out, len(table), left_out, unreadable, command)


def export_for_fiftyone(
    store: FeatureStore, request: ExportForRequest, progress: ProgressCallback = silent
) -> ExportedFor:
    """A folder with `labels.json`; files that no browser shows become JPEG in `data`.

    It has the layout FiftyOneImageClassificationDataset: each positive or uncertain
    label is a classification, with its state and what is known of the image beside it.

    Raises:
        ConfigurationError: As `export_for`.
        StoreWriteError: The disk refused.
    """
    out = _free(request.out or Path("fiftyone"))
    table, left_out = _images(store, request, vectors=False)
    rows = _readable(table).to_pylist()
    findings = _findings(table)
    labels: dict[str, list[dict[str, object]]] = {}
    unreadable = 0
    for index, (path, row) in enumerate(zip(_paths(store, table), rows, strict=True)):
        shown = _shown(path, out / "data" / f"{index:06d}.jpg", request.side)
        unreadable += shown is None
        if shown is not None:
            labels[str(shown)] = _classifications(row, findings)
        progress(Progress("pictures", index + 1, len(rows)))
    text = json.dumps({"classes": findings, "labels": labels}, ensure_ascii=False)
    _write(out / "labels.json", text.encode())
    made = ("--name", out.name, "--dataset-dir", str(out), "--type", _FIFTYONE_TYPE)
    create = shlex.join(["fiftyone", "datasets", "create", *made])
    command = f"{create} && {shlex.join(['fiftyone', 'app', 'launch', out.name])}"
    return ExportedFor(out, len(rows), left_out, unreadable, command)


def _free(path: Path) -> Path:
    """A path that nothing lies at; nothing is ever replaced."""
    if path.exists():
        raise ConfigurationError(
            f"{path} is there already", "Name another place with `out`."
        )
    return path.resolve()


def _images(
    store: FeatureStore, request: ExportForRequest, *, vectors: bool
) -> tuple[pa.Table, int]:
    """The images, at most so many; and how many were left out."""
    table = image_table(
        store,
        ImageQuery(
            request.split,
            datasets=request.datasets,
            where=request.where,
            labels=True,
            vectors=vectors,
            backbone=request.backbone if vectors else None,
            fingerprint=request.fingerprint if vectors else None,
        ),
    )
    if not len(table):
        raise ConfigurationError(
            f"no image of {store.path} fits",
            "`retune-cli status` says which have vectors.",
        )
    left_out = max(0, len(table) - request.most)
    if left_out:
        drawn = np.random.default_rng(_SEED).permutation(len(table))[: request.most]
        table = table.take(pa.array(np.sort(drawn)))
    return table, left_out


def _paths(store: FeatureStore, table: pa.Table) -> list[Path]:
    """Where the files lie, in the order of the rows."""
    rows = store.rows("SELECT dataset, root FROM datasets")
    roots = dict(rows)
    return [
        Path(real_path(roots[dataset], path))
        for dataset, path in zip(
            table["dataset"].to_pylist(), table["path"].to_pylist(), strict=True
        )
    ]


def _findings(table: pa.Table) -> list[str]:
    return [field.name for field in table.schema if field.type == pa.int8()]


def _readable(table: pa.Table) -> pa.Table:
    """What is known of the images, and label states in words."""
    columns = {"image_id": table["image_id"]}
    columns |= {name: table[name] for name in _ABOUT if name in table.column_names}
    for name in _findings(table):
        states = [_STATES.get(one) for one in table[name].to_pylist()]
        columns[name] = pa.array(states, pa.string()).dictionary_encode()
    return pa.table(columns)


def _classifications(
    row: Mapping[str, object], findings: list[str]
) -> list[dict[str, object]]:
    about = {name: row[name] for name in ("image_id", *_ABOUT) if row.get(name)}
    return [
        {"label": name, "attributes": {**about, "state": row[name]}}
        for name in findings
        if row[name] in ("positive", "uncertain")
    ]


def _shown(path: Path, copy: Path, side: int) -> Path | None:
    """The file itself if a browser shows it, else a JPEG of it; None if unreadable."""
    if path.suffix.lower() in _SHOWN:
        return path.resolve() if path.is_file() else None
    content = small_jpeg(path, max(side, 1024))
    if content is None:
        return None
    _write(copy, content)
    return copy


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StoreWriteError(
            f"{path.parent} cannot be made: {error.strerror}", "Name another `out`."
        ) from error
    write_atomically(path, content)


def _units(column: pa.ChunkedArray) -> Floats:
    """Vectors of length 1, shape (N, D)."""
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    vectors = flat.reshape(len(column), -1).astype(np.float32)
    units: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def _neighbours(units: Floats) -> pa.Array:
    """The nearest images of each, by cosine: rows and distances, nearest first."""
    most = min(_N_NEIGHBOURS, len(units) - 1)
    neighbours = []
    for start in range(0, len(units), _BLOCK):
        near = units[start : start + _BLOCK] @ units.T
        rows = np.arange(len(near))
        near[rows, start + rows] = -np.inf  # not itself
        ids = np.argsort(-near, axis=1, kind="stable")[:, :most]
        distances = 1 - np.take_along_axis(near, ids, axis=1)
        neighbours += [
            {"ids": one, "distances": far}
            for one, far in zip(ids.tolist(), distances.tolist(), strict=True)
        ]
    neighbour_type = pa.struct(
        [("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float32()))]
    )
    return pa.array(neighbours, neighbour_type)
