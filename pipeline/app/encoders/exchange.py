"""Vectors come in from files of others, and go out to files."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retune.store import EncoderSpec, FeatureStore, StoreWriter, choose_encoder
from retune.store.errors import (
    ConfigurationError,
    DatasetError,
    FingerprintMismatchError,
)
from retune.store.fingerprint import content_digest
from retune.store.queries.identities import read_image_names
from retune.store.queries.outgoing import (
    IMAGE_COLUMNS,
    read_long_labels,
    read_outgoing,
)
from retune.store.queries.work import read_known_keys

from ...encode.concatenation import extend_concatenations
from ...exchange.contract import ColumnNames, VectorTable
from ...exchange.exporting import FORMATS, refuse_existing, write_export
from ...exchange.identity import EXTERNAL, external_spec, source_digest
from ...exchange.importing import (
    Counts,
    agreed_shape,
    all_ids,
    import_images,
    read_contents,
)
from ...exchange.matching import Match, match_by_position, match_ids
from ...exchange.outgoing import OutgoingTable
from ...exchange.readers.sources import open_vectors
from ...exchange.texts import import_texts, read_sentences
from ...progress import Progress, ProgressCallback, silent
from ..queries.images import check_split

__all__ = [
    "ExportRequest",
    "ExportSummary",
    "ImportRequest",
    "ImportSummary",
    "export",
    "import_vectors",
]


@dataclass(frozen=True)
class ImportRequest:
    """Which vectors to take, and what they are.

    Attributes:
        files: Files and folders with vectors of images; see
            `retune.pipeline.exchange.readers.sources`.
        backbone_name: What the encoder is called from now on.
        ids: The column that says which image a vector is of.
        vectors: The column of the vectors; None: the only one that can be.
        join: How ids name images: ``image_id``, ``path``, ``name`` (a file's name),
            ``digest``, or ``auto``.
        by_position: Row n is image n, in the order of image ids.
        datasets: Only images of these; None for all.
        backbone_version: Version of the backbone; part of the fingerprint.
        preprocessing: How pictures were prepared, in words; part of the fingerprint.
        source: Where the vectors come from, such as a model's name and revision. It
            takes the place of the files' digest in the fingerprint, so that two stores
            that import files of one encoder can exchange runs.
        output_dtype: ``float16`` or ``float32``; None: as in the files.
        texts: Files with vectors of texts, with the columns finding and polarity.
        set_name: Name of the descriptions that the texts make; None: the backbone's
            name.
        add: Add to the encoder of this name that the store has.
    """

    files: tuple[Path, ...]
    backbone_name: str
    ids: str | None = None
    vectors: str | None = None
    join: str = "auto"
    by_position: bool = False
    datasets: tuple[str, ...] | None = None
    backbone_version: str = ""
    preprocessing: str = ""
    source: str | None = None
    output_dtype: str | None = None
    texts: tuple[Path, ...] = ()
    set_name: str | None = None
    add: bool = False


@dataclass(frozen=True)
class ImportSummary:
    """What an import did.

    Attributes:
        fingerprint: Fingerprint of the encoder.
        backbone: Its name.
        dim: D.
        dtype: ``float16`` or ``float32``.
        join: How ids named images.
        rows: Rows in the files.
        imported: Vectors that are new in the store.
        known: Vectors that the store had.
        failed: Rows that are no vectors; each stands in `failures`.
        failures: What was wrong with the first of them.
        unmatched: Rows whose id is of no image, or of several.
        unmatched_ids: The first of them.
        double: Rows whose image has had a row before; the first counts.
        double_ids: The first of them.
        images_without: Images that have no vector of this encoder now.
        texts: Vectors of texts that are new in the store.
        set_name: The description set that they belong to; None: there are none.
    """

    fingerprint: str
    backbone: str
    dim: int
    dtype: str
    join: str
    rows: int
    imported: int
    known: int
    failed: int
    failures: tuple[str, ...]
    unmatched: int
    unmatched_ids: tuple[str, ...]
    double: int
    double_ids: tuple[str, ...]
    images_without: int
    texts: int
    set_name: str | None

    def as_json(self) -> dict[str, Any]:
        """The figures as plain values."""
        return dict(vars(self))


def import_vectors(
    store: FeatureStore, request: ImportRequest, progress: ProgressCallback = silent
) -> ImportSummary:
    """Take vectors that were computed elsewhere into a store.

    They get a fingerprint of their own and never mix with others. What is there is not
    imported again, so that an interrupted import is repeated and goes on.

    Args:
        store: With the images that the vectors are of.
        request: What to take.
        progress: Told after each block.

    Raises:
        ConfigurationError: Ids name no image, a column is missing, or the name is
            taken.
        DatasetError: A file cannot be read.
        FingerprintMismatchError: The store has other vectors of this name.
        StoreWriteError: The disk refused.
    """
    _check(request)
    images = read_image_names(store, request.datasets)
    names = ColumnNames(request.ids, request.vectors)
    tables = open_vectors(request.files, names)
    texts = open_vectors(request.texts, ColumnNames("finding", request.vectors))
    spec = _spec(store, request, tables, texts, progress)
    set_name = request.set_name or request.backbone_name
    sentences = (
        read_sentences(texts, set_name, request.texts[0]) if request.texts else []
    )
    match = _match(tables, images, request) if tables else None
    counts, n_texts = Counts(), 0
    with store.writer("import-vectors") as writer:
        for fingerprint in _left_empty(store, request.backbone_name):
            writer.drop_encoder(fingerprint)
        label = request.source or f"imported:{spec.fingerprint}"
        writer.add_encoder(spec, label, "imported")
        if match is not None:
            try:
                counts = _import_images(
                    store, writer, spec, tables, match, images, progress
                )
            except DatasetError:
                for fingerprint in _left_empty(store, request.backbone_name):
                    writer.drop_encoder(fingerprint)
                raise
        if sentences:
            known = read_known_keys(store, spec.fingerprint, "text").astype(str)
            n_texts = import_texts(writer, spec, texts, sentences, known.tolist())
        extend_concatenations(store, writer, spec.fingerprint)
    return _summary(store, spec, request, counts, match, n_texts, bool(sentences))


def _left_empty(store: FeatureStore, name: str) -> list[str]:
    """Imported encoders of this name without a vector: their import failed."""
    rows = store.sql(
        """SELECT fingerprint FROM encoders WHERE backbone = ? AND precision = ?
            AND fingerprint NOT IN (SELECT fingerprint FROM features)""",
        [name, EXTERNAL],
    ).fetchall()
    return [fingerprint for (fingerprint,) in rows]


def _check(request: ImportRequest) -> None:
    if not request.files and not request.texts:
        raise ConfigurationError(
            "no files to import", "Name files with vectors of images, or `texts`."
        )
    if not request.backbone_name.strip() or not request.backbone_name.isprintable():
        raise ConfigurationError(
            f"{request.backbone_name!r} cannot name a backbone",
            "Use a name such as medsiglip-448.",
        )
    if request.by_position and request.ids is not None:
        raise ConfigurationError(
            "`by_position` and `ids` exclude each other", "Leave one of them out."
        )
    if request.output_dtype not in (None, "float16", "float32"):
        raise ConfigurationError(
            f"unknown `output_dtype` {request.output_dtype}", "Use float16 or float32."
        )


def _match(tables: Sequence[VectorTable], images: Any, request: ImportRequest) -> Match:
    if request.by_position:
        return match_by_position(sum(table.n_rows for table in tables), images)
    return match_ids(all_ids(tables), images, request.join)


def _spec(
    store: FeatureStore,
    request: ImportRequest,
    tables: Sequence[VectorTable],
    texts: Sequence[VectorTable],
    progress: ProgressCallback,
) -> EncoderSpec:
    """The encoder that the vectors are of: one of the store's, or a new one.

    Raises:
        FingerprintMismatchError: The store has another encoder of this name.
    """
    dim, dtype = agreed_shape([*tables, *texts])
    rows = store.rows(
        """SELECT spec FROM encoders WHERE backbone = ?
            AND fingerprint IN (SELECT fingerprint FROM features)""",
        [request.backbone_name],
    )
    have = [EncoderSpec.from_json(row[0]) for row in rows]
    if request.add:
        return _added_to(have, request, dim)
    progress(Progress("reading files", 0, 0))
    files = request.files or request.texts
    spec = external_spec(
        request.backbone_name,
        request.backbone_version,
        content_digest(request.source.encode())
        if request.source is not None
        else source_digest(files),
        request.preprocessing,
        output_dtype=request.output_dtype or dtype,
        dim=dim,
    )
    others = [one for one in have if one.fingerprint != spec.fingerprint]
    if others and not any(one.fingerprint == spec.fingerprint for one in have):
        kinds = "imported from other files" if others[0].imported else "made here"
        raise FingerprintMismatchError(
            f"the store has vectors of '{request.backbone_name}' that were {kinds} "
            f"({others[0].fingerprint}, D={others[0].dim}, {others[0].output_dtype}); "
            f"these would be {spec.fingerprint} (D={dim}, {spec.output_dtype}), and "
            "the two never mix",
            "If the same encoder made both, say `add`; else give this one another "
            "`backbone_name`.",
        )
    return spec


def _added_to(
    have: Sequence[EncoderSpec], request: ImportRequest, dim: int
) -> EncoderSpec:
    """The encoder of the store that more vectors are added to."""
    external = [one for one in have if one.imported]
    if len(external) != 1:
        raise ConfigurationError(
            f"`add` needs one imported encoder '{request.backbone_name}'; the store "
            f"has {len(external)}",
            "Import without `add` first, or check the name with `retune-cli status`.",
        )
    earlier = external[0]
    if earlier.dim != dim:
        raise FingerprintMismatchError(
            f"the store's vectors of '{request.backbone_name}' have {earlier.dim} "
            f"numbers, these have {dim}",
            "They are of another encoder: give it another `backbone_name`.",
        )
    return earlier


def _import_images(
    store: FeatureStore,
    writer: StoreWriter,
    spec: EncoderSpec,
    tables: Sequence[VectorTable],
    match: Match,
    images: Any,
    progress: ProgressCallback,
) -> Counts:
    needed = match.image_row[match.image_row >= 0]
    keys = read_contents(writer, images, needed, progress)
    known = read_known_keys(store, spec.fingerprint, "image")
    return import_images(writer, spec, tables, match, images, keys, known, progress)


def _summary(
    store: FeatureStore,
    spec: EncoderSpec,
    request: ImportRequest,
    counts: Counts,
    match: Match | None,
    n_texts: int,
    has_texts: bool,
) -> ImportSummary:
    without = store.rows(
        """SELECT count(*) FROM images WHERE NOT coalesce(content_digest IN
            (SELECT item_id FROM features
            WHERE fingerprint = ? AND modality = 'image'), false)""",
        [spec.fingerprint],
    )[0][0]
    return ImportSummary(
        fingerprint=spec.fingerprint,
        backbone=spec.backbone,
        dim=spec.dim,
        dtype=spec.output_dtype,
        join=match.join if match else "",
        rows=len(match.image_row) if match else 0,
        imported=counts.imported,
        known=counts.known,
        failed=counts.failed,
        failures=tuple(counts.failures),
        unmatched=match.n_unmatched if match else 0,
        unmatched_ids=match.unmatched if match else (),
        double=match.n_double if match else 0,
        double_ids=match.double if match else (),
        images_without=int(without),
        texts=n_texts,
        set_name=(request.set_name or request.backbone_name) if has_texts else None,
    )


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
    _check_export(request)
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


def _check_export(request: ExportRequest) -> None:
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
