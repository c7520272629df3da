"""Vectors that were computed elsewhere come into a store."""

from collections.abc import Sequence
from typing import Any

from retune.store import EncoderSpec, FeatureStore, StoreWriter
from retune.store.errors import DatasetError
from retune.store.queries.identities import read_image_names
from retune.store.queries.work import read_known_keys

from ...encode.concatenation import extend_concatenations
from ...exchange.contract import ColumnNames, VectorTable
from ...exchange.identity import EXTERNAL
from ...exchange.importing import Counts, all_ids, import_images, read_contents
from ...exchange.matching import Match, match_by_position, match_ids
from ...exchange.readers.sources import open_vectors
from ...exchange.texts import import_texts, read_sentences
from ...progress import ProgressCallback, silent
from .import_request import ImportRequest, ImportSummary, check_request
from .imported_encoder import imported_encoder

__all__ = ["import_vectors"]


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
    check_request(request)
    images = read_image_names(store, request.datasets)
    names = ColumnNames(request.ids, request.vectors)
    tables = open_vectors(request.files, names)
    texts = open_vectors(request.texts, ColumnNames("finding", request.vectors))
    spec = imported_encoder(store, request, tables, texts, progress)
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


def _match(tables: Sequence[VectorTable], images: Any, request: ImportRequest) -> Match:
    if request.by_position:
        return match_by_position(sum(table.n_rows for table in tables), images)
    return match_ids(all_ids(tables), images, request.join)


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
