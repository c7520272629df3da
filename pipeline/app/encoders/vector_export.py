"""Images, labels and vectors of one encoder go out to files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.store import FeatureStore, choose_encoder
from retune.store.errors import ConfigurationError
from retune.store.queries.outgoing import (
    IMAGE_COLUMNS,
    read_long_labels,
    read_outgoing,
)

from ...exchange.exporting import FORMATS, refuse_existing, write_export
from ...exchange.outgoing import OutgoingTable
from ..queries.images import check_split

__all__ = ["ExportRequest", "ExportSummary", "export"]


@dataclass(frozen=True)
class ExportRequest:
    """What goes out, and how.

    Attributes:
        to: ``parquet``, ``arrow``, ``npy``, ``npz``, ``h5``, ``hf-dataset`` or
            ``lance``.
        out: File or folder; None: ``vectors`` in the current folder.
        backbone: Whose vectors; None if the store has those of one encoder.
        fingerprint: Fingerprint of the encoder, or its beginning.
        datasets: Only these; None for all.
        where: A SQL condition over `images`; None for all.
        split: Only this one; None for all.
        by_split: A file or folder for each split.
        columns: Columns of `images` in addition to `image_id`; None for all.
        labels: ``wide`` (a column per finding: 1, 0, −1), ``long`` (a file of its own
            with a row per image and finding) or ``none``.
        dtype: ``float16`` or ``float32``; None: as stored.
    """

    to: str
    out: Path | None = None
    backbone: str | None = None
    fingerprint: str | None = None
    datasets: tuple[str, ...] | None = None
    where: str | None = None
    split: str | None = None
    by_split: bool = False
    columns: tuple[str, ...] | None = None
    labels: str = "wide"
    dtype: str | None = None


@dataclass(frozen=True)
class ExportSummary:
    """What was written.

    Attributes:
        files: Files and folders.
        rows: Images.
        fingerprint: Fingerprint of the encoder.
        dim: D.
        dtype: ``float16`` or ``float32``.
    """

    files: tuple[Path, ...]
    rows: int
    fingerprint: str
    dim: int
    dtype: str

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return vars(self) | {"files": [str(path) for path in self.files]}


def export(store: FeatureStore, request: ExportRequest) -> ExportSummary:
    """Write images, labels and vectors of one encoder to files.

    Files come into being whole or not at all; none is replaced. A description in the
    Croissant format lies beside them.

    Raises:
        ConfigurationError: A name is unknown, no image fits, or the place is taken.
        QueryError: `where` is no condition over `images`.
        StoreWriteError: The disk refused.
    """
    _check(request)
    out = request.out or Path("vectors" + FORMATS.get(request.to, ""))
    refuse_existing(out, request.to)
    encoder = choose_encoder(
        store, backbone=request.backbone, fingerprint=request.fingerprint
    )
    source = read_outgoing(
        store,
        encoder.fingerprint,
        datasets=request.datasets,
        where=request.where,
        split=request.split,
        labels=request.labels == "wide",
    )
    kept = ["image_id", *(request.columns or IMAGE_COLUMNS[1:])]
    findings = source.images.column_names[len(IMAGE_COLUMNS) :]
    stored = store.rows(
        "SELECT dtype FROM encoders WHERE fingerprint = ?", [encoder.fingerprint]
    )[0][0]
    table = OutgoingTable(
        source.images.select([*dict.fromkeys(kept), *findings]),
        source,
        encoder.dim,
        request.dtype or stored,
        {
            "fingerprint": encoder.fingerprint,
            "backbone": encoder.backbone,
            "precision": encoder.precision,
        },
    )
    tables: list[tuple[str | None, OutgoingTable]] = [(None, table)]
    if request.by_split:
        present = set(source.images["split"].unique().to_pylist())
        tables = [
            (split, table.only(split))
            for split in ("train", "validation", "test")
            if split in present
        ]
    labels = None
    if request.labels == "long":
        labels = read_long_labels(store, source.images["image_id"])
    files = write_export(tables, request.to, out, labels)
    return ExportSummary(
        tuple(files), len(table), encoder.fingerprint, table.dim, table.dtype
    )


def _check(request: ExportRequest) -> None:
    check_split(request.split)
    for name, value, allowed in (
        ("labels", request.labels, ("wide", "long", "none")),
        ("dtype", request.dtype, (None, "float16", "float32")),
    ):
        if value not in allowed:
            words = ", ".join(str(one) for one in allowed if one)
            raise ConfigurationError(f"unknown `{name}` {value}", f"Use {words}.")
    unknown = sorted(set(request.columns or ()) - set(IMAGE_COLUMNS))
    if unknown:
        raise ConfigurationError(
            f"`columns` of images has no {', '.join(unknown)}",
            f"There are {', '.join(IMAGE_COLUMNS)}.",
        )
